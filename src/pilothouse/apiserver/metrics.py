"""The API server's metrics, under upstream's names (k8s.io/apiserver/pkg/endpoints/metrics)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pilothouse.apiserver.limits import is_long_running
from pilothouse.apiserver.request import Request

_LATENCY_BUCKETS_S = (
    0.005,
    0.025,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    15,
    20,
    30,
    45,
    60,
)
_VERBS = {
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "get": "GET",
    "list": "LIST",
}


def _scope(request: Request) -> str:
    info = request.info
    if not info.is_resource:
        return ""
    if info.name:
        return "resource"
    return "namespace" if info.namespace else "cluster"


class RequestMetrics:
    """`registry` collects one cluster's metrics; children are kept because looking them up costs more than
    counting."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = [
            "verb",
            "dry_run",
            "group",
            "version",
            "resource",
            "subresource",
            "scope",
            "component",
            "code",
        ]
        self._total = Counter(
            "apiserver_request",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, "
            "scope, component, and HTTP response code.",
            labels,
            registry=registry,
        )
        self._seconds = Histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
            "subresource, scope and component.",
            labels[:-1],
            buckets=_LATENCY_BUCKETS_S,
            registry=registry,
        )
        self.long_running = Gauge(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, "
            "scope and component. Not all requests are tracked this way.",
            ["verb", "group", "version", "resource", "subresource", "scope", "component"],
            registry=registry,
        )
        self._children: dict[tuple[str, ...], tuple[Counter, Histogram | None]] = {}

    def observe(self, request: Request, code: int, seconds: float) -> None:
        info = request.info
        key = (
            info.verb,
            info.group,
            info.version,
            info.resource,
            info.subresource,
            _scope(request),
            str(code),
        )
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = self._make(request, key)
        children[0].inc()
        if children[1] is not None:
            children[1].observe(seconds)

    def _make(self, request: Request, key: tuple[str, ...]) -> tuple[Counter, Histogram | None]:
        verb, group, version, resource, subresource, scope, code = key
        values = (
            _VERBS.get(verb, verb.upper()),
            "",
            group,
            version,
            resource,
            subresource,
            scope,
            "apiserver",
        )
        timed = None if is_long_running(request) else self._seconds.labels(*values)
        return self._total.labels(*values, code), timed
