"""The two taints by which a cloud speaks about a node (https://kubernetes.io/docs/reference/labels-annotations-taints/)."""

from __future__ import annotations

from pilothouse.api.resources import NODES
from pilothouse.api.taints import of_node
from pilothouse.api.types import Obj
from pilothouse.client.client import Client

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
"""Of a kubelet with --cloud-provider=external, until the node controller has described the node."""
SHUTDOWN = "node.cloudprovider.kubernetes.io/shutdown"
"""The instance exists and does not run."""


def has(node: Obj, key: str) -> bool:
    return any(taint["key"] == key for taint in of_node(node))


async def add(client: Client, node: Obj, taint: Obj) -> None:
    """Nothing to do where it is already."""
    if not has(node, taint["key"]):
        await _write(client, node, [*of_node(node), taint])


async def remove(client: Client, node: Obj, key: str) -> None:
    """Nothing to do where there is none."""
    if has(node, key):
        await _write(client, node, [taint for taint in of_node(node) if taint["key"] != key])


async def _write(client: Client, node: Obj, taints: list[Obj]) -> None:
    """The revision goes along: taints are one list, and others write it too."""
    meta = node["metadata"]
    patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "spec": {"taints": taints or None}}
    await client.patch(NODES, meta["name"], patch)
