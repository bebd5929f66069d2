"""The API server's metrics, under upstream's names (k8s.io/apiserver/pkg/endpoints/metrics).

Counting is on every request's way, so it is two additions to plain lists; the families are made when somebody
scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

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


_LABELS = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")
_BUCKET_NAMES = (*(str(float(s)) for s in _LATENCY_BUCKETS_S), "+Inf")

_KEYS_MAX = 10_000
_OTHER = ("other", "", "", "", "", "")
"""Paths are the clients' to choose; past so many kinds of requests the rest are counted together."""

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

    def __init__(self, registry: CollectorRegistry) -> None:
        self._codes: dict[Key, dict[int, int]] = {}
        self._latencies: dict[Key, _Latencies] = {}
        self.long_running = Gauge(
            "apiserver_longrunning_requests",
            "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, "
            "scope and component. Not all requests are tracked this way.",
            ["verb", "group", "version", "resource", "subresource", "scope", "component"],
            registry=registry,
        )
        registry.register(self)

    def observe(self, request: Request, code: int, seconds: float) -> None:
        info = request.info
        key = (info.verb, info.group, info.version, info.resource, info.subresource, _scope(request))
        codes = self._codes.get(key)
        if codes is None and len(self._codes) >= _KEYS_MAX:
            key = _OTHER
            codes = self._codes.get(key)
        if codes is None:
            codes = self._codes[key] = {}
            if not is_long_running(request):
                self._latencies[key] = _Latencies()
        codes[code] = codes.get(code, 0) + 1
        latencies = self._latencies.get(key)
        if latencies is not None:
            latencies.buckets[bisect_left(_LATENCY_BUCKETS_S, seconds)] += 1
            latencies.sum_s += seconds

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
