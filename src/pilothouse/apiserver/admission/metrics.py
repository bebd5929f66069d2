"""Admission's metrics, under upstream's names (k8s.io/apiserver/pkg/admission/metrics).

Every write counts here, so counting is two additions to plain lists; the families are made when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

_BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_NAMES = (*(str(s) for s in _BUCKETS_S), "+Inf")
_STEP = "apiserver_admission_step_admission_duration_seconds"
_CONTROLLER = "apiserver_admission_controller_admission_duration_seconds"
_LABELS = ("type", "operation", "rejected")

Key = tuple[str, str, str, bool]
"""Plugin ("" for a whole step), admit or validate, operation, rejected."""


class Latencies:
    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_NAMES)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        out, total = [], 0
        for name, count in zip(_NAMES, self.counts, strict=True):
            total += count
            out.append((name, float(total)))
        return out


class AdmissionMetrics(Collector):
    """`registry` collects one cluster's metrics; None for nobody who asks."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._latencies: dict[Key, Latencies] = {}
        if registry is not None:
            registry.register(self)

    def latencies(self, plugin: str, step: str, operation: str, *, rejected: bool = False) -> Latencies:
        """Where to count; kept by who counts often."""
        key = (plugin, step, operation, rejected)
        found = self._latencies.get(key)
        if found is None:
            found = self._latencies[key] = Latencies()
        return found

    def collect(self) -> Iterator[HistogramMetricFamily]:
        steps = HistogramMetricFamily(
            _STEP,
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step "
            "type (validate or admit).",
            labels=_LABELS,
        )
        controllers = HistogramMetricFamily(
            _CONTROLLER,
            "Admission controller latency histogram in seconds, identified by name and broken out for each operation "
            "and API resource and type (validate or admit).",
            labels=("name", *_LABELS),
        )
        for (plugin, step, operation, rejected), latencies in self._latencies.items():
            if not any(latencies.counts):
                continue
            values = [step, operation, str(rejected).lower()]
            if plugin:
                controllers.add_metric([plugin, *values], latencies.cumulative(), latencies.sum_s)
            else:
                steps.add_metric(values, latencies.cumulative(), latencies.sum_s)
        yield steps
        yield controllers
