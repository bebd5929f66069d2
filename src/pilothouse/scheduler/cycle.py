"""One pod's decision: a pure function of the node table and chance (schedule_one.go, schedulingCycle).

PreFilter → Filter, as things are and with the pods that nodes are nominated for → PreScore → Score → the best
              └─ nothing left → PostFilter: a nomination, or more reasons
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from pilothouse.scheduler import sampling
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Nomination, Rows, ScorePlugin
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.row_cache import Remembered

_OUT = -1
"""What a row is worth that does not pass."""
_Filters = Callable[[Cycle, Mask], Mask]
"""What is left of some rows."""


class Unschedulable(Exception):
    """No node fits."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        super().__init__(diagnosis.text())


def decide(cycle: Cycle) -> str:
    """The name of the best node, one of the best at random. Raises Unschedulable."""
    fit = _fit(cycle, None)
    own = nominated_row(cycle, fit.mask)
    if own is not None:
        return cycle.table.name(own)
    rows = fit.rows
    if len(rows) == 1:
        return cycle.table.name(int(rows[0]))
    some = sampling.some(rows, len(cycle.table), cycle.profile.percentage, cycle.random)
    best = _best(cycle, some, fit.known if some is rows else None)
    return cycle.table.name(int(best[cycle.random.randrange(len(best))]))


def nominated_row(cycle: Cycle, left: Mask) -> int | None:
    """The pod's own nominated node comes first, as room was made for it there."""
    row = cycle.table.row(cycle.info.nominated) if cycle.info.nominated else None
    return row if row is not None and left[row] else None


class _Fit(NamedTuple):
    """The nodes that every filter lets through. `known`: just those that are remembered, under this key."""

    mask: Mask
    known: tuple[Hashable, Remembered] | None = None

    @property
    def rows(self) -> Rows:
        return self.mask.nonzero()[0] if self.known is None else self.known[1].where


def feasible(cycle: Cycle, diagnosis: Diagnosis | None = None) -> Mask:
    """The nodes that every filter lets through; Unschedulable when there are none. `diagnosis` gets why not others. Not
    to be changed, and right until the table changes."""
    return _fit(cycle, diagnosis).mask


def _fit(cycle: Cycle, diagnosis: Diagnosis | None) -> _Fit:
    told = diagnosis or Diagnosis(len(cycle.table), cycle.table.valid.copy())
    looked_at = _pre_filtered(cycle, told)
    if diagnosis is None:
        fit = _passing(cycle, looked_at)
        if fit.known[1].where.size if fit.known is not None else fit.mask.any():
            return fit
    found = filtered(cycle, looked_at, told)
    if not found.any():
        raise Unschedulable(told)
    return _Fit(found)


def _pre_filtered(cycle: Cycle, diagnosis: Diagnosis) -> Mask:
    """The nodes that are worth a look; the table's own mask when all are."""
    left = cycle.table.valid
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
            left = left & result.rows
    return left


def filtered(cycle: Cycle, rows: Mask, diagnosis: Diagnosis) -> Mask:
    """What is left of some rows after every filter; `diagnosis` is told of the others."""

    def told(cycle: Cycle, rows: Mask) -> Mask:
        return _filtered_as_is(cycle, rows, diagnosis)

    return _beside_guests(cycle, told(cycle, rows), told)


def _beside_guests(cycle: Cycle, left: Mask, beside: _Filters) -> Mask:
    """What is left with and without the pods that nodes are nominated for: they may come or not, and a node must do
    either way (RunFilterPluginsWithNominatedPods)."""
    guests = cycle.weighty_guests()
    if not guests:
        return left
    shared = _rows_of(cycle, guests) & left
    if not shared.any():
        return left
    with cycle.table.beside(guests):
        still = beside(cycle, shared)
    return (left & ~shared) | still


def _passing(cycle: Cycle, rows: Mask) -> _Fit:
    """What every filter lets through, without reasons: most pods fit somewhere, and nobody asks then why other nodes
    would not do."""
    keyed, others = _filters(cycle)
    key = tuple([(plugin.itself, each) for plugin, each in keyed])
    known = _remembered_passes(cycle, key, keyed)
    whole = known.values if rows is cycle.table.valid else rows & known.values
    left = _beside_guests(cycle, _let_through(cycle, whole, others), _passing_few)
    return _Fit(left, (key, known) if left is known.values else None)


def _filters(cycle: Cycle) -> tuple[list[tuple[FilterPlugin, Hashable]], list[FilterPlugin]]:
    """Those whose verdict on a row depends on that row alone, each with its key, and the others."""
    keyed, others = [], list(cycle.profile.keyless)
    for plugin in cycle.profile.keyed:
        key = plugin.filter_key(cycle)
        if key is None:
            others.append(plugin)
        else:
            keyed.append((plugin, key))
    return keyed, others


