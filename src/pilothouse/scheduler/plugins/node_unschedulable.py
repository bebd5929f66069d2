"""NodeUnschedulable: cordoned nodes take only pods that tolerate it
(pkg/scheduler/framework/plugins/nodeunschedulable)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api import taints
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import NODE, UNSCHEDULED_POD, Action, Event, Registration
from pilothouse.scheduler.node_table import Mask
from pilothouse.scheduler.pod_info import PodInfo

REASON = "node(s) were unschedulable"
_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": taints.NO_SCHEDULE}


class NodeUnschedulable(FilterPlugin):
    name = "NodeUnschedulable"

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_TAINT, _opens),
            Registration(UNSCHEDULED_POD, Action.UPDATE_POD_TOLERATIONS),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        if not cycle.table.cordoned:
            return ()
        cordoned = left & cycle.table.unschedulable
        if not cordoned.any() or taints.tolerated(cycle.info.pod, _TAINT):
            return ()
        return (Rejection(cordoned, REASON, resolvable=False),)


def fits(pod: Obj, node: Obj) -> bool:
    return not (node.get("spec") or {}).get("unschedulable") or taints.tolerated(pod, _TAINT)


def _opens(info: PodInfo, event: Event) -> bool:
    """A node that takes the pod and did not before."""
    assert event.new is not None
    was_open = event.old is not None and fits(info.pod, event.old)
    return fits(info.pod, event.new) and not was_open
