"""metrics.k8s.io of a cluster with simulated nodes, in virtual time: when it is served, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CLUSTER_ROLES, NODES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request, Response, UserInfo
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

API_SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
NODE_METRICS = Resource("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", False)
OURS = "v1beta1.metrics.k8s.io"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
USES = {"kwok.x-k8s.io/usage-cpu": "250m", "kwok.x-k8s.io/usage-memory": "64Mi"}

Scenario = Callable[[Cluster, ResourceClient], Awaitable[None]]


def simulate(scenario: Scenario, **options: Any) -> None:
    async def run() -> None:
        async with Cluster(ClusterOptions(secure_port=None, **options), simulated_world(7)) as cluster:
            await asyncio.sleep(5)
            await scenario(cluster, cluster.client())

    run_virtual(run())


async def pod(client: ResourceClient, name: str, annotations: Obj | None = None, *containers: str) -> None:
    spec: Obj = {"containers": [{"name": c, "image": "i"} for c in containers or ("c",)]}
    meta: Obj = {"name": name, "labels": {"app": name}, "annotations": annotations or {}}
    await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}, "default")
    await asyncio.sleep(2)


async def groups(client: ResourceClient) -> list[str]:
    return [g["name"] for g in (await client.raw("GET", "/apis"))["groups"]]


async def table(cluster: Cluster, path: str) -> Obj:
    request = Request("GET", path, {}, {"accept": TABLE}, None, UserInfo("u", "", ("system:masters",)))
    response: Response = await cluster.api.handle(request)
    import msgspec

    assert isinstance(response.body, bytes)
    found: Obj = msgspec.json.decode(response.body)
    return found


def test_it_comes_with_the_first_pod_that_says_what_it_uses() -> None:
    async def scenario(cluster: Cluster, client: ResourceClient) -> None:
        await pod(client, "quiet")
        assert "metrics.k8s.io" not in await groups(client)
        with pytest.raises(ApiError) as error:
            await client.list(POD_METRICS)
        assert error.value.code == 404
        await pod(client, "web", USES)
        assert "metrics.k8s.io" in await groups(client)
        service = await client.get(API_SERVICES, OURS)
        (available,) = service["status"]["conditions"]
        assert (available["type"], available["status"], available["reason"]) == ("Available", "True", "Local")
        view = await client.get(CLUSTER_ROLES, "view")
        assert {
            "verbs": ["get", "list", "watch"],
            "apiGroups": ["metrics.k8s.io"],
            "resources": ["pods", "nodes"],
        } in (view["rules"])
        listed = await client.raw("GET", "/apis/metrics.k8s.io/v1beta1")
        assert [(r["name"], r["kind"], r["namespaced"], r["verbs"]) for r in listed["resources"]] == [
            ("nodes", "NodeMetrics", False, ["get", "list"]),
            ("pods", "PodMetrics", True, ["get", "list"]),
        ]
        schemas = (await client.raw("GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1"))["components"][
            "schemas"
        ]
        assert {"timestamp", "window", "containers"} <= set(
            schemas["io.k8s.metrics.v1beta1.PodMetrics"]["properties"]
        )

    simulate(scenario)


def test_it_may_be_there_from_the_start_or_never() -> None:
    async def on(cluster: Cluster, client: ResourceClient) -> None:
        assert {n["metadata"]["name"] for n in (await client.list(NODE_METRICS))["items"]} == {
            "node-0",
            "node-1",
            "node-2",
        }

    async def off(cluster: Cluster, client: ResourceClient) -> None:
        await pod(client, "web", USES)
        assert "metrics.k8s.io" not in await groups(client)

    simulate(on, metrics_api="true")
    simulate(off, metrics_api="false")


def test_pods_and_nodes() -> None:
    async def scenario(cluster: Cluster, client: ResourceClient) -> None:
        await pod(client, "web", {**USES, "pilothouse.dev/cpu-usage.b": "1"}, "a", "b")
        await pod(client, "db")
        await client.create(
            PODS,
            {
                "metadata": {"name": "pending"},
                "spec": {"nodeSelector": {"no": "where"}, "containers": [{"name": "c", "image": "i"}]},
            },
            "default",
        )
        now = cluster.world.timestamp()
        web = await client.get(POD_METRICS, "web", "default")
        assert web == {
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {
                "name": "web",
                "namespace": "default",
                "creationTimestamp": now,
                "labels": {"app": "web"},
            },
            "timestamp": now,
            "window": "15s",
            "containers": [
                {"name": "a", "usage": {"cpu": "250m", "memory": "64Mi"}},
                {"name": "b", "usage": {"cpu": "1", "memory": "64Mi"}},
            ],
        }
        listed = await client.list(POD_METRICS, "default")
        assert (listed["kind"], listed["metadata"]) == ("PodMetricsList", {})
        assert [p["metadata"]["name"] for p in listed["items"]] == ["db", "web"]
        assert "kind" not in listed["items"][0]
        for params in ({"labelSelector": "app=web"}, {"fieldSelector": "metadata.name=web"}):
            found = await client.list(POD_METRICS, "", **params)
            assert [p["metadata"]["name"] for p in found["items"]] == ["web"]
        with pytest.raises(ApiError, match=r'"spec.nodeName" is not a known field selector: only'):
            await client.list(POD_METRICS, "", fieldSelector="spec.nodeName=x")
        with pytest.raises(ApiError, match='pods "absent" not found'):
            await client.get(POD_METRICS, "absent", "default")
        with pytest.raises(ApiError, match=r'podmetrics.metrics.k8s.io "default/pending" not found'):
            await client.get(POD_METRICS, "pending", "default")
        with pytest.raises(ApiError) as error:
            await client.delete(POD_METRICS, "web", "default")
        assert error.value.code == 405
        nodes = (await client.list(NODE_METRICS))["items"]
        assert (
            sum(n["usage"]["memory"] == "128Mi" for n in nodes)
            + sum(n["usage"]["memory"] == "129Mi" for n in nodes)
            == 1
        )
        one = await client.get(NODE_METRICS, "node-0")
        assert one["metadata"]["labels"]["kubernetes.io/hostname"] == "node-0"

    simulate(scenario)


def test_tables_are_metrics_servers() -> None:
    async def scenario(cluster: Cluster, client: ResourceClient) -> None:
        await pod(client, "web", USES, "a", "b")
        found = await table(cluster, "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
        assert [(c["name"], c["format"]) for c in found["columnDefinitions"]] == [
            ("Name", "name"),
            ("cpu", "quantity"),
            ("memory", "quantity"),
            ("Window", "duration"),
        ]
        assert [row["cells"] for row in found["rows"]] == [["web", "500m", "128Mi", "15s"]]
        assert (await table(cluster, "/apis/metrics.k8s.io/v1beta1/namespaces/none/pods"))["rows"] == []
        nodes = await table(cluster, "/apis/metrics.k8s.io/v1beta1/nodes")
        assert sorted(row["cells"][1] for row in nodes["rows"]) == ["0", "0", "500m"]

    simulate(scenario)


def test_a_node_whose_kubelet_is_silent_has_no_metrics() -> None:
    async def scenario(cluster: Cluster, client: ResourceClient) -> None:
        await client.patch(NODES, "node-1", {"metadata": {"annotations": {"pilothouse.dev/stopped": "true"}}})
        await asyncio.sleep(90)
        names = [n["metadata"]["name"] for n in (await client.list(NODE_METRICS))["items"]]
        assert names == ["node-0", "node-2"]

    simulate(scenario, metrics_api="true")


def test_somebody_elses_metrics_server_has_the_group() -> None:
    async def scenario(cluster: Cluster, client: ResourceClient) -> None:
        await client.list(NODE_METRICS)
        service = {"spec": {"service": {"name": "metrics-server", "namespace": "kube-system"}}}
        await client.patch(API_SERVICES, OURS, {**service, "metadata": {}})
        await asyncio.sleep(1)
        with pytest.raises(ApiError) as error:
            await client.list(NODE_METRICS)
        assert error.value.code in (404, 503)
        await client.patch(API_SERVICES, OURS, {"spec": {"service": None}})
        await asyncio.sleep(1)
        assert len((await client.list(NODE_METRICS))["items"]) == 3

    simulate(scenario, metrics_api="true")


def test_those_who_may_view_may_see_it() -> None:
    async def scenario(cluster: Cluster, client: ResourceClient) -> None:
        binding = {
            "metadata": {"name": "v"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}],
        }
        bindings = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
        await client.create(bindings, binding, "default")
        await asyncio.sleep(1)
        eve = cluster.client("eve", ())
        await eve.list(POD_METRICS, "default")
        with pytest.raises(ApiError) as error:
            await eve.list(POD_METRICS, "kube-system")
        assert error.value.code == 403

    simulate(scenario, metrics_api="true")
