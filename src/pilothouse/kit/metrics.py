"""Metrics belong to a cluster, not to the process: every component is handed its `CollectorRegistry`.

prometheus_client refuses to register a name twice; components that share metrics (each work queue has its
label in one family) get the family that is already there. Children are kept by their users: looking one up
costs more than counting.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

M = TypeVar("M", bound=MetricWrapperBase)
F = TypeVar("F", bound=Collector)

_families: WeakKeyDictionary[CollectorRegistry, dict[str, Collector]] = WeakKeyDictionary()


BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds where a histogram names none."""

disable_created_metrics()  # type: ignore[no-untyped-call]
"""Go's client library writes no *_created series beside counters and histograms, so neither do we."""


def new_registry() -> CollectorRegistry:
    """The registry of one cluster or one component, with the process' own figures (process_*)."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    return registry


def exponential_buckets(start: float, factor: float, count: int) -> tuple[float, ...]:
    """prometheus.ExponentialBuckets: `count` upper bounds, the first at `start`."""
    return tuple(start * factor**n for n in range(count))


def counter(registry: CollectorRegistry, name: str, help: str, labels: Sequence[str] = ()) -> Counter:
    """The registry's counter of this name; "_total" is added on output, and may be part of `name`."""
    return _family(registry, Counter, name, lambda: Counter(name, help, labels, registry=registry))


def plain_counter(
    registry: CollectorRegistry, name: str, help: str, labels: Sequence[str] = ()
) -> PlainCounter:
    """The same without "_total"."""

    def make() -> PlainCounter:
        made = PlainCounter(name, help, labels)
        registry.register(made)
        return made

    return _family(registry, PlainCounter, name, make)


def gauge(registry: CollectorRegistry, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    return _family(registry, Gauge, name, lambda: Gauge(name, help, labels, registry=registry))


def histogram(
    registry: CollectorRegistry,
    name: str,
    help: str,
    labels: Sequence[str] = (),
    buckets: Iterable[float] = BUCKETS,
) -> Histogram:
    def make() -> Histogram:
        made = Histogram(name, help, labels, buckets)
        registry.register(made)
        return made

    return _family(registry, Histogram, name, make)


def _family(registry: CollectorRegistry, kind: type[F], name: str, make: Callable[[], F]) -> F:
    families = _families.setdefault(registry, {})
    family = families.get(name)
    if family is None:
        family = families[name] = make()
    if not isinstance(family, kind):
        raise TypeError(f"metric {name} is a {type(family).__name__}, not a {kind.__name__}")
    return family


class Tally:
    """One series of a histogram. The client library's own takes two locks and a search from below each time, ten times
    for every pod that is scheduled; this one is counted up by one thread at a time and needs neither."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """How many fell between two bounds; the last has none above it."""
        self.sum = 0.0

    def observe(self, amount: float) -> None:
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.sum += amount

    def cumulative(self) -> list[tuple[str, float]]:
        """As it is shown: how many were at most so much."""
        shown, total = [], 0
        for bound, count in zip((*self._bounds, math.inf), self.counts, strict=True):
            total += count
            name: str = floatToGoString(bound)  # type: ignore[no-untyped-call]
            shown.append((name, float(total)))
        return shown


class Histogram(Collector):
    """A family; without labels it has one series from the start."""

    def __init__(self, name: str, help: str, labels: Sequence[str], buckets: Iterable[float]) -> None:
        self._name = name
        self._help = help
        self._labels = tuple(labels)
        self._bounds = tuple(buckets)
        self._series: dict[tuple[str, ...], Tally] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> Tally:
        found = self._series.get(values)
        if found is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}, not {len(values)} of them")
            found = self._series[values] = Tally(self._bounds)
        return found

    def observe(self, amount: float) -> None:
        """Of a family without labels."""
        self.labels().observe(amount)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        for values, tally in list(self._series.items()):
            family.add_metric(values, tally.cumulative(), tally.sum)
        yield family


class _AsItIs(str):
    """A name to which the text format adds no "_total"."""

    def __add__(self, suffix: str) -> str:
        return str(self) if suffix == "_total" else str(self) + suffix


class PlainCounter(Collector):
    """A counter that is shown under its very name. Some of upstream's have no "_total", which the client library puts
    behind any counter's."""

    def __init__(self, name: str, help: str, labels: Sequence[str]) -> None:
        self._name = name
        self._help = help
        self._labels = tuple(labels)
        self._series: dict[tuple[str, ...], float] = {}

    def inc(self, *values: str, by: float = 1.0) -> None:
        """`values` are those of the labels."""
        self._series[values] = self._series.get(values, 0.0) + by

    def describe(self) -> Iterator[Metric]:
        yield Metric(_AsItIs(self._name), self._help, "counter")

    def collect(self) -> Iterator[Metric]:
        (family,) = self.describe()
        for values, total in list(self._series.items()):
            family.add_sample(self._name, dict(zip(self._labels, values, strict=True)), total)
        yield family


class Children(Generic[M]):
    """The children of one family by their labels, which are a few: kept, as looking one up costs more than counting."""

    def __init__(self, family: M) -> None:
        self._family = family
        self._kept: dict[tuple[str, ...], M] = {}

    def __call__(self, *labels: str) -> M:
        child = self._kept.get(labels)
        if child is None:
            child = self._kept[labels] = self._family.labels(*labels)
        return child


class QueueMetrics:
    """One work queue's part of upstream's workqueue_* families
    (k8s.io/component-base/metrics/prometheus/workqueue)."""

    def __init__(self, registry: CollectorRegistry, queue: str) -> None:
        label = ["name"]
        buckets = exponential_buckets(10e-9, 10, 12)
        self.depth = gauge(registry, "workqueue_depth", "Current depth of workqueue", label).labels(queue)
        self.adds = counter(
            registry, "workqueue_adds", "Total number of adds handled by workqueue", label
        ).labels(queue)
        self.retries = counter(
            registry, "workqueue_retries", "Total number of retries handled by workqueue", label
        ).labels(queue)
        self.queue_seconds = histogram(
            registry,
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            label,
            buckets,
        ).labels(queue)
        self.work_seconds = histogram(
            registry,
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            label,
            buckets,
        ).labels(queue)
        self.unfinished_seconds = gauge(
            registry,
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has done that is in progress and hasn't been observed by "
            "work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads "
            "by observing the rate at which this increases.",
            label,
        ).labels(queue)
        self.longest_running_seconds = gauge(
            registry,
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            label,
        ).labels(queue)
