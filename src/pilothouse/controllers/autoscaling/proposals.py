"""What each metric of an autoscaler asks for: the API that knows it, the rule for its target, and how a failure is told
(horizontal.go computeReplicasForMetric and computeStatusFor…)."""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.api import labels, quantity
from pilothouse.api.types import Obj
from pilothouse.controllers.autoscaling import replicas, status
from pilothouse.controllers.autoscaling.metrics import MetricsClient
from pilothouse.controllers.autoscaling.replicas import CannotCompute, Patience, Proposal, Tolerances
from pilothouse.controllers.autoscaling.status import Target
from pilothouse.controllers.disruption_rules import go_selector


class Scaled(NamedTuple):
    """What is scaled: the target's `selector` and `pods`; `asked` and `observed`: its replicas by spec and status."""

    namespace: str
    selector: str
    pods: list[Obj]
    asked: int
    observed: int


class Named(NamedTuple):
    """A proposal, what it comes from as people are told, and which kind of target it serves."""

    proposal: Proposal
    metric: str
    target: Target


class Unavailable(Exception):
    """A metric that cannot be had. `cause` is what its event and its condition tell; the text itself says where."""

    def __init__(self, where: str, reason: str, cause: str) -> None:
        super().__init__(f"{where}{cause}")
        self.reason = reason
        self.cause = cause


INVALID_TYPE = "InvalidMetricSourceType"
_REASONS = {
    "Resource": "FailedGetResourceMetric",
    "ContainerResource": "FailedGetContainerResourceMetric",
    "Pods": "FailedGetPodsMetric",
    "Object": "FailedGetObjectMetric",
    "External": "FailedGetExternalMetric",
}


