"""Histograms of the scheduler's own metrics as upstream's metricsCollector prints them: average and percentiles in
milliseconds, for each combination of labels that a case's metricsCollectorConfig lists."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from benchmarks.scheduler_perf.read import THROUGHPUT, Selector
from benchmarks.scheduler_perf.throughput import PERCENTILES

_DEFAULT: Mapping[str, Any] = {
    "scheduler_scheduling_attempt_duration_seconds": [
        {"label": "result", "values": ["scheduled", "unschedulable", "error"]}
    ]
}
"""Of upstream's default those that this scheduler has."""


class Figure(NamedTuple):
    name: str
    value: float
    unit: str


def histograms(
    registry: CollectorRegistry, config: Mapping[str, Any] | None, selector: Selector, threshold: float
) -> Iterator[Figure]:
    """A threshold for a metric that this scheduler does not have is said on stderr: the other figures stand."""
    wanted = _DEFAULT if config is None else _lowered(config).get("metrics") or {}
    families = {family.name: family for family in registry.collect()}
    if selector.name != THROUGHPUT and selector.name not in families:
        print(
            f"  the threshold is for {selector.name}, which this scheduler does not measure", file=sys.stderr
        )
    for metric, labels in wanted.items():
        if metric not in families:
            continue
        for combination in _combinations(labels):
            found = _Histogram(families[metric].samples, combination)
            if not found.count:
                continue
            name = "/".join((metric.replace("_seconds", "_ms"), *combination.values()))
            for bucket, value in found.figures():
                yield Figure(f"{name}/{bucket}", value * 1000, "ms")
            aimed = metric == selector.name and selector.labels.items() <= combination.items()
            if aimed and threshold:
                yield Figure(f"{name}/threshold", threshold, "ms")


def _lowered(config: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).lower(): value for key, value in config.items()}


def _combinations(labels: Any) -> Iterable[dict[str, str]]:
    """Every choice of one value a label; no label at all for a metric that lists none."""
    entries = [
        _lowered(entry) for entry in (labels if isinstance(labels, list) else [labels] if labels else [])
    ]
    names = [entry["label"] for entry in entries]
    return [
        dict(zip(names, values, strict=True))
        for values in product(*(entry.get("values") or () for entry in entries))
    ]


class _Histogram:
    """All series that have some labels, added up."""

    def __init__(self, samples: Iterable[Any], labels: Mapping[str, str]) -> None:
        self._buckets: dict[float, float] = {}
        self.count = self._sum = 0.0
        for sample in samples:
            if not labels.items() <= sample.labels.items():
                continue
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                self._buckets[bound] = self._buckets.get(bound, 0.0) + sample.value
            elif sample.name.endswith("_count"):
                self.count += sample.value
            elif sample.name.endswith("_sum"):
                self._sum += sample.value

    def figures(self) -> Iterator[tuple[str, float]]:
        yield "average", self._sum / self.count
        for percent in PERCENTILES:
            yield f"Perc{percent}", self.quantile(percent / 100)

    def quantile(self, share: float) -> float:
        """Straight within a bucket, as Prometheus' histogram_quantile; the last bound for what is above it."""
        rank, below, lower = share * self.count, 0.0, 0.0
        for bound in sorted(self._buckets):
            upto = self._buckets[bound]
            if upto >= rank:
                if math.isinf(bound):
                    return lower
                inside = upto - below
                return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
            below, lower = upto, bound
        return lower
