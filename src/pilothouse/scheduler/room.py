"""Whom it costs to make room on many nodes at once, where amounts are all that stands in the way.

For most pods that preempt, one rule alone depends on the pods of a node: the sum of what they ask for. Then the
search of `preemption` is arithmetic, and runs on columns:

    free      what would be left beside the new pod when all lower pods of a node were gone
    spared    one after the other, the most important first: it stays if what is left allows it

Its plain twin is `preemption.on_row`, which asks every filter for every pod of every node; `rule` says when the two
are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rows
from pilothouse.scheduler.node_table import PODS
from pilothouse.scheduler.pod_info import PodInfo

Amounts = NDArray[np.int64]
"""By row and resource."""


@dataclass(frozen=True, slots=True)
class Lower:
    """The pods of one node that may have to go, in the order in which they are spared; the first `violating` of them
    are covered by budgets that forbid it."""

    row: int
    pods: Sequence[PodInfo]
    violating: int


@dataclass(slots=True)
class Outcome:
    """`reasons` why the pod would not fit even if all were gone; or else who must go, and how many of them against
    their budget."""

    reasons: list[str] = field(default_factory=list)
    victims: list[PodInfo] = field(default_factory=list)
    violations: int = 0


def rule(cycle: Cycle) -> FilterPlugin | None:
    """The one filter for which pods count, if it counts their amounts only; None when it is not so simple."""
    counting = [plugin for plugin in cycle.profile.filter if plugin.counts_pods(cycle)]
    if len(counting) != 1 or counting[0].asks(cycle) is None:
        return None
    return counting[0]


def outcomes(cycle: Cycle, plugin: FilterPlugin, lower: Sequence[Lower]) -> list[Outcome]:
    """What making room would cost on each of some nodes."""
    asked = dict(plugin.asks(cycle) or {})
    names = list(asked)
    rows = np.array([each.row for each in lower], dtype=np.intp)
    leaving = _leaving(lower, names)
    free = _free(cycle, rows, asked) + leaving.sum(axis=0)
    found = [Outcome() for _ in lower]
    _refuse(cycle, plugin, rows, free, names, found)
    going = _not_spared(free, leaving, np.array([len(each.pods) for each in lower]))
    for each, outcome, goes in zip(lower, found, going.T.tolist(), strict=True):
        if not outcome.reasons:
            outcome.victims = [info for info, gone in zip(each.pods, goes, strict=False) if gone]
            outcome.violations = sum(goes[: each.violating])
    return found


def _leaving(lower: Sequence[Lower], names: Sequence[str]) -> NDArray[np.int64]:
    """What each lower pod would give back, by its number, node and resource."""
    most = max(len(each.pods) for each in lower)
    nobody = [0] * len(names)
    amounts = []
    for each in lower:
        given = [[1 if name == PODS else info.requests.get(name, 0) for name in names] for info in each.pods]
        amounts.append(given + [nobody] * (most - len(given)))
    return np.array(amounts, dtype=np.int64).transpose(1, 0, 2)


def _free(cycle: Cycle, rows: Rows, asked: dict[str, int]) -> Amounts:
    """What is left on each row beside the new pod and those that the row is nominated for; less than nothing while
    it does not fit."""
    table = cycle.table
    free = np.array([table.allocatable[n][rows] - table.requested[n][rows] for n in asked]).T
    free -= np.array(list(asked.values()), dtype=np.int64)
    at = {int(row): number for number, row in enumerate(rows)}
    for guest in cycle.weighty_guests():
        row = table.row(guest.node)
        number = None if row is None else at.get(row)
        if number is not None and table.pod(guest.uid) is None:
            free[number] -= [1 if name == PODS else guest.requests.get(name, 0) for name in asked]
    return free


def _refuse(
    cycle: Cycle,
    plugin: FilterPlugin,
    rows: Rows,
    free: Amounts,
    names: Sequence[str],
    found: Sequence[Outcome],
) -> None:
    """A node counts for the first filter that refuses it, as ever."""
    left = cycle.table.empty_mask()
    left[rows] = True
    at = {int(row): number for number, row in enumerate(rows)}
    for each in cycle.profile.filter:
        if each is plugin:
            for number in np.flatnonzero((free < 0).any(axis=1) & left[rows]).tolist():
                found[number].reasons = [
                    each.lacks(names[n]) for n in np.flatnonzero(free[number] < 0).tolist()
                ]
                left[rows[number]] = False
            continue
        out = cycle.table.empty_mask()
        for rejection in each.filter(cycle, left):
            mask = rejection.mask & left
            for row in np.flatnonzero(mask):
                found[at[int(row)]].reasons.append(rejection.reason)
            out |= mask
        left &= ~out


def _not_spared(free: Amounts, leaving: NDArray[np.int64], counts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pods, by number and node, do not fit any more beside the new one and those spared before them."""
    going = np.zeros(leaving.shape[:2], dtype=bool)
    for number, amounts in enumerate(leaving):
        there = counts > number
        left = free - amounts
        stays = (left >= 0).all(axis=1) & there
        free = np.where(stays[:, None], left, free)
        going[number] = there & ~stays
    return going
