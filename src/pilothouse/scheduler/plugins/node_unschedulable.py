"""NodeUnschedulable: cordoned nodes take only pods that tolerate it
(pkg/scheduler/framework/plugins/nodeunschedulable)."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Mask, NodeTable
from pilothouse.scheduler.plugins.filter import Rejection
from pilothouse.scheduler.plugins.taint_toleration import tolerated

REASON = "node(s) were unschedulable"
_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable:
    name = "NodeUnschedulable"

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]:
        cordoned = left & table.unschedulable
        if not cordoned.any() or tolerated(pod, _TAINT):
            return []
        return [Rejection(cordoned, REASON)]


def fits(pod: Obj, node: Obj) -> bool:
    return not (node.get("spec") or {}).get("unschedulable") or tolerated(pod, _TAINT)
