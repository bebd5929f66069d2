"""DefaultPreemption: make room for a pod by ending less important ones
(pkg/scheduler/framework/plugins/defaultpreemption). Which ones is decided in `scheduler.preemption`; here are who
may do it at all, and the doing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import POD_DISRUPTION_BUDGETS, PODS
from pilothouse.api.types import Obj
from pilothouse.client.pod_conditions import DISRUPTION_TARGET, condition_patch, disruption_target
from pilothouse.scheduler import preemption
from pilothouse.scheduler.diagnosis import Diagnosis, fit_error
from pilothouse.scheduler.framework import (
    Cycle,
    Nomination,
    NoRoomMade,
    PostFilterPlugin,
    PreEnqueuePlugin,
)
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import Registration
from pilothouse.scheduler.outcome import Reporter
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.preemption import Candidate, Enough

_REASON = "PreemptionByScheduler"

PREFIX = "preemption: "
NEVER = "not eligible due to preemptionPolicy=Never."
UNDER_WAY = "waiting for the preemption for this pod to be finished"
TERMINATING = "not eligible due to terminating pod on the nominated node."


class DefaultPreemption(PreEnqueuePlugin, PostFilterPlugin):
    name = "DefaultPreemption"

    def __init__(self, handle: Handle, enough: Enough | None = None) -> None:
        self._handle = handle
        self._enough = enough or Enough()
        self._budgets = handle.informers.informer(POD_DISRUPTION_BUDGETS)

    def registrations(self) -> Iterable[Registration]:
        """None: the scheduler itself asks again when the victims have been told."""
        return ()

    def pre_enqueue(self, info: PodInfo) -> str:
        """Until the API server has heard of all its victims, a pod would not see that they are going, and choose
        others beside them (KEP-4832)."""
        return UNDER_WAY if info.uid in self._handle.nominator.under_way else ""

    def post_filter(self, cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
        found, otherwise = self.find(cycle, diagnosis)
        return self.nominate(cycle, found) if found else otherwise

    def find(self, cycle: Cycle, diagnosis: Diagnosis) -> tuple[list[Candidate], Nomination]:
        """Ways to make room, and what to say when there are none."""
        refusal = self._not_eligible(cycle, diagnosis)
        if refusal:
            return [], Nomination(message=PREFIX + refusal)
        budgets = list(self._budgets.list())
        found, reasons = preemption.candidates(cycle, diagnosis, budgets, self._enough)
        return found, Nomination("", PREFIX + fit_error(len(cycle.table), reasons))

    def nominate(self, cycle: Cycle, found: Sequence[Candidate]) -> Nomination:
        chosen = preemption.best(found)
        node = cycle.table.name(chosen.row)
        return Nomination(
            node,
            effect=lambda: self._make_room(cycle.info, cycle.profile.name, node, chosen),
            victims=len(chosen.victims),
            leaving=chosen.victims,
        )

    def _not_eligible(self, cycle: Cycle, diagnosis: Diagnosis) -> str:
        """PodEligibleToPreemptOthers: not twice while its first victims are still going."""
        info = cycle.info
        if info.pod["spec"].get("preemptionPolicy") == "Never":
            return NEVER
        nominated = self._handle.nominator.node_of(info.uid) or info.nominated
        row = cycle.table.row(nominated) if nominated else None
        if row is None or not diagnosis.resolvable[row]:
            return ""
        going = any(p.priority < info.priority and _is_victim(p) for p in cycle.table.pods_on(row))
        return TERMINATING if going else ""

    async def _make_room(self, info: PodInfo, scheduler: str, node: str, chosen: Candidate) -> None:
        victims = [v for v in chosen.victims if not v.pod["metadata"].get("deletionTimestamp")]
        for other in self._less_important(info, node):
            self._handle.nominator.remove(other.uid)
            await Reporter.of(self._handle).clear_nomination(other)
        work = (self._end(victim, info, scheduler, node) for victim in victims)
        failed = [error for error in await asyncio.gather(*work) if error]
        if failed:
            raise NoRoomMade("; ".join(failed))

    def _less_important(self, info: PodInfo, node: str) -> list[PodInfo]:
        """Pods that were nominated for the node and may not fit there now: they look for another one sooner than when
        they find that it is taken."""
        guests = self._handle.nominator.pods()
        return [other for other in guests if other.node == node and other.priority < info.priority]

    async def _end(self, victim: PodInfo, info: PodInfo, scheduler: str, node: str) -> str:
        """What went wrong, or ""."""
        client, meta = self._handle.client, victim.pod["metadata"]
        try:
            patch = condition_patch(victim.pod, self._condition(victim, scheduler))
            await client.patch(
                PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status"
            )
            await client.delete(PODS, meta["name"], meta["namespace"], {"preconditions": {"uid": victim.uid}})
        except (ApiError, ConnectionError) as error:
            return "" if _is_gone(error) else f"preempting {victim.key} for {info.key} failed: {error}"
        message = f"Preempted by pod {info.uid} on node {node}"
        self._handle.recorder.event(
            {**victim.pod, "kind": "Pod", "apiVersion": "v1"},
            "Normal",
            "Preempted",
            message,
            action="Preempting",
            related={**info.pod, "kind": "Pod", "apiVersion": "v1"},
            component=scheduler,
        )
        return ""

    def _condition(self, victim: PodInfo, scheduler: str) -> Obj:
        message = f"{scheduler}: preempting to accommodate a higher priority pod"
        return disruption_target(victim.pod, _REASON, message, self._handle.world.timestamp())


def _is_gone(error: Exception) -> bool:
    return isinstance(error, ApiError) and error.code == 404


def _is_victim(info: PodInfo) -> bool:
    """Already going because of a preemption."""
    conditions: Iterable[Obj] = (info.pod.get("status") or {}).get("conditions") or ()
    return bool(info.pod["metadata"].get("deletionTimestamp")) and any(
        c["type"] == DISRUPTION_TARGET and c.get("reason") == _REASON for c in conditions
    )
