"""The horizontal pod autoscaler in a whole cluster in virtual time: usage is what annotations of the pods say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from pilothouse.api.catalog import Served
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, EVENTS, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.server import Options
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.controllers.horizontal_pod_autoscaler import AUTOSCALERS, Autoscaling
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.unit.controllers.conftest import Lab

CPU = "kwok.x-k8s.io/usage-cpu"


class Scaling(Lab):
    """A lab with words for load and autoscalers."""

    def __init__(self, cluster: Cluster, world: Any) -> None:
        super().__init__(cluster, world)
        self.cluster = cluster

    async def deploy(self, name: str, replicas: int = 1, use: str = "100m", request: str = "100m") -> None:
        container: Obj = {"name": "c", "image": "i", "resources": {"requests": {"cpu": request}}}
        template = {
            "metadata": {"labels": {"app": name}, "annotations": {CPU: use}},
            "spec": {"containers": [container]},
        }
        selector = {"matchLabels": {"app": name}}
        spec = {"replicas": replicas, "selector": selector, "template": template}
        await self.create(DEPLOYMENTS, {"metadata": {"name": name}, "spec": spec})

    async def load(self, name: str, use: str) -> None:
        """What every pod of a deployment uses from now on."""
        for pod in await self.pods(f"app={name}"):
            await self.patch(PODS, pod["metadata"]["name"], {"metadata": {"annotations": {CPU: use}}})

    async def autoscale(self, name: str, **spec: Any) -> None:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": spec.pop("target", name)}
        full = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 10, **spec}
        await self.create(AUTOSCALERS, {"metadata": {"name": name}, "spec": full})

    async def replicas(self, name: str) -> int:
        found: int = (await self.get(DEPLOYMENTS, name))["spec"]["replicas"]
        return found

    async def events(self, name: str) -> list[tuple[str, str, str, str]]:
        """Of the autoscaler alone: (type, reason, message, component), sorted."""
        return sorted(
            (e["type"], e["reason"], e["message"], e["reportingComponent"])
            for e in await self.list(EVENTS)
            if (e["involvedObject"]["kind"], e["involvedObject"]["name"]) == (AUTOSCALERS.kind, name)
        )

    async def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        hpa = await self.get(AUTOSCALERS, name)
        return {c["type"]: (c["status"], c["reason"]) for c in hpa["status"].get("conditions") or ()}


Scenario = Callable[[Scaling], Awaitable[None]]


def simulate(scenario: Scenario, **options: Any) -> None:
    async def run() -> None:
        world = simulated_world(7)
        async with Cluster(ClusterOptions(secure_port=None, **options), world) as cluster:
            await asyncio.sleep(5)
            await scenario(Scaling(cluster, world))

    run_virtual(run())


def cpu(share: int = 50) -> Obj:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": share}},
    }


def test_it_grows_with_the_load_and_shrinks_five_minutes_after() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", use="50m")
        await on.wait(60)
        await on.autoscale("web", metrics=[cpu()])
        await on.wait(16)
        assert await on.replicas("web") == 1
        assert (await on.conditions("web")) == {
            "AbleToScale": ("True", "ReadyForNewScale"),
            "ScalingActive": ("True", "ValidMetricFound"),
            "ScalingLimited": ("False", "DesiredWithinRange"),
        }
        hpa = await on.get(AUTOSCALERS, "web")
        assert hpa["status"]["currentMetrics"] == [
            {
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageValue": "50m", "averageUtilization": 50}},
            }
        ]
        await on.load("web", "120m")
        await on.wait(16)
        assert await on.replicas("web") == 3
        assert ("Normal", "SuccessfulRescale") in {e[:2] for e in await on.events("web")}
        messages = {e[2] for e in await on.events("web")}
        assert (
            "New size: 3; reason: cpu resource utilization (percentage of request) above target" in messages
        )
        await on.load("web", "50m")
        await on.wait(60)
        await on.load("web", "10m")
        await on.wait(120)
        assert await on.replicas("web") == 3
        assert (await on.conditions("web"))["AbleToScale"] == ("True", "ScaleDownStabilized")
        await on.wait(240)
        assert await on.replicas("web") == 1
        assert "New size: 1; reason: All metrics below target" in {e[2] for e in await on.events("web")}
        status = (await on.get(AUTOSCALERS, "web"))["status"]
        assert (status["currentReplicas"], status["desiredReplicas"]) == (1, 1)
        assert "observedGeneration" not in status

    simulate(scenario)


def test_without_metrics_it_says_what_upstream_does() -> None:
    missing = "the server could not find the requested resource (get pods.metrics.k8s.io)"
    unable = (
        f"failed to get cpu utilization: unable to get metrics for resource cpu: "
        f"unable to fetch metrics from resource metrics API: {missing}"
    )

    async def scenario(on: Scaling) -> None:
        await on.deploy("web")
        await on.autoscale("web")
        await on.wait(14)
        assert (await on.get(AUTOSCALERS, "web"))["status"] == {"desiredReplicas": 0, "currentMetrics": None}
        await on.wait(2)
        status = (await on.get(AUTOSCALERS, "web"))["status"]
        assert status["currentMetrics"] == [{"type": ""}]
        assert (status["currentReplicas"], status["desiredReplicas"]) == (1, 0)
        able, active = status["conditions"]
        assert (able["type"], able["reason"]) == ("AbleToScale", "SucceededGetScale")
        assert (active["status"], active["reason"]) == ("False", "FailedGetResourceMetric")
        assert active["message"] == f"the HPA was unable to compute the replica count: {unable}"
        invalid = "invalid metrics (1 invalid out of 1), first error is"
        assert await on.events("web") == [
            (
                "Warning",
                "FailedComputeMetricsReplicas",
                f"{invalid}: failed to get cpu resource metric value: {unable}",
                "horizontal-pod-autoscaler",
            ),
            ("Warning", "FailedGetResourceMetric", unable, "horizontal-pod-autoscaler"),
        ]

    simulate(scenario, metrics_api="false")


def test_a_target_that_is_not_there() -> None:
    async def scenario(on: Scaling) -> None:
        await on.autoscale("web")
        await on.autoscale("odd", scaleTargetRef={"apiVersion": "apps/v1", "kind": "Thing", "name": "x"})
        await on.wait(16)
        status = (await on.get(AUTOSCALERS, "web"))["status"]
        (able,) = status["conditions"]
        assert (able["status"], able["reason"]) == ("False", "FailedGetScale")
        text = 'deployments.apps "web" not found'
        assert able["message"] == f"the HPA controller was unable to get the target's current scale: {text}"
        assert (await on.events("web"))[0][1:3] == ("FailedGetScale", text)
        assert (await on.events("odd"))[0][2] == 'no matches for kind "Thing" in group "apps"'

    simulate(scenario)


def test_replicas_outside_of_the_bounds_come_back_whatever_the_metrics() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("low")
        await on.deploy("high", 5)
        await on.deploy("off", 0)
        await on.autoscale("low", minReplicas=3)
        await on.autoscale("high", maxReplicas=2)
        await on.autoscale("off")
        await on.wait(16)
        assert [await on.replicas(n) for n in ("low", "high", "off")] == [3, 2, 0]
        assert (await on.events("low"))[0][2] == (
            "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
        )
        assert (await on.events("high"))[0][2] == (
            "New size: 2; reason: Current number of replicas above Spec.MaxReplicas"
        )
        assert await on.conditions("low") == {"AbleToScale": ("True", "SucceededRescale")}
        assert (await on.conditions("off"))["ScalingActive"] == ("False", "ScalingDisabled")

    simulate(scenario)


def test_two_autoscalers_of_the_same_pods_do_nothing() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", use="300m")
        await on.wait(60)
        await on.autoscale("one", target="web", metrics=[cpu()])
        await on.autoscale("two", target="web", metrics=[cpu()])
        await on.wait(46)
        # The first of them was alone when it looked first, and may have scaled.
        for name in ("one", "two"):
            conditions = await on.conditions(name)
            assert conditions["AbleToScale"] == ("True", "SucceededGetScale")
            assert conditions["ScalingActive"] == ("False", "AmbiguousSelector")
        told = "pods by selector app=web are controlled by multiple HPAs: [{one default} {two default}]"
        assert ("Warning", "AmbiguousSelector", told) in {e[:3] for e in await on.events("two")}
        await on.delete(AUTOSCALERS, "one")
        await on.wait(31)
        assert (await on.conditions("two"))["ScalingActive"] == ("True", "ValidMetricFound")

    simulate(scenario)


def test_a_young_pods_cpu_counts_only_when_it_was_measured_while_ready() -> None:
    async def scenario(on: Scaling) -> None:
        await on.autoscale("web", metrics=[cpu()])
        await on.wait(8)
        await on.deploy("web", use="300m")
        await on.wait(8)
        active = (await on.get(AUTOSCALERS, "web"))["status"]["conditions"][1]
        assert (active["type"], active["status"]) == ("ScalingActive", "False")
        assert "did not receive metrics for targeted pods (pods might be unready)" in active["message"]
        await on.wait(15)
        assert await on.replicas("web") == 4
        # The three new ones are not believed yet, and count as idle meanwhile.
        status = (await on.get(AUTOSCALERS, "web"))["status"]
        assert status["currentMetrics"][0]["resource"]["current"]["averageUtilization"] == 300

    simulate(scenario)


def test_behaviour_limits_how_fast_it_goes() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", use="1")
        await on.wait(60)
        up = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
        await on.autoscale(
            "web", metrics=[cpu()], behavior={"scaleUp": up, "scaleDown": {"selectPolicy": "Disabled"}}
        )
        await on.wait(16)
        assert await on.replicas("web") == 2
        assert (await on.conditions("web"))["ScalingLimited"] == ("True", "ScaleUpLimit")
        await on.wait(30)
        assert await on.replicas("web") == 2
        await on.wait(45)
        assert await on.replicas("web") == 3
        await on.load("web", "1m")
        await on.wait(600)
        assert await on.replicas("web") == 3

    simulate(scenario)


def test_a_tolerance_of_its_own() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("tight", use="52m")
        await on.deploy("loose", use="90m")
        await on.wait(60)
        for name, tolerance in (("tight", "0.01"), ("loose", "1")):
            await on.autoscale(name, metrics=[cpu()], behavior={"scaleUp": {"tolerance": tolerance}})
        await on.wait(16)
        assert [await on.replicas(n) for n in ("tight", "loose")] == [2, 1]

    simulate(scenario)


def test_one_container_alone() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", use="120m")
        await on.wait(60)
        target = {"type": "Utilization", "averageUtilization": 60}
        metric = {"name": "cpu", "container": "c", "target": target}
        await on.autoscale("web", metrics=[{"type": "ContainerResource", "containerResource": metric}])
        absent = {"name": "cpu", "container": "x", "target": target}
        await on.wait(16)
        assert await on.replicas("web") == 2
        status = (await on.get(AUTOSCALERS, "web"))["status"]
        assert status["currentMetrics"][0]["containerResource"]["container"] == "c"
        patch = {"spec": {"metrics": [{"type": "ContainerResource", "containerResource": absent}]}}
        await on.patch(AUTOSCALERS, "web", patch)
        await on.wait(16)
        active = (await on.get(AUTOSCALERS, "web"))["status"]["conditions"][1]
        assert active["reason"] == "FailedGetContainerResourceMetric"
        assert "container x not present in metrics for pod default/web-" in active["message"]

    simulate(scenario)


def test_apis_that_nobody_serves() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web")
        pods = {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "1"}}
        external = {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "3"}}
        described = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "i"}
        of_object = {"metric": {"name": "rate"}, "describedObject": described, "target": external["target"]}
        await on.autoscale(
            "web",
            metrics=[
                {"type": "Pods", "pods": pods},
                {"type": "External", "external": external},
                {"type": "Object", "object": of_object},
            ],
        )
        await on.wait(16)
        none = (
            "unable to fetch metrics from custom metrics API: "
            "no custom metrics API (custom.metrics.k8s.io) registered"
        )
        told = {e[1]: e[2] for e in await on.events("web")}
        assert told["FailedGetPodsMetric"] == f"unable to get metric hits: {none}"
        assert told["FailedGetObjectMetric"] == f"unable to get metric rate: Ingress on default i/{none}"
        assert told["FailedGetExternalMetric"] == (
            "unable to get external metric default/queue/nil: unable to fetch metrics from external metrics API: "
            "the server could not find the requested resource (get queue.external.metrics.k8s.io)"
        )
        assert told["FailedComputeMetricsReplicas"].startswith(
            "invalid metrics (3 invalid out of 3), first error is: failed to get pods metric value: unable to get"
        )

    simulate(scenario)


def test_its_metrics() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", use="120m")
        await on.wait(60)
        await on.autoscale("web", metrics=[cpu()])
        await on.wait(16)
        value = on.cluster.metrics.get_sample_value
        prefix = "horizontal_pod_autoscaler_controller"
        of = {"action": "scale_up", "error": "none"}
        assert value(f"{prefix}_reconciliations_total", of) == 1
        assert value(f"{prefix}_metric_computation_total", {**of, "metric_type": "Resource"}) == 1
        assert value(f"{prefix}_num_horizontal_pod_autoscalers") == 1
        assert value(f"{prefix}_desired_replicas", {"namespace": "default", "hpa_name": "web"}) == 3
        await on.delete(AUTOSCALERS, "web")
        await on.wait(1)
        assert value(f"{prefix}_desired_replicas", {"namespace": "default", "hpa_name": "web"}) is None

    simulate(scenario)


class Adapter:
    """A metrics adapter in the server: what it answers, by API group, and what it was asked."""

    def __init__(self, cluster: Cluster, **values: str) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.values = values
        for group, version, plural in (
            ("custom.metrics.k8s.io", "v1beta2", "pods"),
            ("custom.metrics.k8s.io", "v1beta2", "services"),
            ("custom.metrics.k8s.io", "v1beta2", "metrics"),
            ("external.metrics.k8s.io", "v1beta1", "queue"),
        ):
            resource = Resource(group, version, plural, "Value")
            cluster.api.router.add_computed(resource, self.answer)
            cluster.api.discovery.add(Served(resource, "", ("get", "list")))
        self._cluster = cluster

    async def answer(self, request: Request) -> Response:
        self.asked.append((request.path, dict(request.query)))
        if request.info.group.startswith("external"):
            items = [{"metricName": "queue", "value": v} for v in self.values["queue"].split()]
        elif request.info.name == "*":
            pods = await self._cluster.client().list(PODS, "default")
            items = [
                {
                    "describedObject": {"kind": "Pod", "name": pod["metadata"]["name"]},
                    "metric": {"name": "hits"},
                    "timestamp": self._cluster.world.timestamp(),
                    "value": self.values["hits"],
                }
                for pod in pods["items"]
            ]
        else:
            items = [{"value": self.values["rate"]}]
        body = msgspec.json.encode({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})
        return Response(200, body, {"Content-Type": "application/json"})


def test_metrics_of_pods_objects_and_the_world_outside() -> None:
    async def scenario(on: Scaling) -> None:
        adapter = Adapter(on.cluster, hits="30", rate="500m", queue="2 4")
        for name in ("pods", "object", "each", "outside"):
            await on.deploy(name)
        await on.wait(60)
        selector = {"matchLabels": {"verb": "GET"}}
        value, average = {"type": "Value", "value": "3"}, {"type": "AverageValue", "averageValue": "100m"}
        service = {"apiVersion": "v1", "kind": "Service", "name": "s"}
        per_pod = {
            "metric": {"name": "hits", "selector": selector},
            "target": {**average, "averageValue": "10"},
        }
        rate = {"metric": {"name": "rate"}, "describedObject": service}
        space = {"metric": {"name": "rate"}, "describedObject": {**service, "kind": "Namespace"}}
        queue = {"metric": {"name": "queue", "selector": selector}, "target": value}
        await on.autoscale("pods", metrics=[{"type": "Pods", "pods": per_pod}])
        of = {"type": "Object"}
        await on.autoscale(
            "object", metrics=[{**of, "object": {**space, "target": {"type": "Value", "value": "200m"}}}]
        )
        await on.autoscale("each", metrics=[{**of, "object": {**rate, "target": average}}])
        await on.autoscale("outside", metrics=[{"type": "External", "external": queue}])
        await on.wait(16)
        assert [await on.replicas(n) for n in ("pods", "object", "each", "outside")] == [3, 3, 4, 2]
        reasons = [
            (await on.events(n))[-1][2].partition("reason: ")[2] for n in ("pods", "object", "outside")
        ]
        shown = (
            "&LabelSelector{MatchLabels:map[string]string{verb: GET,},"
            "MatchExpressions:[]LabelSelectorRequirement{},}"
        )
        assert reasons == [
            "pods metric hits above target",
            "Namespace metric rate above target",
            f"external metric queue({shown}) above target",
        ]
        current = [
            (await on.get(AUTOSCALERS, n))["status"]["currentMetrics"][0] for n in ("pods", "each", "outside")
        ]
        assert current[0]["pods"] == {"metric": per_pod["metric"], "current": {"averageValue": "30"}}
        assert current[1]["object"]["current"] == {"averageValue": "500m"}
        assert current[2]["external"] == {"metric": queue["metric"], "current": {"value": "6"}}
        custom = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
        external = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
        assert sorted(adapter.asked[:4]) == [
            (f"{custom}/metrics/rate", {}),
            (f"{custom}/pods/*/hits", {"labelSelector": ["app=pods"], "metricLabelSelector": ["verb=GET"]}),
            (f"{custom}/services/s/rate", {}),
            (f"{external}/queue", {"labelSelector": ["verb=GET"]}),
        ]

    simulate(scenario)


def test_down_to_zero_and_back_where_the_gate_is_on() -> None:
    async def scenario(on: Scaling) -> None:
        adapter = Adapter(on.cluster, queue="0")
        await on.deploy("web")
        await on.wait(60)
        queue = {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "2"}}
        await on.autoscale("web", minReplicas=0, metrics=[{"type": "External", "external": queue}])
        await on.wait(16)
        assert await on.replicas("web") == 1
        await on.wait(330)
        assert await on.replicas("web") == 0
        assert (await on.conditions("web"))["ScaledToZero"] == ("True", "ScaledToZero")
        await on.wait(60)
        assert await on.replicas("web") == 0
        adapter.values["queue"] = "5"
        await on.wait(16)
        assert await on.replicas("web") == 3
        assert (await on.conditions("web"))["ScaledToZero"] == ("False", "NotScaledToZero")

    server = Options(features=frozenset(("HPAScaleToZero",)))
    simulate(scenario, server=server, autoscaling=Autoscaling(to_zero=True))


def test_without_the_gate_nobody_may_ask_for_zero() -> None:
    async def scenario(on: Scaling) -> None:
        queue = {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "2"}}
        with pytest.raises(
            ApiError, match=r"spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"
        ):
            await on.autoscale("web", minReplicas=0, metrics=[{"type": "External", "external": queue}])

    simulate(scenario)


def test_one_metric_that_cannot_be_had_keeps_it_from_shrinking_but_not_from_growing() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", 2, use="10m")
        await on.wait(60)
        queue = {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "2"}}
        await on.autoscale("web", metrics=[cpu(), {"type": "External", "external": queue}])
        await on.wait(400)
        assert await on.replicas("web") == 2
        assert (await on.conditions("web"))["ScalingActive"] == ("False", "FailedGetExternalMetric")
        status = (await on.get(AUTOSCALERS, "web"))["status"]
        assert [m["type"] for m in status["currentMetrics"]] == ["Resource", ""]
        await on.load("web", "100m")
        await on.wait(16)
        assert await on.replicas("web") == 4
        assert (await on.conditions("web"))["ScalingActive"] == ("True", "ValidMetricFound")

    simulate(scenario)


def test_version_1_shows_the_same_in_annotations() -> None:
    async def scenario(on: Scaling) -> None:
        await on.deploy("web", use="50m")
        await on.wait(60)
        await on.autoscale("web", metrics=[cpu()])
        await on.wait(16)
        v1 = Resource("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        found = await on.get(v1, "web")
        assert found["spec"]["targetCPUUtilizationPercentage"] == 50
        assert found["status"]["currentCPUUtilizationPercentage"] == 50
        conditions = json.loads(
            found["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/conditions"]
        )
        assert [c["type"] for c in conditions] == ["AbleToScale", "ScalingActive", "ScalingLimited"]

    simulate(scenario)


def test_a_custom_resource_with_a_scale() -> None:
    async def scenario(on: Scaling) -> None:
        definition = {
            "metadata": {"name": "flocks.example.com"},
            "spec": {
                "group": "example.com",
                "names": {"plural": "flocks", "kind": "Flock"},
                "scope": "Namespaced",
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                        "subresources": {
                            "status": {},
                            "scale": {
                                "specReplicasPath": ".spec.replicas",
                                "statusReplicasPath": ".status.replicas",
                                "labelSelectorPath": ".status.selector",
                            },
                        },
                    }
                ],
            },
        }
        await on.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
        await on.wait(1)
        flocks = Resource("example.com", "v1", "flocks", "Flock")
        await on.create(flocks, {"metadata": {"name": "birds"}, "spec": {"replicas": 1}})
        await on.deploy("birds", use="90m")
        await on.wait(60)
        target = {"apiVersion": "example.com/v1", "kind": "Flock", "name": "birds"}
        await on.autoscale("birds", scaleTargetRef=target, metrics=[cpu()])
        await on.wait(16)
        assert (await on.conditions("birds"))["ScalingActive"] == ("False", "InvalidSelector")
        assert ("Warning", "SelectorRequired", "selector is required") in {
            e[:3] for e in await on.events("birds")
        }
        status = {"status": {"replicas": 1, "selector": "app=birds"}}
        await on.patch(flocks, "birds", status, subresource="status")
        await on.wait(15)
        assert (await on.get(flocks, "birds"))["spec"]["replicas"] == 2

    simulate(scenario)
