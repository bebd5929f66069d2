"""Which pods would have to go so that another fits, and which of the ways to do it is best
(pkg/scheduler/framework/preemption, https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/).

Pure: it asks the node table what would be, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pilothouse.api import labels
from pilothouse.api.types import Obj
from pilothouse.scheduler import room
from pilothouse.scheduler.cycle import filtered
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import Cycle, Rows
from pilothouse.scheduler.node_table import Mask
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.room import Lower

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
_PRIORITY_OFFSET = 2**31
"""So that fewer victims of negative priority count as less than more of them."""


class Enough(NamedTuple):
    """How many candidates are worth comparing: a share of the nodes that may be ones, and no fewer than `least`
    (DefaultPreemptionArgs)."""

    percentage: int = 10
    least: int = 100

    def of(self, nodes: int) -> int:
        return min(max(nodes * self.percentage // 100, self.least), nodes)


_ENOUGH = Enough()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One node, and whom it would cost, the most important first. `violations` are those among them whose
    PodDisruptionBudget does not allow it."""

    row: int
    victims: tuple[PodInfo, ...]
    violations: int


def candidates(
    cycle: Cycle, diagnosis: Diagnosis, budgets: Sequence[Obj], enough: Enough = _ENOUGH
) -> tuple[list[Candidate], dict[str, int]]:
    """Ways to make room, from a random node on and no more than are worth comparing, as long as one of them breaks no
    budget; and why the other nodes are none."""
    rows = np.flatnonzero(diagnosis.resolvable)
    reasons: dict[str, int] = {}
    if len(cycle.table) > len(rows):
        reasons[NOT_HELPFUL] = len(cycle.table) - len(rows)
    limit = enough.of(len(rows))
    found: list[Candidate] = []
    harmless = False
    start = cycle.random.randrange(len(rows)) if len(rows) else 0
    for candidate in one_by_one(cycle, np.roll(rows, -start), budgets, reasons, limit):
        found.append(candidate)
        harmless = harmless or not candidate.violations
        if harmless and len(found) >= limit:
            break
    return found, reasons


def one_by_one(
    cycle: Cycle, rows: Rows, budgets: Sequence[Obj], reasons: dict[str, int], at_once: int
) -> Iterator[Candidate]:
    """The candidates among some rows, in order; `reasons` are those of the rows that were passed on the way."""
    rule = room.rule(cycle)
    if rule is None:
        for row in rows:
            candidate = on_row(cycle, int(row), budgets, reasons)
            if candidate is not None:
                yield candidate
        return
    for first in range(0, len(rows), max(at_once, 1)):
        lower = [_lower(cycle, int(row), budgets) for row in rows[first : first + at_once]]
        crowded = [each for each in lower if each.pods]
        outcomes = iter(room.outcomes(cycle, rule, crowded) if crowded else ())
        for each in lower:
            if not each.pods:
                _count(reasons, {NO_VICTIMS: 1})
                continue
            outcome = next(outcomes)
            if outcome.reasons:
                _count(reasons, dict.fromkeys(outcome.reasons, 1))
            else:
                # They are in the order in which they are spared: that of importance, but for budgets.
                victims = sorted(outcome.victims, key=importance) if each.violating else outcome.victims
                yield Candidate(each.row, tuple(victims), outcome.violations)


def _lower(cycle: Cycle, row: int, budgets: Sequence[Obj]) -> Lower:
    """Those that may have to go, in the order in which they are spared."""
    pods = sorted((info for info in cycle.table.pods_on(row) if _may_go(info, cycle)), key=importance)
    if not budgets:
        return Lower(row, pods, 0)
    violating, others = _by_budget(pods, budgets)
    return Lower(row, [*violating, *others], len(violating))


