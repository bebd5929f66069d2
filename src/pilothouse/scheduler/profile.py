"""Which plugins run for the pods of one scheduler name, sorted by extension point
(https://kubernetes.io/docs/reference/scheduling/config/#multiple-profiles)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar, cast

from pilothouse.scheduler.framework import (
    BindPlugin,
    Cycle,
    FilterPlugin,
    PermitPlugin,
    Plugin,
    PostBindPlugin,
    PostFilterPlugin,
    PreBindPlugin,
    PreEnqueuePlugin,
    PreFilterPlugin,
    PreScorePlugin,
    QueueRankPlugin,
    QueueSortPlugin,
    ReservePlugin,
    Rows,
    ScorePlugin,
    VictimFilterPlugin,
    has_filter_key,
)
from pilothouse.scheduler.hints import Registration
from pilothouse.scheduler.pod_info import PodInfo

P = TypeVar("P", bound=Plugin)

Scorer = tuple[ScorePlugin, Callable[[Cycle, Rows], bool] | None, int]

DEFAULT_NAME = "default-scheduler"


class Profile:
    """`plugins` in the order in which they run at every extension point that they implement, or where a
    configuration says otherwise `points` by interface; `weights` of scores by plugin name, 1 where none is given.
    `percentage` of the nodes that fit are scored, as upstream's percentageOfNodesToScore. ValueError when no plugin,
    or more than one, sorts the queue."""

    def __init__(
        self,
        plugins: Iterable[Plugin],
        weights: Mapping[str, int],
        name: str = DEFAULT_NAME,
        *,
        points: Mapping[type[Plugin], Sequence[Plugin]] | None = None,
        percentage: int = 100,
    ) -> None:
        self.name = name
        self.percentage = percentage
        self.plugins: Sequence[Plugin] = tuple(plugins)
        self._points = points
        self.weights = weights
        sorters = self._all(QueueSortPlugin)  # type: ignore[type-abstract]
        if len(sorters) != 1:
            raise ValueError(f"profile {name}: one plugin must sort the queue, not {len(sorters)}")
        self.queue_sort = _ranked(sorters[0], [p for p in self.plugins if isinstance(p, QueueRankPlugin)])
        self.victim_filters = tuple(p for p in self.plugins if isinstance(p, VictimFilterPlugin))
        self.pre_enqueue = self._all(PreEnqueuePlugin)  # type: ignore[type-abstract]
        self.pre_filter = self._all(PreFilterPlugin)  # type: ignore[type-abstract]
        self.set_filter(self._all(FilterPlugin))  # type: ignore[type-abstract]
        self.post_filter = self._all(PostFilterPlugin)  # type: ignore[type-abstract]
        self.set_score(self._all(ScorePlugin))  # type: ignore[type-abstract]
        self.reserve = self._all(ReservePlugin)  # type: ignore[type-abstract]
        self.permit = self._all(PermitPlugin)  # type: ignore[type-abstract]
        self.pre_bind = self._all(PreBindPlugin)  # type: ignore[type-abstract]
        self.bind = self._all(BindPlugin)  # type: ignore[type-abstract]
        self.post_bind = self._all(PostBindPlugin)  # type: ignore[type-abstract]
        self.registrations: dict[str, tuple[Registration, ...]] = {
            plugin.name: tuple(plugin.registrations()) for plugin in self.plugins
        }

    def _all(self, point: type[P]) -> tuple[P, ...]:
        if self._points is not None:
            return cast("tuple[P, ...]", tuple(self._points[point]))
        return tuple(plugin for plugin in self.plugins if isinstance(plugin, point))

    def set_filter(self, plugins: tuple[FilterPlugin, ...]) -> None:
        """Who filters: those that may have a `filter_key`, and those that never do."""
        self.filter = plugins
        self.keyed = tuple(p for p in plugins if has_filter_key(p))
        self.keyless = tuple(p for p in plugins if not has_filter_key(p))

    def set_score(self, plugins: tuple[ScorePlugin, ...]) -> None:
        """Who scores; each with its PreScore if it has one, and its weight."""
        self.score = plugins
        self.scorers: Sequence[Scorer] = [
            (plugin, plugin.pre_score if isinstance(plugin, PreScorePlugin) else None, self.weight(plugin))
            for plugin in plugins
        ]

    def weight(self, plugin: Plugin) -> int:
        return self.weights.get(plugin.name, 1)


def _ranked(sorter: QueueSortPlugin, rankers: Sequence[QueueRankPlugin]) -> QueueSortPlugin:
    return _Ranked(sorter, rankers) if rankers and sorter.ranked else sorter


class _Ranked(QueueSortPlugin):
    """A sorter whose ties of the first number others break, before how long pods have waited does."""

    def __init__(self, sorter: QueueSortPlugin, rankers: Sequence[QueueRankPlugin]) -> None:
        self.name = sorter.name  # type: ignore[misc]
        self._sorter = sorter
        self._rankers = rankers

    def sort_key(self, info: PodInfo, since_s: float) -> tuple[float, ...]:
        first, *rest = self._sorter.sort_key(info, since_s)
        return (first, *(ranker.rank(info) for ranker in self._rankers), *rest)
