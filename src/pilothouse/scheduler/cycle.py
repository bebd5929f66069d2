"""One pod's decision: a pure function of the node table and chance (schedule_one.go, schedulingCycle).

PreFilter → Filter, as things are and with the pods that nodes are nominated for → PreScore → Score → the best
              └─ nothing left → PostFilter: a nomination, or more reasons
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial

import numpy as np

from pilothouse.scheduler import sampling
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Nomination, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.pod_info import PodInfo

_Filters = Callable[[Cycle, Mask], Mask]
"""What is left of some rows."""


class Unschedulable(Exception):
    """No node fits."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        super().__init__(diagnosis.text())


def decide(cycle: Cycle) -> str:
    """The name of the best node, one of the best at random. Raises Unschedulable."""
    left = feasible(cycle)
    own = nominated_row(cycle, left)
    if own is not None:
        return cycle.table.name(own)
    rows = np.flatnonzero(left)
    if len(rows) == 1:
        return cycle.table.name(int(rows[0]))
    rows = sampling.some(rows, len(cycle.table), cycle.profile.percentage, cycle.random)
    total = scores(cycle, rows)
    best = rows[total == total.max()]
    return cycle.table.name(int(best[cycle.random.randrange(len(best))]))


def nominated_row(cycle: Cycle, left: Mask) -> int | None:
    """The pod's own nominated node comes first, as room was made for it there."""
    row = cycle.table.row(cycle.info.nominated) if cycle.info.nominated else None
    return row if row is not None and left[row] else None


def feasible(cycle: Cycle, diagnosis: Diagnosis | None = None) -> Mask:
    """The nodes that every filter lets through; Unschedulable when there are none. `diagnosis` gets why not others."""
    told = diagnosis or Diagnosis(len(cycle.table), cycle.table.valid.copy())
    left = _pre_filtered(cycle, told)
    if diagnosis is None:
        found = _with_guests(cycle, left, _passing, _passing_few)
        if found.any():
            return found
    found = filtered(cycle, left, told)
    if not found.any():
        raise Unschedulable(told)
    return found


def _pre_filtered(cycle: Cycle, diagnosis: Diagnosis) -> Mask:
    left: Mask = cycle.table.valid.copy()
    for plugin in cycle.profile.pre_filter:
        result = plugin.pre_filter(cycle)
        if result is None:
            continue
        if result.refusal:
            diagnosis.refuse_all(plugin.name, result.refusal)
            return cycle.table.empty_mask()
        if result.rows is not None:
            reason = f"node(s) didn't satisfy plugin(s) [{plugin.name}]"
            diagnosis.add(plugin.name, left & ~result.rows, reason, resolvable=False)
            left &= result.rows
    return left


def filtered(cycle: Cycle, rows: Mask, diagnosis: Diagnosis) -> Mask:
    """What is left of some rows after every filter; `diagnosis` is told of the others."""

    def told(cycle: Cycle, rows: Mask) -> Mask:
        return _filtered_as_is(cycle, rows, diagnosis)

    return _with_guests(cycle, rows, told, told)


def _with_guests(cycle: Cycle, rows: Mask, without: _Filters, beside: _Filters) -> Mask:
    """With and without the pods that nodes are nominated for: they may come or not, and a node must do either way
    (RunFilterPluginsWithNominatedPods)."""
    left = without(cycle, rows)
    guests = cycle.weighty_guests()
    if not guests:
        return left
    shared = _rows_of(cycle, guests) & left
    if not shared.any():
        return left
    with cycle.table.beside(guests):
        still = beside(cycle, shared)
    return (left & ~shared) | still


def _passing(cycle: Cycle, rows: Mask) -> Mask:
    """What every filter lets through, without reasons: most pods fit somewhere, and nobody asks then why other nodes
    would not do."""
    left = rows.copy()
    others = []
    for plugin in cycle.profile.filter:
        key = plugin.filter_key(cycle)
        if key is None:
            others.append(plugin)
        else:
            passes, one = partial(plugin.passes, cycle), partial(plugin.passes_one, cycle)
            left &= cycle.table.remembered.column((plugin, key), passes, one)
    return _let_through(cycle, left, others)


