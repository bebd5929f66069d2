"""A profile whose plugins are timed, for one cycle in ten (pkg/scheduler/framework/runtime/metrics_recorder.go:
pluginMetricsSamplePercent). The other nine pay nothing.

Each plugin of a scheduling cycle stands behind one of the same kind that notes how long it takes. An extension point
has taken as long as its plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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
        self._clock = clock
        self._notes: list[Note] = []

    @contextmanager
    def timing(self, plugin: str, point: str) -> Iterator[list[str]]:
        """The list takes the status; without one it is Success."""
        status: list[str] = []
        began_s = self._clock()
        try:
            yield status
        finally:
            seconds = self._clock() - began_s
            self._notes.append(Note(plugin, point, status[0] if status else "Success", seconds))

    def read(self) -> list[Note]:
        """What was noted since it was last read."""
        notes, self._notes = self._notes, []
        return notes


def timed(profile: Profile, stopwatch: Stopwatch) -> Profile:
    """The same profile, timed."""
    twin = object.__new__(Profile)
    twin.__dict__.update(profile.__dict__)
    twin.pre_filter = tuple(_PreFilter(p, stopwatch) for p in profile.pre_filter)
    twin.filter = tuple(_Filter(p, stopwatch) for p in profile.filter)
    twin.score = tuple(
        _PreScore(p, stopwatch) if isinstance(p, PreScorePlugin) else _Score(p, stopwatch)
        for p in profile.score
    )
    twin.reserve = tuple(_Reserve(p, stopwatch) for p in profile.reserve)
    twin.post_filter = tuple(
        # Extenders have a say in what this one finds: it is asked in parts.
        p if isinstance(p, DefaultPreemption) else _PostFilter(p, stopwatch)
        for p in profile.post_filter
    )
    return twin


class _Timed(Plugin):
    def __init__(self, plugin: Any, stopwatch: Stopwatch) -> None:
        self.name = plugin.name  # type: ignore[misc]
        self._plugin = plugin
        self._stopwatch = stopwatch


class _PreFilter(_Timed, PreFilterPlugin):
    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        with self._stopwatch.timing(self.name, "PreFilter") as status:
            result: PreFilterResult | None = self._plugin.pre_filter(cycle)
            if result is None:
                status.append("Skip")
            elif result.refusal:
                status.append("UnschedulableAndUnresolvable")
            return result


class _Filter(_Timed, FilterPlugin):
    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        with self._stopwatch.timing(self.name, "Filter") as status:
            found = list(self._plugin.filter(cycle, left))
            if any((rejection.mask & left).any() for rejection in found):
                status.append("Unschedulable")
            return found

    def filter_key(self, cycle: Cycle) -> Hashable | None:
        key: Hashable | None = self._plugin.filter_key(cycle)
        return key

    def passes(self, cycle: Cycle, rows: Rows) -> Mask:
        with self._stopwatch.timing(self.name, "Filter"):
            mask: Mask = self._plugin.passes(cycle, rows)
            return mask

    def counts_pods(self, cycle: Cycle) -> bool:
        return bool(self._plugin.counts_pods(cycle))

    def asks(self, cycle: Cycle) -> Mapping[str, int] | None:
        amounts: Mapping[str, int] | None = self._plugin.asks(cycle)
        return amounts

    def lacks(self, resource: str) -> str:
        return str(self._plugin.lacks(resource))


class _Score(_Timed, ScorePlugin):
    def score(self, cycle: Cycle, rows: Rows) -> Column:
        with self._stopwatch.timing(self.name, "Score"):
            column: Column = self._plugin.score(cycle, rows)
            return column

    def score_key(self, cycle: Cycle) -> Hashable | None:
        key: Hashable | None = self._plugin.score_key(cycle)
        return key


class _PreScore(_Score, PreScorePlugin):
    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        with self._stopwatch.timing(self.name, "PreScore") as status:
            tells = bool(self._plugin.pre_score(cycle, rows))
            if not tells:
                status.append("Skip")
            return tells


class _Reserve(_Timed, ReservePlugin):
    def reserve(self, cycle: Cycle, node: str) -> str:
        with self._stopwatch.timing(self.name, "Reserve") as status:
            why = str(self._plugin.reserve(cycle, node))
            if why:
                status.append("Unschedulable")
            return why

    def unreserve(self, cycle: Cycle, node: str) -> None:
        self._plugin.unreserve(cycle, node)


class _PostFilter(_Timed, PostFilterPlugin):
    def post_filter(self, cycle: Cycle, diagnosis: Diagnosis) -> Nomination:
        with self._stopwatch.timing(self.name, "PostFilter") as status:
            found: Nomination = self._plugin.post_filter(cycle, diagnosis)
            if not found.node:
                status.append("Unschedulable")
            return found
