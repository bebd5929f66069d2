"""What the API server asks of a shared store, and how long that takes, under upstream's names
(k8s.io/apiserver/pkg/storage/etcd3/metrics). The embedded store is not asked over any wire: nothing is counted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

_BUCKETS_S = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5),
    *(2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60),
)
_LABELS = ("operation", "group", "resource")


class _Row:
    __slots__ = ("buckets", "errors", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BUCKETS_S) + 1)
        self.sum_s = 0.0
        self.errors = 0


class StoreRequests(Collector):
    """`size` is of the store's file, in bytes; 0 is not known."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], _Row] = {}
        self.size = 0

    def count(self, operation: str, group: str, resource: str, seconds: float, *, failed: bool) -> None:
        row = self._rows.get((operation, group, resource))
        if row is None:
            row = self._rows[operation, group, resource] = _Row()
        row.buckets[bisect_left(_BUCKETS_S, seconds)] += 1
        row.sum_s += seconds
        row.errors += failed

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        duration = HistogramMetricFamily(
            "etcd_request_duration_seconds",
            "Etcd request latency in seconds for each operation and object type.",
            labels=_LABELS,
        )
        total = CounterMetricFamily(
            "etcd_requests", "Etcd request counts for each operation and object type.", labels=_LABELS
        )
        errors = CounterMetricFamily(
            "etcd_request_errors",
            "Etcd failed request counts for each operation and object type.",
            labels=_LABELS,
        )
        for labels, row in self._rows.items():
            below, buckets = 0, []
            for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), row.buckets, strict=True):
                below += count
                buckets.append((bound, below))
            duration.add_metric(labels, buckets, row.sum_s)
            total.add_metric(labels, below)
            if row.errors:
                errors.add_metric(labels, row.errors)
        size = GaugeMetricFamily(
            "apiserver_storage_size_bytes",
            "Size of the storage database file physically allocated in bytes.",
            labels=("storage_cluster_id",),
        )
        if self.size:
            size.add_metric(("etcd-0",), self.size)
        yield from (duration, total, errors, size)
