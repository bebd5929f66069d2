"""A profile whose plugins are timed, for one cycle in ten (pkg/scheduler/framework/runtime/metrics_recorder.go:
pluginMetricsSamplePercent). The other nine pay nothing.

Each plugin of a scheduling cycle stands behind one of the same kind that notes how long it takes. An extension point
has taken as long as its plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import (
    Cycle,
    FilterPlugin,
    Nomination,
    Plugin,
    PostFilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    PreScorePlugin,
    Rejection,
    ReservePlugin,
    Rows,
    ScorePlugin,
)
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.profile import Profile

SUCCESS, ERROR = "Success", "Error"
SAMPLE = 10
"""One cycle in so many."""


class Note(NamedTuple):
    plugin: str
    point: str
    status: str
    seconds: float


class Stopwatch:
    """`clock` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self._notes: list[Note] = []

    def note(self, plugin: str, point: str, status: str, began_s: float) -> None:
        """What began then has ended."""
        self._notes.append(Note(plugin, point, status, self.now() - began_s))

    def read(self) -> list[Note]:
        """What was noted since it was last read."""
        notes, self._notes = self._notes, []
        return notes


def timed(profile: Profile, stopwatch: Stopwatch) -> Profile:
    """The same profile, timed."""
    twin = object.__new__(Profile)
    twin.__dict__.update(profile.__dict__)
    twin.pre_filter = tuple(_PreFilter(p, stopwatch) for p in profile.pre_filter)
    twin.set_filter(tuple(_Filter(p, stopwatch) for p in profile.filter))
    twin.set_score(
        tuple(
            _PreScore(p, stopwatch) if isinstance(p, PreScorePlugin) else _Score(p, stopwatch)
            for p in profile.score
        )
    )
    twin.reserve = tuple(_Reserve(p, stopwatch) for p in profile.reserve)
    twin.post_filter = tuple(
        # Extenders have a say in what this one finds: it is asked in parts.
        p if isinstance(p, DefaultPreemption) else _PostFilter(p, stopwatch)
        for p in profile.post_filter
    )
    return twin


class _Timed(Plugin):
    """What raises leaves the status Error."""

    def __init__(self, plugin: Any, stopwatch: Stopwatch) -> None:
        self.name = plugin.name  # type: ignore[misc]
        self._plugin = plugin
        self._stopwatch = stopwatch

    @property
    def itself(self) -> Plugin:
        plugin: Plugin = self._plugin
        return plugin


class _PreFilter(_Timed, PreFilterPlugin):
    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            result: PreFilterResult | None = self._plugin.pre_filter(cycle)
            if result is None:
                status = "Skip"
            else:
                status = "UnschedulableAndUnresolvable" if result.refusal else SUCCESS
            return result
        finally:
            self._stopwatch.note(self.name, "PreFilter", status, began_s)


class _Filter(_Timed, FilterPlugin):
    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            found = list(self._plugin.filter(cycle, left))
            refuses = any((rejection.mask & left).any() for rejection in found)
            status = "Unschedulable" if refuses else SUCCESS
            return found
        finally:
            self._stopwatch.note(self.name, "Filter", status, began_s)

    def filter_key(self, cycle: Cycle) -> Hashable | None:
        key: Hashable | None = self._plugin.filter_key(cycle)
        return key

    def passes(self, cycle: Cycle, rows: Rows) -> Mask:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            mask: Mask = self._plugin.passes(cycle, rows)
            status = SUCCESS
            return mask
        finally:
            self._stopwatch.note(self.name, "Filter", status, began_s)

    def passes_one(self, cycle: Cycle, row: int) -> bool:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            passes: bool = self._plugin.passes_one(cycle, row)
            status = SUCCESS
            return passes
        finally:
            self._stopwatch.note(self.name, "Filter", status, began_s)

    def counts_pods(self, cycle: Cycle) -> bool:
        return bool(self._plugin.counts_pods(cycle))

    def asks(self, cycle: Cycle) -> Mapping[str, int] | None:
        amounts: Mapping[str, int] | None = self._plugin.asks(cycle)
        return amounts

    def lacks(self, resource: str) -> str:
        return str(self._plugin.lacks(resource))


class _Score(_Timed, ScorePlugin):
    def score(self, cycle: Cycle, rows: Rows) -> Column:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            column: Column = self._plugin.score(cycle, rows)
            status = SUCCESS
            return column
        finally:
            self._stopwatch.note(self.name, "Score", status, began_s)

    def score_key(self, cycle: Cycle) -> Hashable | None:
        key: Hashable | None = self._plugin.score_key(cycle)
        return key

    def score_one(self, cycle: Cycle, row: int) -> int:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            score: int = self._plugin.score_one(cycle, row)
            status = SUCCESS
            return score
        finally:
            self._stopwatch.note(self.name, "Score", status, began_s)


class _PreScore(_Score, PreScorePlugin):
    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            tells = bool(self._plugin.pre_score(cycle, rows))
            status = SUCCESS if tells else "Skip"
            return tells
        finally:
            self._stopwatch.note(self.name, "PreScore", status, began_s)


class _Reserve(_Timed, ReservePlugin):
    def reserve(self, cycle: Cycle, node: str) -> str:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            why = str(self._plugin.reserve(cycle, node))
            status = "Unschedulable" if why else SUCCESS
            return why
        finally:
            self._stopwatch.note(self.name, "Reserve", status, began_s)

    def unreserve(self, cycle: Cycle, node: str) -> None:
        self._plugin.unreserve(cycle, node)


class _PostFilter(_Timed, PostFilterPlugin):
    def post_filter(self, cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
        began_s, status = self._stopwatch.now(), ERROR
        try:
            found: Nomination = self._plugin.post_filter(cycle, diagnosis)
            status = SUCCESS if found.node else "Unschedulable"
            return found
        finally:
            self._stopwatch.note(self.name, "PostFilter", status, began_s)
