"""What the API server is busy with and what it holds, read when somebody scrapes
(k8s.io/apiserver/pkg/endpoints/metrics, pkg/storage/etcd3/metrics, k8s.io/component-base/metrics/version)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pilothouse.api.types import Obj
from pilothouse.apiserver.limits import InFlight
from pilothouse.apiserver.storage.store import ResourceStore

_BUILD_LABELS = {
    "major": "major",
    "minor": "minor",
    "git_version": "gitVersion",
    "git_commit": "gitCommit",
    "git_tree_state": "gitTreeState",
    "build_date": "buildDate",
    "go_version": "goVersion",
    "compiler": "compiler",
    "platform": "platform",
}
_LONG_RUNNING_LABELS = ("verb", "group", "version", "resource", "subresource", "scope", "component")


class StateMetrics(Collector):
    """`version` is what /version answers."""

    def __init__(
        self,
        in_flight: InFlight,
        stores: Callable[[], Iterable[ResourceStore]],
        version: Obj,
        bookmarks: Callable[[], int],
    ) -> None:
        self._bookmarks = bookmarks
        self._in_flight = in_flight
        self._stores = stores
        self._version = version

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        yield self._requests()
        yield from self._resources()
        bookmarks = GaugeMetricFamily(
            "etcd_bookmark_counts",
            "Number of etcd bookmarks (progress notify events): one watch serves all kinds.",
        )
        bookmarks.add_metric([], self._bookmarks())
        yield bookmarks
        build = GaugeMetricFamily(
            "kubernetes_build_info",
            "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, "
            "build date, Go version, and compiler from which Kubernetes was built, and platform on which it is "
            "running.",
            labels=list(_BUILD_LABELS),
        )
        build.add_metric([str(self._version.get(key, "")) for key in _BUILD_LABELS.values()], 1)
        yield build

    def _requests(self) -> GaugeMetricFamily:
        inflight = GaugeMetricFamily(
            "apiserver_current_inflight_requests",
            "Maximal number of currently used inflight request limit of this apiserver per request kind in last "
            "second.",
            labels=["request_kind"],
        )
        inflight.add_metric(["mutating"], self._in_flight.mutating.running)
        inflight.add_metric(["readOnly"], self._in_flight.read_only.running)
        return inflight

    def _resources(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        stored = GaugeMetricFamily(
            "apiserver_storage_objects",
            "Number of stored objects at the time of last check split by kind.",
            labels=["resource"],
        )
        objects = GaugeMetricFamily(
            "apiserver_resource_objects",
            "Number of stored objects at the time of last check split by kind.",
            labels=["group", "resource"],
        )
        running = GaugeMetricFamily(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, "
            "scope and component. Not all requests are tracked this way.",
            labels=_LONG_RUNNING_LABELS,
        )
        events = CounterMetricFamily(
            "apiserver_storage_events_received",
            "Number of etcd events received split by kind.",
            labels=["group", "resource"],
        )
        for store in self._stores():
            r, count = store.resource, len(store.cached)
            stored.add_metric([f"{r.plural}.{r.group}" if r.group else r.plural], count)
            objects.add_metric([r.group, r.plural], count)
            wide = store.cached.watchers_of_all()
            for scope, watches in (("cluster", wide), ("namespace", store.cached.watcher_count - wide)):
                if watches:
                    labels = ["WATCH", r.group, r.version, r.plural, "", scope, "apiserver"]
                    running.add_metric(labels, watches)
            if store.cached.received:
                events.add_metric([r.group, r.plural], store.cached.received)
        yield from (stored, objects, running, events)
