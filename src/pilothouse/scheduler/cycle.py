"""One pod's decision: a pure function of the node table and chance (schedule_one.go, schedulingCycle).

PreFilter → Filter, as things are and with the pods that nodes are nominated for → PreScore → Score → the best
              └─ nothing left → PostFilter: a nomination, or more reasons
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilothouse.scheduler import sampling
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import Cycle, Nomination, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.pod_info import PodInfo


class Unschedulable(Exception):
    """No node fits."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        self.diagnosis = diagnosis
        super().__init__(diagnosis.text())


def decide(cycle: Cycle) -> str:
    """The name of the best node, one of the best at random. Raises Unschedulable."""
    rows = np.flatnonzero(feasible(cycle))
    own = nominated_row(cycle, rows)
    if own is not None:
        return cycle.table.name(own)
    if len(rows) == 1:
        return cycle.table.name(int(rows[0]))
    rows = sampling.some(rows, len(cycle.table), cycle.profile.percentage, cycle.random)
    total = scores(cycle, rows)
    best = rows[total == total.max()]
    return cycle.table.name(int(best[cycle.random.randrange(len(best))]))


def nominated_row(cycle: Cycle, rows: Rows) -> int | None:
    """The pod's own nominated node comes first, as room was made for it there."""
    row = cycle.table.row(cycle.info.nominated) if cycle.info.nominated else None
    return row if row is not None and row in rows else None


def feasible(cycle: Cycle, diagnosis: Diagnosis | None = None) -> Mask:
    """The nodes that every filter lets through; Unschedulable when there are none. `diagnosis` gets why not others."""
    if diagnosis is None:
        diagnosis = Diagnosis(len(cycle.table), cycle.table.valid.copy())
    left = _pre_filtered(cycle, diagnosis)
    left = filtered(cycle, left, diagnosis)
    if not left.any():
        raise Unschedulable(diagnosis)
    return left


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
    """What is left of some rows after every filter, with and without the pods that nodes are nominated for: they
    may come or not, and a node must do either way (RunFilterPluginsWithNominatedPods)."""
    left = _filtered_as_is(cycle, rows, diagnosis)
    guests = [g for g in cycle.guests if g.uid != cycle.info.uid and g.priority >= cycle.info.priority]
    shared = _rows_of(cycle, guests) & left
    if not shared.any():
        return left
    with cycle.table.beside(guests):
        still = _filtered_as_is(cycle, shared, diagnosis)
    return (left & ~shared) | still


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
    total: Column = np.zeros(len(rows), dtype=np.int64)
    for plugin in _scorers(cycle, rows):
        total += cycle.profile.weight(plugin) * plugin.score(cycle, rows)
    return total


def _scorers(cycle: Cycle, rows: Rows) -> list[ScorePlugin]:
    return [
        plugin
        for plugin in cycle.profile.score
        if not isinstance(plugin, PreScorePlugin) or plugin.pre_score(cycle, rows)
    ]
