"""The API server's metrics, under upstream's names (k8s.io/apiserver/pkg/endpoints/metrics).

Counting is on every request's way, so it is two additions to plain lists; the families are made when somebody
scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from pilothouse.apiserver.limits import is_long_running
from pilothouse.apiserver.request import Request, RequestInfo

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


_LABELS = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")
_BUCKET_NAMES = (*(str(float(s)) for s in _LATENCY_BUCKETS_S), "+Inf")

_KNOWN_VERBS = frozenset(
    (
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "get",
        "list",
        "watch",
        "proxy",
        "post",
        "put",
        "head",
    )
)
Served = Callable[[RequestInfo], bool]
"""Whether a request's path leads to something. Paths and methods are the clients' to choose: what leads nowhere is
counted without its names, or each would stay in memory."""

Key = tuple[str, str, str, str, str, str]
"""verb, group, version, resource, subresource, scope"""


class _Latencies:
    """How many requests took how long; the last bucket has no bound."""

    __slots__ = ("buckets", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * len(_BUCKET_NAMES)
        self.sum_s = 0.0

    def cumulative(self) -> list[tuple[str, float]]:
        out, total = [], 0
        for name, count in zip(_BUCKET_NAMES, self.buckets, strict=True):
            total += count
            out.append((name, float(total)))
        return out


class RequestMetrics(Collector):
    """`registry` collects one cluster's metrics."""

    def __init__(self, registry: CollectorRegistry, served: Served) -> None:
        self._served = served
        self._codes: dict[Key, dict[int, int]] = {}
        self._latencies: dict[Key, _Latencies] = {}
        registry.register(self)

    def observe(self, request: Request, code: int, seconds: float) -> None:
        info = request.info
        key = (info.verb, info.group, info.version, info.resource, info.subresource, _scope(request))
        codes = self._codes.get(key)
        if codes is None:
            key = self._known(key, info)
            codes = self._codes.setdefault(key, {})
            if not is_long_running(request):
                self._latencies.setdefault(key, _Latencies())
        codes[code] = codes.get(code, 0) + 1
        latencies = self._latencies.get(key)
        if latencies is not None:
            latencies.buckets[bisect_left(_LATENCY_BUCKETS_S, seconds)] += 1
            latencies.sum_s += seconds

    def _known(self, key: Key, info: RequestInfo) -> Key:
        verb = info.verb if info.verb in _KNOWN_VERBS else "other"
        return (verb, *key[1:]) if info.is_resource and self._served(info) else (verb, "", "", "", "", "")

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        total = CounterMetricFamily(
            "apiserver_request",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, "
            "scope, component, and HTTP response code.",
            labels=[*_LABELS, "code"],
        )
        for key, codes in self._codes.items():
            for code, count in codes.items():
                total.add_metric([*_label_values(key), str(code)], count)
        yield total
        seconds = HistogramMetricFamily(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds for each verb, dry run value, group, version, resource, "
            "subresource, scope and component.",
            labels=_LABELS,
        )
        for key, latencies in self._latencies.items():
            seconds.add_metric(_label_values(key), latencies.cumulative(), latencies.sum_s)
        yield seconds


def _label_values(key: Key) -> list[str]:
    verb, group, version, resource, subresource, scope = key
    return [_VERBS.get(verb, verb.upper()), "", group, version, resource, subresource, scope, "apiserver"]
