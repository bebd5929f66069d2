"""What can be measured of priority and fairness, under upstream's names, made when somebody scrapes
(k8s.io/apiserver/pkg/util/flowcontrol/metrics)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pilothouse.apiserver.fairness.traffic import WAIT_BUCKETS_S, Counts, Traffic

_PREFIX = "apiserver_flowcontrol"
_BOTH = ("priority_level", "flow_schema")
_BUCKET_NAMES = (*(str(float(s)) for s in WAIT_BUCKETS_S), "+Inf")
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class FairnessMetrics(Collector):
    def __init__(self, traffic: Traffic, counts: Callable[[], Iterable[Counts]]) -> None:
        self._traffic = traffic
        self._counts = counts

    def collect(self) -> Iterator[Family]:
        counts = list(self._counts())
        yield from self._counters(counts)
        yield from self._gauges(counts)
        yield from self._levels()
        yield self._durations(counts)

    def _counters(self, counts: list[Counts]) -> Iterator[Family]:
        dispatched = CounterMetricFamily(
            f"{_PREFIX}_dispatched_requests",
            "Number of requests executed by API Priority and Fairness subsystem",
            labels=_BOTH,
        )
        refused = CounterMetricFamily(
            f"{_PREFIX}_rejected_requests",
            "Number of requests rejected by API Priority and Fairness subsystem",
            labels=(*_BOTH, "reason"),
        )
        for c in counts:
            if c.dispatched:
                dispatched.add_metric([c.level, c.schema], c.dispatched)
            for reason, number in c.refused.items():
                refused.add_metric([c.level, c.schema, reason], number)
        yield from (dispatched, refused)

    def _gauges(self, counts: list[Counts]) -> Iterator[Family]:
        waiting = GaugeMetricFamily(
            f"{_PREFIX}_current_inqueue_requests",
            "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
            labels=_BOTH,
        )
        executing = GaugeMetricFamily(
            f"{_PREFIX}_current_executing_requests",
            "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority "
            "and Fairness subsystem",
            labels=_BOTH,
        )
        seats = GaugeMetricFamily(
            f"{_PREFIX}_current_executing_seats",
            "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage "
            "otherwise) requests in the API Priority and Fairness subsystem",
            labels=_BOTH,
        )
        for c in counts:
            if c.dispatched or c.refused or c.waiting:
                waiting.add_metric([c.level, c.schema], c.waiting)
                executing.add_metric([c.level, c.schema], c.executing)
                seats.add_metric([c.level, c.schema], c.seats)
        yield from (waiting, executing, seats)

    def _levels(self) -> Iterator[Family]:
        families = {
            "nominal_limit_seats": "Nominal number of execution seats configured for each priority level",
            "lower_limit_seats": "Configured lower bound on number of execution seats available to each priority level",
            "upper_limit_seats": "Configured upper bound on number of execution seats available to each priority level",
            "current_limit_seats": "current derived number of execution seats available to each priority level",
        }
        for name, text in families.items():
            family = GaugeMetricFamily(f"{_PREFIX}_{name}", text, labels=("priority_level",))
            for level in self._traffic.levels.values():
                family.add_metric([level.name], level.limit or 0)
            yield family
        r = GaugeMetricFamily(f"{_PREFIX}_current_r", "R(time of last change)", labels=("priority_level",))
        for level in self._traffic.levels.values():
            if level.queues:
                r.add_metric([level.name], level.r)
        yield r

    def _durations(self, counts: list[Counts]) -> Family:
        family = HistogramMetricFamily(
            f"{_PREFIX}_request_wait_duration_seconds",
            "Length of time a request spent waiting in its queue",
            labels=(*_BOTH, "execute"),
        )
        for c in counts:
            if not c.dispatched:
                continue
            # Whoever did not wait is in the first bucket.
            total, rows = float(max(c.dispatched - sum(c.waits), 0)), []
            for bound, number in zip(_BUCKET_NAMES, c.waits, strict=True):
                total += number
                rows.append((bound, total))
            family.add_metric([c.level, c.schema, "true"], rows, c.waited_s)
        return family
