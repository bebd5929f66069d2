"""Deadlines: pods that must finish by a time (new here; the rules stand in `scheduler.deadlines`).

    queue        among pods of one priority the earliest deadline goes first, and pods without one after those with one;
                 a pod that can no longer meet its own counts as one without
    PreFilter    a pod that cannot meet its deadline any more is told so by an event DeadlineCannotBeMet, and where it
                 requires its deadline, it is refused
    preemption   nobody evicts a pod that is still in time and would be late if it had to begin again

Arguments: `policy` (prefer or require) for pods that do not say, `protect` (true): whether preemption spares pods for
their deadlines. Pods that declare nothing cost a look into their annotations.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pilothouse.api.types import Obj
from pilothouse.scheduler.annotated import InvalidAnnotation, unknown_args
from pilothouse.scheduler.deadlines import POLICIES, Deadline, deadline_of, started_s
from pilothouse.scheduler.framework import (
    Cycle,
    PreFilterPlugin,
    PreFilterResult,
    QueueRankPlugin,
    VictimFilterPlugin,
)
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import UNSCHEDULED_POD, Action, Registration
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.teller import INVALID, Teller

REASON = "DeadlineCannotBeMet"


class Deadlines(PreFilterPlugin, QueueRankPlugin, VictimFilterPlugin):
    name = "Deadlines"

    def __init__(self, args: Obj, handle: Handle) -> None:
        """ValueError for arguments that it does not have."""
        unknown_args(args, ("policy", "protect"))
        self._policy = args.get("policy", "prefer")
        if self._policy not in POLICIES:
            raise ValueError(f'policy must be {" or ".join(POLICIES)}, not "{self._policy}"')
        self._protect = bool(args.get("protect", True))
        self._world = handle.world
        self._teller = Teller(handle)

    def registrations(self) -> Iterable[Registration]:
        """Time only makes it worse."""
        return (Registration(UNSCHEDULED_POD, Action.UPDATE_POD_ANNOTATION),)

    def rank(self, info: PodInfo) -> float:
        deadline = _readable(info)
        if deadline is None or not deadline.can_be_met(self._world.now()):
            return math.inf
        return deadline.at_s

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        info = cycle.info
        try:
            deadline = deadline_of(info.pod)
        except InvalidAnnotation as error:
            self._teller.tell(info, INVALID, str(error))
            return None
        if deadline is None or deadline.can_be_met(self._world.now()):
            return None
        refusal = deadline.refusal()
        self._teller.tell(info, REASON, refusal)
        return PreFilterResult(refusal=refusal) if (deadline.policy or self._policy) == "require" else None

    def protects(self, victim: PodInfo) -> bool:
        if not self._protect or not victim.pod["metadata"].get("annotations"):
            return False
        deadline = _readable(victim)
        if deadline is None:
            return False
        now_s = self._world.now()
        began_s = started_s(victim.pod)
        return deadline.breaks_by_eviction(now_s if began_s is None else began_s, now_s)


def _readable(info: PodInfo) -> Deadline | None:
    try:
        return deadline_of(info.pod)
    except InvalidAnnotation:
        return None
