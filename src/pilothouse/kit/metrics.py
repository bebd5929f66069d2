"""Metrics belong to a cluster, not to the process: every component is handed its `CollectorRegistry`.

prometheus_client refuses to register a name twice; components that share metrics (each work queue has its
label in one family) get the family that is already there. Children are kept by their users: looking one up
costs more than counting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics import MetricWrapperBase

M = TypeVar("M", bound=MetricWrapperBase)

_families: WeakKeyDictionary[CollectorRegistry, dict[str, MetricWrapperBase]] = WeakKeyDictionary()


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
    return _family(registry, Counter, name, help, labels)


def gauge(registry: CollectorRegistry, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:
    return _family(registry, Gauge, name, help, labels)


def histogram(
    registry: CollectorRegistry,
    name: str,
    help: str,
    labels: Sequence[str] = (),
    buckets: Iterable[float] = Histogram.DEFAULT_BUCKETS,
) -> Histogram:
    return _family(registry, Histogram, name, help, labels, buckets=tuple(buckets))


def _family(
    registry: CollectorRegistry, kind: type[M], name: str, help: str, labels: Sequence[str], **more: Any
) -> M:
    families = _families.setdefault(registry, {})
    family = families.get(name)
    if family is None:
        family = families[name] = kind(name, help, labels, registry=registry, **more)
    if not isinstance(family, kind):
        raise TypeError(f"metric {name} is a {type(family).__name__}, not a {kind.__name__}")
    return family


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
