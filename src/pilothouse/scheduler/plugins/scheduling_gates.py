"""SchedulingGates: a pod with gates is not looked at (KEP-3521)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.scheduler.framework import PreEnqueuePlugin
from pilothouse.scheduler.hints import UNSCHEDULED_POD, Action, Registration
from pilothouse.scheduler.pod_info import PodInfo


class SchedulingGates(PreEnqueuePlugin):
    name = "SchedulingGates"

    def registrations(self) -> Iterable[Registration]:
        return (Registration(UNSCHEDULED_POD, Action.UPDATE_POD_SCHEDULING_GATES),)

    def pre_enqueue(self, info: PodInfo) -> str:
        gates = [gate["name"] for gate in info.pod["spec"].get("schedulingGates") or ()]
        return f"waiting for scheduling gates: [{' '.join(gates)}]" if gates else ""
