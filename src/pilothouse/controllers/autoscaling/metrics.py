"""The three metrics APIs, asked by an autoscaler (pkg/controller/podautoscaler/metrics, k8s.io/metrics/pkg/client).

    metrics.k8s.io            CPU and memory of pods: metrics-server, or the API server itself
    custom.metrics.k8s.io     metrics of pods and other objects: an adapter
    external.metrics.k8s.io   metrics of anything: an adapter

Values are thousandths. A failure raises CannotCompute with upstream's text.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pilothouse.api import labels, quantity
from pilothouse.api.errors import ApiError
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.controllers.autoscaling.replicas import CannotCompute, Sample, Samples
from pilothouse.controllers.autoscaling.targets import NoTarget, Targets
from pilothouse.kit.durations import duration_s
from pilothouse.kit.world import parse_timestamp

_RESOURCE = "/apis/metrics.k8s.io/v1beta1"
_CUSTOM = "custom.metrics.k8s.io"
_EXTERNAL = "external.metrics.k8s.io"
_CUSTOM_VERSIONS = ("v1beta2", "v1beta1")
_WINDOW_S = 60.0

_GENERIC = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    429: "the server has received too many requests and has asked us to try again later",
    500: "an error on the server has prevented the request from succeeding",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def said(error: ApiError | ConnectionError, what: str) -> str:
    """A failure as client-go tells it: an answer that is no Status gets its words (NewGenericServerResponse). `what` is
    pods.metrics.k8s.io."""
    if isinstance(error, ConnectionError) or error.reason or error.code not in _GENERIC:
        return str(error)
    return f"{_GENERIC[error.code]} (get {what})"


class MetricsClient:
    """Asks as the client's account."""

    def __init__(self, client: Client, targets: Targets) -> None:
        self._client = client
        self._targets = targets

    async def of_resource(self, resource: str, namespace: str, selector: str, container: str) -> Samples:
        """By pod; `container` "" sums up whole pods."""
        path = f"{_RESOURCE}/namespaces/{namespace}/pods"
        items = await self._items("resource", path, "pods.metrics.k8s.io", labelSelector=selector)
        if not items:
            raise CannotCompute("no metrics returned from resource metrics API")
        return _of_container(items, resource, container) if container else _of_pods(items, resource)

    async def of_pods(
        self, name: str, namespace: str, selector: str, metric_selector: labels.Selector
    ) -> Samples:
        """A metric of every pod that is selected."""
        items = await self._custom(name, namespace, "pods", "*", metric_selector, labelSelector=selector)
        if not items:
            raise CannotCompute("no metrics returned from custom metrics API")
        return {item["describedObject"]["name"]: _custom_sample(item) for item in items}

    async def of_object(
        self, name: str, namespace: str, described: Obj, metric_selector: labels.Selector
    ) -> int:
        group, kind = described.get("apiVersion", "").rpartition("/")[0], described["kind"]
        if (kind, group) == ("Namespace", ""):
            # Whatever its name: an autoscaler may not look beyond its own.
            items = await self._custom(name, namespace, "", "", metric_selector)
        else:
            resource = await self._resource(group, kind)
            items = await self._custom(name, namespace, resource, described["name"], metric_selector)
        if len(items) != 1:
            count = len(items)
            raise _unfetched(
                "custom",
                f"the custom metrics API server returned {count} results when we asked for exactly one",
            )
        return quantity.parse(str(items[0]["value"])).milli

    async def external(self, name: str, namespace: str, selector: labels.Selector) -> list[int]:
        path = f"/apis/{_EXTERNAL}/v1beta1/namespaces/{namespace}/{quote(name, safe='')}"
        params = {} if selector.empty else {"labelSelector": str(selector)}
        items = await self._items("external", path, f"{name}.{_EXTERNAL}", **params)
        if not items:
            raise CannotCompute("no metrics returned from external metrics API")
        return [quantity.parse(str(item["value"])).milli for item in items]

    async def _items(self, api: str, path: str, what: str, **params: str) -> list[Obj]:
        try:
            listed = await self._client.raw("GET", path, **params)
        except (ApiError, ConnectionError) as error:
            raise _unfetched(api, said(error, what)) from None
        found: list[Obj] = listed["items"]
        return found

    async def _custom(
        self,
        name: str,
        namespace: str,
        resource: str,
        object_name: str,
        metric_selector: labels.Selector,
        **params: str,
    ) -> list[Obj]:
        """`resource` "" asks about the namespace itself."""
        if not metric_selector.empty:
            params["metricLabelSelector"] = str(metric_selector)
        described = f"{resource}/{quote(object_name, safe='*')}" if resource else "metrics"
        version = await self._custom_version()
        path = f"/apis/{_CUSTOM}/{version}/namespaces/{namespace}/{described}/{quote(name, safe='')}"
        return await self._items("custom", path, f"{resource or 'namespaces'}.{_CUSTOM}", **params)

    async def _resource(self, group: str, kind: str) -> str:
        """`ingresses.networking.k8s.io`"""
        try:
            return await self._targets.resource(group, kind)
        except (NoTarget, ApiError, ConnectionError) as error:
            named = f"{kind}.{group}" if group else kind
            raise _unfetched("custom", f"unable to map kind {named} to resource: {error}") from None

    async def _custom_version(self) -> str:
        """The version that the server prefers of those that are known."""
        try:
            groups = (await self._client.raw("GET", "/apis"))["groups"]
        except (ApiError, ConnectionError) as error:
            raise _unfetched("custom", str(error)) from None
        group = next((g for g in groups if g["name"] == _CUSTOM), None)
        if group is None:
            raise _unfetched("custom", f"no custom metrics API ({_CUSTOM}) registered")
        preferred = (group.get("preferredVersion") or {}).get("version", "")
        for version in (preferred, *(v["version"] for v in group["versions"])):
            if version in _CUSTOM_VERSIONS:
                return str(version)
        raise _unfetched("custom", "no known available metric versions found")


def _unfetched(api: str, why: str) -> CannotCompute:
    return CannotCompute(f"unable to fetch metrics from {api} metrics API: {why}")


# -- samples ----------------------------------------------------------------------------------------------


def _of_pods(items: list[Obj], resource: str) -> Samples:
    """Pods of which one container is not known are not known."""
    found: Samples = {}
    for item in items:
        amounts = [(c.get("usage") or {}).get(resource) for c in item.get("containers") or ()]
        if amounts and None not in amounts:
            value = sum(quantity.parse(str(amount)).milli for amount in amounts)
            found[item["metadata"]["name"]] = _sample(item, value)
    return found


def _of_container(items: list[Obj], resource: str, container: str) -> Samples:
    found: Samples = {}
    for item in items:
        meta = item["metadata"]
        its = next((c for c in item.get("containers") or () if c["name"] == container), None)
        if its is None:
            raise CannotCompute(
                f"failed to get container metrics: container {container} not present in metrics for pod "
                f"{meta['namespace']}/{meta['name']}"
            )
        amount = (its.get("usage") or {}).get(resource)
        if amount is not None:
            found[meta["name"]] = _sample(item, quantity.parse(str(amount)).milli)
    return found


def _sample(item: Obj, value: int) -> Sample:
    return Sample(value, parse_timestamp(item["timestamp"]), duration_s(item["window"]))


def _custom_sample(item: Obj) -> Sample:
    window: Any = item.get("windowSeconds", item.get("window"))
    at = item.get("timestamp")
    return Sample(
        quantity.parse(str(item["value"])).milli,
        parse_timestamp(at) if at else 0.0,
        _WINDOW_S if window is None else float(window),
    )
