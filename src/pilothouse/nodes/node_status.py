"""A node as its kubelet registers and reports it (pkg/kubelet/kubelet_node_status.go, nodestatus/setters.go). Pure.

What somebody else put into the node stays: capacity, allocatable, labels, taints, conditions of others. An extended
resource patched into the capacity becomes allocatable with the next report, as a kubelet does it.
"""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.nodes import addresses

CAPACITY = {"cpu": "16", "ephemeral-storage": "256Gi", "memory": "64Gi", "pods": "220"}
VERSION = "v1.36.1"
KUBELET_PORT = 10250
CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)
_DEFAULT_LABELS = {
    "beta.kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "kubernetes.io/os": "linux",
}
_ATTACH = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}


def default_labels(name: str) -> dict[str, str]:
    return {**_DEFAULT_LABELS, "kubernetes.io/hostname": name}


def new_node(name: str, index: int, identity: str, now: str) -> Obj:
    """As a kubelet registers it. `identity` is a UUID for what a machine would have of its own."""
    network = addresses.pod_range(index)
    node: Obj = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": default_labels(name), "annotations": dict(_ATTACH)},
        "spec": {"podCIDR": network, "podCIDRs": [network]},
        "status": {"nodeInfo": _node_info(identity)},
    }
    node["status"] = status(node, index, now)
    return node


_DECLARED = ("RestartAllContainersOnContainerExits",)
"""What a kubelet of 1.36 declares by default and the scheduler asks for (KEP-5328)."""


def status(node: Obj, index: int, now: str) -> Obj:
    """The whole status to report, from the one that is there."""
    old = node.get("status") or {}
    name = node["metadata"]["name"]
    capacity = {**CAPACITY, **(old.get("capacity") or {})}
    # Of what others have put into the capacity all can be allocated, and nothing of what is no longer in it.
    given = {k: v for k, v in (old.get("allocatable") or {}).items() if k in capacity and not _is_extended(k)}
    allocatable = {**capacity, **given}
    return {
        **old,
        "capacity": capacity,
        "allocatable": allocatable,
        "conditions": _conditions(old.get("conditions") or [], now),
        "addresses": _addresses(old.get("addresses") or [], name, index),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
        "nodeInfo": old.get("nodeInfo") if _is_told(old) else _node_info(node["metadata"].get("uid", name)),
        "features": {"supplementalGroupsPolicy": True},
        "declaredFeatures": old.get("declaredFeatures") or list(_DECLARED),
    }


def _is_extended(resource: str) -> bool:
    return "/" in resource and "kubernetes.io/" not in resource


def _is_told(old: Obj) -> bool:
    return bool((old.get("nodeInfo") or {}).get("kubeletVersion"))


def _addresses(old: list[Obj], name: str, index: int) -> list[Obj]:
    """Those that a kubelet knows; others (a cloud's) stay."""
    mine = [
        {"type": "InternalIP", "address": addresses.node_address(index)},
        {"type": "Hostname", "address": name},
    ]
    present = {a["type"] for a in old}
    return [*old, *(a for a in mine if a["type"] not in present)]


def _conditions(old: list[Obj], now: str) -> list[Obj]:
    present = {c["type"]: c for c in old}
    for kind, value, reason, message in CONDITIONS:
        before = present.get(kind)
        same = before is not None and before["status"] == value
        present[kind] = {
            "type": kind,
            "status": value,
            "lastHeartbeatTime": now,
            "lastTransitionTime": before["lastTransitionTime"] if same and before else now,
            "reason": reason,
            "message": message,
        }
    return list(present.values())


def needs_report(node: Obj, index: int) -> bool:
    """Whether the reported status differs in more than its heartbeat times."""
    old = node.get("status") or {}
    wanted = status(node, index, "")
    return any(old.get(k) != v for k, v in wanted.items() if k != "conditions") or [
        _without_times(c) for c in old.get("conditions") or ()
    ] != [_without_times(c) for c in wanted["conditions"]]


def _without_times(condition: Obj) -> Obj:
    return {k: v for k, v in condition.items() if k not in ("lastHeartbeatTime", "lastTransitionTime")}


def _node_info(identity: str) -> Obj:
    return {
        "machineID": identity.replace("-", ""),
        "systemUUID": identity,
        "bootID": identity,
        "kernelVersion": "6.1.0",
        "osImage": "Pilothouse simulated node",
        "containerRuntimeVersion": "simulated://1.0.0",
        "kubeletVersion": VERSION,
        "kubeProxyVersion": "",
        "operatingSystem": "linux",
        "architecture": "amd64",
    }


def lease(node: Obj, duration_s: int, renewed: str) -> Obj:
    name = node["metadata"]["name"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": duration_s, "renewTime": renewed},
    }
