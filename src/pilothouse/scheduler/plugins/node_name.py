"""NodeName: a pod that names its node may have no other (pkg/scheduler/framework/plugins/nodename)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import NODE, Action, Registration
from pilothouse.scheduler.node_table import Mask

REASON = "node(s) didn't match the requested node name"


class NodeName(FilterPlugin):
    name = "NodeName"

    def registrations(self) -> Iterable[Registration]:
        return (Registration(NODE, Action.ADD),)

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        if not cycle.info.node:
            return ()
        other = left.copy()
        row = cycle.table.row(cycle.info.node)
        if row is not None:
            other[row] = False
        return (Rejection(other, REASON, resolvable=False),)


def fits(pod: Obj, node: Obj) -> bool:
    wanted = pod["spec"].get("nodeName")
    return not wanted or bool(wanted == node["metadata"]["name"])
