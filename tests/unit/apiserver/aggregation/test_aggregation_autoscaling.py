"""A horizontal pod autoscaler on metrics that an adapter behind the aggregator serves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pilothouse.api.resources import CONFIG_MAPS, DEPLOYMENTS, PODS, Resource
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.controllers.horizontal_pod_autoscaler import Autoscaling
from tests.extension_server import ExtensionServer, api_service, external_service
from tests.unit.apiserver.aggregation.test_aggregation import API_SERVICES, SERVICES, eventually

AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
METRICS = (("custom.metrics.k8s.io", "v1beta2"), ("external.metrics.k8s.io", "v1beta1"))


async def deploy(client: ResourceClient, name: str, metric: dict[str, Any]) -> None:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    head = {"metadata": {"name": name}}
    await client.create(
        DEPLOYMENTS, {"apiVersion": "apps/v1", "kind": "Deployment", **head, "spec": spec}, "default"
    )
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    wanted = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5, "metrics": [metric]}
    await client.create(
        AUTOSCALERS,
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", **head, "spec": wanted},
        "default",
    )


async def test_autoscalers_scale_on_what_an_adapter_says(tmp_path: Path) -> None:
    quick = Autoscaling(sync_s=0.5)
    async with Cluster(ClusterOptions(secure_port=None, nodes=2, autoscaling=quick)) as cluster:
        client = cluster.client()
        known = (await client.get(CONFIG_MAPS, "extension-apiserver-authentication", "kube-system"))["data"]
        async with ExtensionServer(tmp_path, ["adapter.default.svc"], known) as adapter:
            await client.raw("POST", SERVICES, external_service("adapter", "127.0.0.1"))
            for group, version in METRICS:
                await client.raw("POST", API_SERVICES, api_service(adapter, "adapter", group, version))
            target = {"type": "AverageValue", "averageValue": "10"}
            await deploy(
                client, "web", {"type": "Pods", "pods": {"metric": {"name": "requests"}, "target": target}}
            )
            await deploy(
                client,
                "worker",
                {"type": "External", "external": {"metric": {"name": "depth"}, "target": target}},
            )

            async def first_pod() -> bool:
                found = await client.list(PODS, "default", labelSelector="app=web")
                items = [p for p in found["items"] if p["status"].get("phase") == "Running"]
                if items:
                    adapter.pod = items[0]["metadata"]["name"]
                return bool(items)

            await eventually(first_pod)
            adapter.pod_metric, adapter.external_metric = "30", "40"

            async def scaled() -> bool:
                replicas = {}
                for name in ("web", "worker"):
                    replicas[name] = (await client.get(DEPLOYMENTS, name, "default"))["spec"]["replicas"]
                return replicas["web"] > 1 and replicas["worker"] == 4

            await eventually(scaled, 30)
            path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/%2A/requests"
            asked = [
                told
                for _, p, told in adapter.requests
                if p.partition("?")[0] in (path, path.replace("%2A", "*"))
            ]
            assert asked[0]["x-remote-user"] == [
                "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
            ]
            await asyncio.sleep(0)
