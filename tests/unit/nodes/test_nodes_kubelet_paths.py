"""A kubelet's own paths, as metrics-server and curious people read them through the API server's node proxy."""

from __future__ import annotations

import json

from pilothouse.api.resources import PODS
from tests.unit.nodes.nodes_simulation import Simulate, Simulation, container

USES = {"pilothouse.dev/cpu-usage": "250m", "pilothouse.dev/memory-usage.b": "64Mi"}


def test_what_pods_use(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("a"), container("b"), annotations=USES)
        await on.passes(100)
        proxy = "/api/v1/nodes/node-0/proxy"
        summary = await on.client.raw("GET", f"{proxy}/stats/summary")
        (pod,) = summary["pods"]
        assert pod["podRef"]["name"] == "web"
        assert pod["cpu"]["usageNanoCores"] == 500_000_000
        assert pod["memory"]["workingSetBytes"] == (1 + 64) * 2**20
        metrics = await on.client.raw("GET", f"{proxy}/metrics/resource")
        line = next(
            line
            for line in metrics.splitlines()
            if line.startswith('pod_cpu_usage_seconds_total{namespace="default"')
        )
        assert 49 < float(line.split()[1]) < 51
        assert (await on.client.raw("GET", f"{proxy}/healthz")) == "ok"
        pods = await on.client.raw("GET", f"{proxy}/pods")
        assert [item["metadata"]["name"] for item in pods["items"]] == ["web"]
        assert json.dumps(pods)

    simulate(scenario)


def test_counters_never_go_back(simulate: Simulate) -> None:
    async def counted(on: Simulation, name: str) -> float:
        metrics = await on.client.raw("GET", "/api/v1/nodes/node-0/proxy/metrics/resource")
        line = next(line for line in metrics.splitlines() if line.startswith(name))
        return float(line.split()[1])

    async def scenario(on: Simulation) -> None:
        key = "kwok.x-k8s.io/usage-cpu"
        await on.run("web", container("a"), annotations={key: "1"})
        await on.passes(100)
        before = await counted(on, "container_cpu_usage_seconds_total")
        assert 99 < before < 101
        await on.client.patch(PODS, "web", {"metadata": {"annotations": {key: "100m"}}}, "default")
        await on.passes(100)
        after = await counted(on, "container_cpu_usage_seconds_total")
        assert 9 < after - before < 11
        node = await counted(on, "node_cpu_usage_seconds_total")
        await on.client.delete(PODS, "web", "default", {"gracePeriodSeconds": 0})
        await on.passes(100)
        assert await counted(on, "node_cpu_usage_seconds_total") >= node

    simulate(scenario)