def on_row(cycle: Cycle, row: int, budgets: Sequence[Obj], reasons: dict[str, int]) -> Candidate | None:
    """The fewest and least important pods that must leave a node; None when even the departure of all lower ones
    would not do, and `reasons` then says why."""
    lower = [info for info in cycle.table.pods_on(row) if _may_go(info, cycle)]
    if not lower:
        _count(reasons, {NO_VICTIMS: 1})
        return None
    only = cycle.table.empty_mask()
    only[row] = True
    with cycle.table.without(lower):
        refusals = _refusals(cycle, only)
        if refusals is not None:
            _count(reasons, refusals)
            return None
        violating, others = _by_budget(sorted(lower, key=importance), budgets)
        victims: list[PodInfo] = []
        violations = len(_not_spared(cycle, only, violating, victims))
        _not_spared(cycle, only, others, victims)
    return Candidate(row, tuple(sorted(victims, key=importance)), violations)


def _may_go(info: PodInfo, cycle: Cycle) -> bool:
    """A less important pod that no plugin stands up for (VictimFilterPlugin)."""
    if info.priority >= cycle.info.priority:
        return False
    for plugin in cycle.profile.victim_filters:  # noqa: SIM110 - a generator costs more than what it asks
        if plugin.protects(info):
            return False
    return True


def _not_spared(cycle: Cycle, only: Mask, pods: Iterable[PodInfo], victims: list[PodInfo]) -> list[PodInfo]:
    """Put back one pod after the other as long as the new one still fits; the rest are victims."""
    lost = []
    for info in pods:
        cycle.table.put_pod(info)
        if _refusals(cycle, only) is not None:
            cycle.table.remove_pod(info.uid)
            lost.append(info)
    victims += lost
    return lost


def _refusals(cycle: Cycle, only: Mask) -> dict[str, int] | None:
    """Why the pod does not fit on one row as the table is now; None when it does."""
    diagnosis = Diagnosis(1, only.copy())
    return None if filtered(cycle, only, diagnosis).any() else diagnosis.reasons


def _count(total: dict[str, int], more: Mapping[str, int]) -> None:
    for reason, count in more.items():
        total[reason] = total.get(reason, 0) + count


def importance(info: PodInfo) -> tuple[int, str]:
    """Smaller is more important: higher priority, then the earlier start (util.MoreImportantPod)."""
    return -info.priority, start_time(info)


def start_time(info: PodInfo) -> str:
    """When it started; one that has not yet is the youngest."""
    return str((info.pod.get("status") or {}).get("startTime") or "~")


def _by_budget(pods: Iterable[PodInfo], budgets: Sequence[Obj]) -> tuple[list[PodInfo], list[PodInfo]]:
    """Pods whose going a budget forbids, as it has already been used up by those before them, and the others."""
    left = [(budget.get("status") or {}).get("disruptionsAllowed", 0) for budget in budgets]
    violating: list[PodInfo] = []
    others: list[PodInfo] = []
    for info in pods:
        forbidden = False
        for number, budget in enumerate(budgets):
            if _covers(budget, info):
                left[number] -= 1
                forbidden = forbidden or left[number] < 0
        (violating if forbidden else others).append(info)
    return violating, others


def _covers(budget: Obj, info: PodInfo) -> bool:
    """A budget without a selector covers nothing, and one that is already being spent on a pod not once more."""
    meta, selector = info.pod["metadata"], (budget.get("spec") or {}).get("selector")
    if budget["metadata"].get("namespace") != info.namespace or not meta.get("labels") or not selector:
        return False
    if info.name in ((budget.get("status") or {}).get("disruptedPods") or {}):
        return False
    return labels.from_label_selector(selector).matches(meta["labels"])


def best(found: Sequence[Candidate]) -> Candidate:
    """The fewest broken budgets, the lowest top priority, the lowest sum of priorities, the fewest victims, the
    latest start of the oldest among the top ones, the first (pickOneNodeForPreemption)."""
    costs = [_cost(candidate) for candidate in found]
    least = min(costs)
    left = [candidate for candidate, cost in zip(found, costs, strict=True) if cost == least]
    return max(left, key=_oldest_top)


def _cost(candidate: Candidate) -> tuple[int, int, int, int]:
    victims = candidate.victims
    top = victims[0].priority if victims else -_PRIORITY_OFFSET
    return candidate.violations, top, sum(v.priority + _PRIORITY_OFFSET for v in victims), len(victims)


def _oldest_top(candidate: Candidate) -> str:
    top = candidate.victims[0].priority if candidate.victims else 0
    return min((start_time(v) for v in candidate.victims if v.priority == top), default="")
