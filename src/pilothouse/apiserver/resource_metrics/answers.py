"""PodMetrics and NodeMetrics of what containers use (k8s.io/metrics v1beta1; metrics-server pkg/api). Pure.

A window is metrics-server's: the 15 s between two looks at a kubelet. The timestamp is the moment of the question,
because what a simulated container uses is known at every moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.kubelet import ContainerUse
from pilothouse.api.quantity import Quantity
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.column import Column, Table

GROUP_VERSION = "metrics.k8s.io/v1beta1"
WINDOW = "15s"
_RESOURCES = ("cpu", "memory")


def _usage(uses: Iterable[ContainerUse]) -> Obj:
    cores = memory = 0
    for use in uses:
        cores += use.nano_cores
        memory += use.memory
    return {"cpu": str(Quantity(cores)), "memory": str(Quantity(memory * 10**9, "binary"))}


def _metadata(obj: Obj, now: str) -> Obj:
    """Name and labels are the object's, the time is that of the answer."""
    meta = obj["metadata"]
    found: Obj = {"name": meta["name"]}
    if meta.get("namespace"):
        found["namespace"] = meta["namespace"]
    found["creationTimestamp"] = now
    if meta.get("labels"):
        found["labels"] = meta["labels"]
    return found


def pod_metrics(pod: Obj, uses: Sequence[ContainerUse], now: str) -> Obj:
    return {
        "kind": "PodMetrics",
        "apiVersion": GROUP_VERSION,
        "metadata": _metadata(pod, now),
        "timestamp": now,
        "window": WINDOW,
        "containers": [{"name": use.container, "usage": _usage((use,))} for use in uses],
    }


def node_metrics(node: Obj, uses: Iterable[ContainerUse], now: str) -> Obj:
    """`uses` are those of all containers on the node."""
    return {
        "kind": "NodeMetrics",
        "apiVersion": GROUP_VERSION,
        "metadata": _metadata(node, now),
        "timestamp": now,
        "window": WINDOW,
        "usage": _usage(uses),
    }


def is_scraped(node: Obj | None) -> bool:
    """Whether metrics-server would get an answer from the node's kubelet: it reports that it lives."""
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] != "Unknown" for c in conditions)


# -- tables -----------------------------------------------------------------------------------------------

_COLUMNS = (
    Column("Name", "string", "name", "Name of the resource"),
    *(Column(name, "string", "quantity") for name in _RESOURCES),
    Column("Window", "string", "duration"),
)


def _of_pod(obj: Obj, now_s: float) -> list[Any]:
    sums = [quantity.ZERO] * len(_RESOURCES)
    for container in obj["containers"]:
        for i, name in enumerate(_RESOURCES):
            sums[i] = quantity.add(sums[i], quantity.parse(container["usage"][name]))
    return [obj["metadata"]["name"], *map(str, sums), obj["window"]]


def _of_node(obj: Obj, now_s: float) -> list[Any]:
    return [obj["metadata"]["name"], *(obj["usage"][name] for name in _RESOURCES), obj["window"]]


def _table(row: Callable[[Obj, float], list[Any]]) -> Table:
    return Table(_COLUMNS, row)


PODS = _table(_of_pod)
NODES = _table(_of_node)


# -- schemas ----------------------------------------------------------------------------------------------

_TIME = {
    "type": "string",
    "format": "date-time",
    "description": "The following fields define time interval from which metrics were collected from the interval "
    "[Timestamp-Window, Timestamp].",
}
_WINDOW: Obj = {"type": "string"}
_USAGE = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "The memory usage is the memory working set.",
}
_CONTAINER = {
    "type": "object",
    "description": "ContainerMetrics sets resource usage metrics of a container.",
    "required": ["name", "usage"],
    "properties": {
        "name": {
            "type": "string",
            "description": "Container name corresponding to the one from pod.spec.containers.",
        },
        "usage": _USAGE,
    },
}
SCHEMAS: dict[str, Obj] = {
    "PodMetrics": {
        "type": "object",
        "description": "PodMetrics sets resource usage metrics of a pod.",
        "required": ["timestamp", "window", "containers"],
        "properties": {
            "timestamp": _TIME,
            "window": _WINDOW,
            "containers": {
                "type": "array",
                "items": _CONTAINER,
                "description": "Metrics for all containers are collected within the same time window.",
            },
        },
    },
    "NodeMetrics": {
        "type": "object",
        "description": "NodeMetrics sets resource usage metrics of a node.",
        "required": ["timestamp", "window", "usage"],
        "properties": {"timestamp": _TIME, "window": _WINDOW, "usage": _USAGE},
    },
}
"""For the OpenAPI documents (k8s.io/metrics/pkg/apis/metrics/v1beta1 types.go)."""
