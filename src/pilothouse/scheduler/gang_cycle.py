"""A gang's decision: its pods one after the other, each in the room that those before it have left, and then all or
none (pkg/scheduler/schedule_one_podgroup.go of 1.36: podGroupSchedulingDefaultAlgorithm).

    enough found a node              they stay assumed, and are bound
    enough, but some need others     none is bound; those others are evicted, and every pod keeps its node nominated
    too few                          the table is as it was before; nobody is evicted
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from pilothouse.scheduler import binding
from pilothouse.scheduler.binding import BindingRefused
from pilothouse.scheduler.cache import Cache
from pilothouse.scheduler.cycle import Unschedulable, decide, post_filter
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import Cycle, Nomination
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.queue import Waiting

UNSCHEDULABLE = "pod group is unschedulable"
WAITING = "pod group is waiting for preemption to complete"

Outcome = Literal["scheduled", "preempting", "unschedulable"]


@dataclass(eq=False, slots=True)
class Member:
    """One pod's part. `node` "": it found none, and `why` says so."""

    entry: Waiting
    cycle: Cycle
    node: str = ""
    nomination: Nomination | None = None
    """It needs room that preemption would make on `node`."""
    waits: bool = False
    """It needs room that preemption is making already: what was nominated stays so."""
    diagnosis: Diagnosis | None = None
    why: str = ""
    rejected_by: frozenset[str] = frozenset()


def attempt(
    entries: Iterable[Waiting], make: Callable[[Waiting], Cycle], cache: Cache, needed: int
) -> tuple[Outcome, Sequence[Member]]:
    """`needed`: how many of these pods must find a node. With "scheduled", those that did are assumed and reserved.
    PluginFailed; then nobody is."""
    members: list[Member] = []
    outcome: Outcome = "unschedulable"
    with _victims_gone(cache) as without:
        try:
            for entry in entries:
                member = Member(entry, make(entry))
                _place(member, cache, without)
                members.append(member)
            outcome = _outcome(members, needed)
        finally:
            if outcome != "scheduled":  # also when a plugin failed
                for member in reversed(members):
                    _take_back(member, cache)
    return outcome, members


def _outcome(members: Sequence[Member], needed: int) -> Outcome:
    found = [member for member in members if member.node]
    if not found or len(found) < needed:
        return "unschedulable"
    if any(member.nomination and not member.node for member in members):
        return "unschedulable"  # others may count on room that nobody makes
    return "preempting" if any(member.nomination for member in found) else "scheduled"


@contextmanager
def _victims_gone(cache: Cache) -> Iterator[Callable[[Sequence[PodInfo]], None]]:
    """Pods that would have to go count as gone until the decision is made."""
    with ExitStack() as stack:
        yield lambda infos: stack.enter_context(cache.table.without(infos))


def _place(member: Member, cache: Cache, without: Callable[[Sequence[PodInfo]], None]) -> None:
    cycle = member.cycle
    try:
        node = decide(cycle)
    except Unschedulable as refusal:
        diagnosis = refusal.diagnosis
        nomination = post_filter(cycle, diagnosis)
        member.diagnosis, member.why = diagnosis, diagnosis.text()
        member.rejected_by = frozenset(diagnosis.rejected_by)
        if not nomination.node:
            member.waits = nomination.node is None
            return
        without(nomination.leaving)
        member.nomination, node = nomination, nomination.node
    cache.assume(cycle.info, node)
    try:
        binding.reserve(cycle, node)
    except BindingRefused as refused:
        cache.forget(cycle.info.uid)
        member.why, member.rejected_by = str(refused), frozenset((refused.plugin,))
        return
    member.node = node


def _take_back(member: Member, cache: Cache) -> None:
    if member.node:
        binding.unreserve(member.cycle, member.node)
        cache.forget(member.cycle.info.uid)
