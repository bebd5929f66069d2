"""Pods per second as upstream's throughputCollector counts them (util.go): once a second, how many pods more have a
node than at the sample before.

The first second in which pods are scheduled only starts the count; a second without any makes the next sample
longer, and it then counts as often as it is seconds long, so that percentiles stay right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.scheduler_perf.watching import matches
from pilothouse.api.types import Obj

PERCENTILES = (50, 90, 95, 99)


@dataclass
class Throughput:
    """`note` is called for each pod that got a node, `sample` each second; times are the clock's monotonic seconds."""

    namespaces: frozenset[str]
    selector: Mapping[str, str]
    began_s: float
    scheduled: int = 0
    samples: list[float] = field(default_factory=list)
    last_s: float = 0.0
    """When the last pod got its node."""
    _counted: int = 0
    _sampled_s: float | None = None
    _skipped: int = 0

    def note(self, pod: Obj, now_s: float) -> None:
        if pod["metadata"]["namespace"] in self.namespaces and matches(pod, self.selector):
            self.scheduled += 1
            self.last_s = now_s

    def sample(self, now_s: float) -> None:
        if not self.scheduled:
            return
        if self._sampled_s is None:
            self._counted, self._sampled_s = self.scheduled, now_s
            return
        more = self.scheduled - self._counted
        if not more:
            self._skipped += 1
            return
        rate = more / (now_s - self._sampled_s)
        self.samples += [rate] * (self._skipped + 1)
        self._counted, self._sampled_s, self._skipped = self.scheduled, now_s, 0

    @property
    def overall(self) -> float:
        """All of them over the time from the first creation to the last binding; 0 when there was none."""
        return self.scheduled / (self.last_s - self.began_s) if self.scheduled else 0.0

    def figures(self) -> dict[str, float]:
        """Average and percentiles. Where all was over before two samples were taken, upstream has no figure; here
        the overall rate stands for it."""
        return summary(self.samples or [self.overall])


def summary(values: Iterable[float]) -> dict[str, float]:
    ordered = sorted(values)
    found = {"average": sum(ordered) / len(ordered)}
    for percent in PERCENTILES:
        found[f"Perc{percent}"] = percentile(ordered, percent)
    return found


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent do not exceed."""
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]