class Proposals:
    def __init__(self, metrics: MetricsClient, patience: Patience) -> None:
        self._metrics = metrics
        self._patience = patience

    async def of(self, metric: Obj, scaled: Scaled, tolerances: Tolerances, now_s: float) -> Named:
        """Unavailable."""
        kind, source = metric["type"], status.source(metric)
        ask = {
            "Resource": self._resource,
            "ContainerResource": self._resource,
            "Pods": self._pods,
            "Object": self._object,
            "External": self._external,
        }.get(kind)
        if ask is None:
            raise Unavailable("", INVALID_TYPE, f'unknown metric source type "{kind}"')
        try:
            return await ask(kind, source, scaled, tolerances, now_s)
        except CannotCompute as error:
            raise Unavailable(_where(kind, source), _REASONS[kind], str(error)) from None

    async def _resource(
        self, kind: str, source: Obj, scaled: Scaled, tolerances: Tolerances, now_s: float
    ) -> Named:
        name, container, target = source["name"], source.get("container", ""), source["target"]
        amount, share = target.get("averageValue"), target.get("averageUtilization")
        if amount is None and share is None:
            raise CannotCompute(
                "invalid resource metric source: neither an average utilization target nor an average value (usage) "
                "target was set"
            )
        try:
            samples = await self._resource_samples(name, scaled, container)
            if amount is not None:
                found = replicas.by_amount(
                    scaled.asked,
                    _milli(amount),
                    name,
                    scaled.pods,
                    samples,
                    tolerances,
                    self._patience,
                    now_s,
                )
                return Named(found, f"{name} resource", "AverageValue")
            found = replicas.by_utilization(
                scaled.asked,
                share,
                name,
                container,
                scaled.pods,
                samples,
                tolerances,
                self._patience,
                now_s,
            )
        except CannotCompute as error:
            what = "usage" if amount is not None else "utilization"
            raise CannotCompute(f"failed to get {name} {what}: {error}") from None
        within = "container resource" if kind == "ContainerResource" else "resource"
        return Named(found, f"{name} {within} utilization (percentage of request)", "Utilization")

    async def _resource_samples(self, name: str, scaled: Scaled, container: str) -> replicas.Samples:
        try:
            return await self._metrics.of_resource(name, scaled.namespace, scaled.selector, container)
        except CannotCompute as error:
            raise CannotCompute(f"unable to get metrics for resource {name}: {error}") from None

    async def _pods(
        self, kind: str, source: Obj, scaled: Scaled, tolerances: Tolerances, now_s: float
    ) -> Named:
        name = source["metric"]["name"]
        try:
            samples = await self._metrics.of_pods(name, scaled.namespace, scaled.selector, _selector(source))
        except CannotCompute as error:
            raise CannotCompute(f"unable to get metric {name}: {error}") from None
        target = _milli(source["target"]["averageValue"])
        found = replicas.by_amount(
            scaled.asked, target, "", scaled.pods, samples, tolerances, self._patience, now_s
        )
        return Named(found, f"pods metric {name}", "AverageValue")

    async def _object(
        self, kind: str, source: Obj, scaled: Scaled, tolerances: Tolerances, now_s: float
    ) -> Named:
        name, described, target = source["metric"]["name"], source["describedObject"], source["target"]
        value, average = target.get("value"), target.get("averageValue")
        whole = target["type"] == "Value" and value is not None
        if not whole and (target["type"] != "AverageValue" or average is None):
            raise CannotCompute(
                "invalid object metric source: neither a value target nor an average value target was set"
            )
        try:
            usage = await self._metrics.of_object(name, scaled.namespace, described, _selector(source))
        except CannotCompute as error:
            # In upstream's order, which is not that of its words.
            where = f"{described['kind']} on {scaled.namespace} {described['name']}"
            raise CannotCompute(f"unable to get metric {name}: {where}/{error}") from None
        if whole:
            found = replicas.by_ratio(scaled.asked, usage, _milli(value), scaled.pods, tolerances)
            return Named(found, f"{described['kind']} metric {name}", "Value")
        found = replicas.per_pod(scaled.observed, usage, _milli(average), tolerances)
        return Named(found, _external_name(source), "AverageValue")

    async def _external(
        self, kind: str, source: Obj, scaled: Scaled, tolerances: Tolerances, now_s: float
    ) -> Named:
        name, target = source["metric"]["name"], source["target"]
        value, average = target.get("value"), target.get("averageValue")
        if value is None and average is None:
            raise CannotCompute(
                "invalid external metric source: neither a value target nor an average value target was set"
            )
        try:
            values = await self._metrics.external(name, scaled.namespace, _selector(source))
        except CannotCompute as error:
            shown = go_selector(source["metric"].get("selector"))
            raise CannotCompute(
                f"unable to get external metric {scaled.namespace}/{name}/{shown}: {error}"
            ) from None
        usage = replicas.total(values)
        if average is not None:
            found = replicas.per_pod(scaled.observed, usage, _milli(average), tolerances)
            return Named(found, _external_name(source), "AverageValue")
        found = replicas.by_ratio(scaled.asked, usage, _milli(value), scaled.pods, tolerances)
        return Named(found, _external_name(source), "Value")


def _where(kind: str, source: Obj) -> str:
    """What stands before the cause when all metrics of an autoscaler are told about together."""
    name, target = (source.get("metric") or {}).get("name", ""), source.get("target") or {}
    per_pod = target.get("averageValue") is not None
    match kind:
        case "Resource":
            return f"failed to get {source['name']} resource metric value: "
        case "ContainerResource":
            return f"failed to get {source['container']} container metric value: "
        case "Pods":
            return "failed to get pods metric value: "
        case "Object":
            inner = f"failed to get {name} object metric: " if per_pod else ""
            return f"failed to get object metric value: {inner}"
        case _:
            inner = (
                f"failed to get {name} external metric: "
                if per_pod
                else f"failed to get external metric {name}: "
            )
            return f"failed to get {name} external metric value: {inner}"


def _external_name(source: Obj) -> str:
    return f"external metric {source['metric']['name']}({go_selector(source['metric'].get('selector'))})"


def _selector(source: Obj) -> labels.Selector:
    given = source["metric"].get("selector")
    if given is None:
        return labels.Selector(())
    return labels.from_label_selector(given)


def _milli(text: object) -> int:
    return quantity.parse(str(text)).milli