def _passing_few(cycle: Cycle, rows: Mask) -> Mask:
    """The same for a few rows, of which nothing is remembered."""
    left = rows.copy()
    others = []
    few = np.flatnonzero(rows)
    for plugin in cycle.profile.filter:
        if plugin.filter_key(cycle) is None:
            others.append(plugin)
        else:
            left[few] &= plugin.passes(cycle, few)
    return _let_through(cycle, left, others)


def _let_through(cycle: Cycle, left: Mask, plugins: Iterable[FilterPlugin]) -> Mask:
    for plugin in plugins:
        for rejection in plugin.filter(cycle, left):
            left = left & ~rejection.mask
    return left


def _rows_of(cycle: Cycle, guests: Sequence[PodInfo]) -> Mask:
    mask = cycle.table.empty_mask()
    for guest in guests:
        row = cycle.table.row(guest.node)
        if row is not None:
            mask[row] = True
    return mask


def _filtered_as_is(cycle: Cycle, rows: Mask, diagnosis: Diagnosis) -> Mask:
    """A node counts for the first filter that refuses it, with all reasons that this one gives."""
    left = rows.copy()
    for plugin in cycle.profile.filter:
        if not left.any():
            break
        out: Mask | None = None  # most plugins have nothing to say of most pods
        for rejection in plugin.filter(cycle, left):
            mask = rejection.mask & left
            out = mask if out is None else out | mask
            diagnosis.add(plugin.name, mask, rejection.reason, resolvable=rejection.resolvable)
        if out is not None:
            left &= ~out
    return left


def post_filter(cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
    """What can be done about it: the first plugin that finds a node decides. `diagnosis` gets what they say
    otherwise."""
    round_ = PostFilterRound(diagnosis)
    for plugin in cycle.profile.post_filter:
        if round_.ends_with(plugin.post_filter(cycle, diagnosis)):
            break
    return round_.outcome()


class PostFilterRound:
    """What the plugins say one after the other, until one has found a node."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self._diagnosis = diagnosis
        self._found: Nomination | None = None
        self._node: str | None = None
        self._messages: list[str] = []

    def ends_with(self, said: Nomination) -> bool:
        if said.node:
            self._found = said
            return True
        self._node = said.node if self._node is None else self._node
        if said.message:
            self._messages.append(said.message)
        return said.final

    def outcome(self) -> Nomination:
        if self._found is not None:
            return self._found
        self._diagnosis.post_filter_message = ", ".join(self._messages)
        return Nomination(self._node)


def scores(cycle: Cycle, rows: Rows) -> Column:
    """The weighted sum for each of some feasible rows."""
    alone, others = _scorers(cycle, rows)
    total: Column = _remembered_scores(cycle, alone)[rows]
    for plugin in others:
        total += cycle.profile.weight(plugin) * plugin.score(cycle, rows)
    return total


def _scorers(cycle: Cycle, rows: Rows) -> tuple[list[tuple[ScorePlugin, Hashable]], list[ScorePlugin]]:
    """Those whose score of a row depends on that row alone, each with its key, and the others."""
    alone, others = [], []
    for plugin in cycle.profile.score:
        if isinstance(plugin, PreScorePlugin) and not plugin.pre_score(cycle, rows):
            continue
        key = plugin.score_key(cycle)
        if key is None:
            others.append(plugin)
        else:
            alone.append((plugin, key))
    return alone, others


def _remembered_scores(cycle: Cycle, keyed: list[tuple[ScorePlugin, Hashable]]) -> Column:
    weighted = [(plugin, cycle.profile.weight(plugin)) for plugin, _ in keyed]

    def total(rows: Rows) -> Column:
        column: Column = np.zeros(len(rows), dtype=np.int64)
        for plugin, weight in weighted:
            column += weight * plugin.score(cycle, rows)
        return column

    def one(row: int) -> int:
        return sum(weight * plugin.score_one(cycle, row) for plugin, weight in weighted)

    return cycle.table.remembered.column((cycle.profile, *keyed), total, one)
