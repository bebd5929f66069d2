"""Every node of the cluster is an instance of this machine: it exists as long as its object does."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.cloud.provider import Instance

SCHEME = "local://"


class LocalInstances:
    def __init__(self, zone: str, region: str) -> None:
        self._zone = zone
        self._region = region

    async def exists(self, node: Obj) -> bool:
        return True

    async def is_shut_down(self, node: Obj) -> bool:
        return False

    async def describe(self, node: Obj) -> Instance:
        """The addresses are the kubelet's own. Labels that the node came with go first, so that simulated nodes can be
        of several zones."""
        labels = node["metadata"].get("labels") or {}
        return Instance(
            f"{SCHEME}/{node['metadata']['name']}",
            labels.get("node.kubernetes.io/instance-type", ""),
            (),
            labels.get("topology.kubernetes.io/zone", self._zone),
            labels.get("topology.kubernetes.io/region", self._region),
        )


def is_simulated(node: Obj) -> bool:
    """Nothing runs on it that could be talked to."""
    info = (node.get("status") or {}).get("nodeInfo") or {}
    annotations = node["metadata"].get("annotations") or {}
    return (
        str(info.get("containerRuntimeVersion", "")).startswith("simulated://")
        or annotations.get("kwok.x-k8s.io/node") == "fake"
    )
