"""etcd's metrics, under its names (https://etcd.io/docs/v3.6/metrics/), in a registry of the server's own."""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from pilothouse.etcd.contract import API_VERSION, Backend, Maintenance, Range
from pilothouse.etcd.wire.errors import Code, go_name
from pilothouse.etcd.wire.methods import Method
from pilothouse.kit.metrics import Histogram, counter, exponential_buckets, gauge, histogram, new_registry

_KINDS = {
    (False, False): "unary",
    (False, True): "server_stream",
    (True, False): "client_stream",
    (True, True): "bidi_stream",
}
_ALL_KEYS = Range(b"\0", b"\0", count_only=True)
_CALL = ("grpc_code", "grpc_method", "grpc_service", "grpc_type")


class CallCounts:
    """Every method's counters (an `http2.call.Observer`)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._started: dict[Method, Counter] = {}
        self._done: dict[tuple[Method, Code], Counter] = {}

    def started(self, method: Method) -> None:
        child = self._started.get(method)
        if child is None:
            child = self._started[method] = self._metrics.started.labels(*_labels(method))
        child.inc()

    def done(self, method: Method, code: Code) -> None:
        child = self._done.get((method, code))
        if child is None:
            labels = (go_name(code), *_labels(method))
            child = self._done[method, code] = self._metrics.handled.labels(*labels)
        child.inc()


def _labels(method: Method) -> tuple[str, str, str]:
    """Name, service and type, as grpc-ecosystem's go-grpc-prometheus names them."""
    _, service, name = method.path.split("/")
    kind = _KINDS[method.request_streams, method.response_streams]
    return name, service, kind


class Metrics:
    """What the services count; sizes are asked for when somebody looks."""

    def __init__(self, quota_bytes: int, registry: CollectorRegistry | None = None) -> None:
        self.registry = new_registry() if registry is None else registry
        self.handled = self._counter(
            "grpc_server_handled_total",
            "Total number of RPCs completed on the server, regardless of success or failure.",
            _CALL,
        )
        self.started = self._counter(
            "grpc_server_started_total", "Total number of RPCs started on the server.", _CALL[1:]
        )
        self.puts = self._counter("etcd_mvcc_put_total", "Total number of puts seen by this member.")
        self.ranges = self._counter("etcd_mvcc_range_total", "Total number of ranges seen by this member.")
        self.txns = self._counter("etcd_mvcc_txn_total", "Total number of txns seen by this member.")
        self.deletes = self._counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member.")
        self.keys = self._gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.")
        self.revision = self._gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.")
        self.compacted = self._gauge(
            "etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store."
        )
        self.events = self._counter(
            "etcd_debugging_mvcc_events_total", "Total number of events sent by this member."
        )
        self.watchers = self._gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers.")
        self.watch_streams = self._gauge(
            "etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."
        )
        self.leases_granted = self._counter(
            "etcd_debugging_lease_granted_total", "The total number of granted leases."
        )
        self.leases_revoked = self._counter(
            "etcd_debugging_lease_revoked_total", "The total number of revoked leases."
        )
        self.commit_seconds: Histogram = histogram(
            self.registry,
            "etcd_disk_backend_commit_duration_seconds",
            "The latency distributions of commit called by backend.",
            (),
            exponential_buckets(0.001, 2, 14),
        )
        self._size = self._gauge(
            "etcd_mvcc_db_total_size_in_bytes",
            "Total size of the underlying database physically allocated in bytes.",
        )
        self._in_use = self._gauge(
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Total size of the underlying database logically in use in bytes.",
        )
        self.quota = self._gauge(
            "etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes."
        )
        self.quota.set(quota_bytes)
        self._constants()

    def _constants(self) -> None:
        self._gauge(
            "etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not."
        ).set(1)
        self._gauge(
            "etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise."
        ).set(1)
        self._counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen.").inc()
        self._gauge(
            "etcd_server_version",
            "Which version is running. 1 for 'server_version' label.",
            ("server_version",),
        ).labels(API_VERSION).set(1)
        self._gauge(
            "etcd_server_go_version", "Which version the server runs on.", ("server_go_version",)
        ).labels(f"python{platform.python_version()}").set(1)

    def _counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Counter:
        return counter(self.registry, name, help, labels)

    def _gauge(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Gauge:
        return gauge(self.registry, name, help, labels)

    async def text(self, backend: Backend, maintenance: Maintenance) -> bytes:
        """In Prometheus' text format."""
        status = await maintenance.status()
        self._size.set(status.db_size)
        self._in_use.set(status.db_size_in_use)
        self.keys.set((await backend.range(_ALL_KEYS)).count)
        self.revision.set(backend.revision)
        self.compacted.set(backend.compact_revision)
        return generate_latest(self.registry)