def _remembered_passes(
    cycle: Cycle, key: Hashable, keyed: Iterable[tuple[FilterPlugin, Hashable]]
) -> Remembered:
    valid = cycle.table.valid

    def passes(rows: Rows) -> Mask:
        mask: Mask = valid[rows]
        for plugin, _ in keyed:
            mask &= plugin.passes(cycle, rows)
        return mask

    def one(row: int) -> bool:
        if not valid[row]:
            return False
        for plugin, _ in keyed:  # noqa: SIM110 - a generator costs more than what it asks
            if not plugin.passes_one(cycle, row):
                return False
        return True

    return cycle.table.remembered.column(("passes", key), passes, one)


def _passing_few(cycle: Cycle, rows: Mask) -> Mask:
    """The same for a few rows, of which nothing is remembered."""
    left = rows.copy()
    few = np.flatnonzero(rows)
    keyed, others = _filters(cycle)
    for plugin, _ in keyed:
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
        self._effects: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def ends_with(self, said: Nomination) -> bool:
        if said.effect is not None:
            self._effects.append(said.effect)
        if said.node:
            self._found = said
            return True
        self._node = said.node if self._node is None else self._node
        if said.message:
            self._messages.append(said.message)
        return said.final

    def outcome(self) -> Nomination:
        effect = partial(_all_of, self._effects) if self._effects else None
        if self._found is not None:
            return self._found._replace(effect=effect)
        self._diagnosis.post_filter_message = ", ".join(self._messages)
        return Nomination(self._node, effect=effect)


async def _all_of(effects: Iterable[Callable[[], Coroutine[Any, Any, None]]]) -> None:
    for effect in effects:
        await effect()


def _best(cycle: Cycle, rows: Rows, known: tuple[Hashable, Remembered] | None) -> Rows:
    """Those of some feasible rows whose scores are highest. `known` when they are all that is remembered to pass: then
    what a row is worth is remembered, too, if that depends on the row alone."""
    keyed, others = _scorers(cycle, rows)
    if known is None or others:
        total = _total(cycle, rows, keyed, others)
        highest: Rows = rows[total == total.max()]
        return highest
    worth = _remembered_scores(cycle, keyed, known).values
    best: Rows = (worth == worth.max()).nonzero()[0]
    return best


def scores(cycle: Cycle, rows: Rows) -> Column:
    """The weighted sum for each of some feasible rows."""
    return _total(cycle, rows, *_scorers(cycle, rows))


_Keyed = tuple[ScorePlugin, int, Hashable]
"""A plugin, its weight, and its key."""


def _total(cycle: Cycle, rows: Rows, keyed: Sequence[_Keyed], others: Iterable[ScorePlugin]) -> Column:
    total: Column = _remembered_scores(cycle, keyed).values[rows]
    for plugin in others:
        total += cycle.profile.weight(plugin) * plugin.score(cycle, rows)
    return total


def _scorers(cycle: Cycle, rows: Rows) -> tuple[list[_Keyed], list[ScorePlugin]]:
    """Those whose score of a row depends on that row alone, each with its key, and the others."""
    alone, others = [], []
    for plugin, pre_score, weight in cycle.profile.scorers:
        if pre_score is not None and not pre_score(cycle, rows):
            continue
        key = plugin.score_key(cycle)
        if key is None:
            others.append(plugin)
        else:
            alone.append((plugin, weight, key))
    return alone, others


def _remembered_scores(
    cycle: Cycle, keyed: Sequence[_Keyed], known: tuple[Hashable, Remembered] | None = None
) -> Remembered:
    """Of all rows, or -1 for those that do not pass when it is `known` which do."""
    asked = tuple([(plugin.itself, weight, key) for plugin, weight, key in keyed])

    def total(rows: Rows) -> Column:
        column: Column = np.zeros(len(rows), dtype=np.int64)
        for plugin, weight, _ in keyed:
            column += weight * plugin.score(cycle, rows)
        return column

    def one(row: int) -> int:
        found = 0
        for plugin, weight, _ in keyed:
            found += weight * plugin.score_one(cycle, row)
        return found

    remembered = cycle.table.remembered
    if known is None:
        return remembered.column(("scores", asked), total, one)
    key, passes = known[0], known[1].values
    return remembered.column(
        ("worth", key, asked),
        lambda rows: np.where(passes[rows], total(rows), _OUT),
        lambda row: one(row) if passes[row] else _OUT,
    )
