"""NodePorts: two pods cannot have the same host port (pkg/scheduler/framework/plugins/nodeports)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.pod_requests import host_ports, ports_conflict
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, Action, Event, Registration
from pilothouse.scheduler.node_table import Mask
from pilothouse.scheduler.pod_info import PodInfo

REASON = "node(s) didn't have free ports for the requested pod ports"


class NodePorts(FilterPlugin):
    name = "NodePorts"

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(ASSIGNED_POD, Action.DELETE, _frees),
            Registration(NODE, Action.ADD),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        return bool(cycle.info.ports)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        if not cycle.info.ports:
            return ()
        taken = cycle.table.empty_mask()
        for port in cycle.info.ports:
            taken |= cycle.table.port_taken(port)
        return (Rejection(taken & left, REASON),)


def fits(info: PodInfo, others: Iterable[PodInfo]) -> bool:
    """The plain rule: no port conflicts with one of a pod that is there."""
    return not any(
        ports_conflict(port, taken) for other in others for taken in other.ports for port in info.ports
    )


def _frees(info: PodInfo, event: Event) -> bool:
    assert event.old is not None
    freed = host_ports(event.old)
    return any(ports_conflict(port, other) for port in info.ports for other in freed)
