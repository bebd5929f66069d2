"""Nodes that start anew find their pods as they left them: a kubelet's restart ends no container."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pilothouse.api.resources import NODES, RESOURCE_SLICES
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.unit.nodes.nodes_simulation import Simulation, condition, container, named

Scenario = Callable[[Simulation], Awaitable[None]]


def one_after_the_other(directory: Path, *scenarios: Scenario, **options: Any) -> None:
    """Each with a cluster of its own on the same data and the same clock."""

    async def main() -> None:
        for number, scenario in enumerate(scenarios):
            settings = ClusterOptions(
                data_dir=directory, node_events="all", secure_port=None, **{"nodes": 1, **options}
            )
            async with Cluster(settings, simulated_world(number)) as cluster:
                await asyncio.sleep(5)
                await scenario(Simulation(cluster))

    run_virtual(main())


def test_pods_go_on_where_they_were(tmp_path: Path) -> None:
    before: dict[str, Any] = {}

    async def first(on: Simulation) -> None:
        await on.run("web")
        await on.run("job", container("c", "sleep", "60"), restartPolicy="Never")
        await on.run("crash", container("c", "false"))
        await on.run("gone", annotations={"pilothouse.dev/stop-seconds": "20"})
        await on.passes(25)
        before["web"] = await on.status("web")
        before["crash"] = await on.status("crash")
        assert before["crash"]["containerStatuses"][0]["restartCount"] == 2
        await on.delete("gone")
        await on.passes(2)

    async def second(on: Simulation) -> None:
        assert await on.status("web") == before["web"]
        assert (await on.status("job"))["phase"] == "Running"
        crash = named((await on.status("crash"))["containerStatuses"], "c")
        assert crash["restartCount"] == 3, "20 s after its second restart"
        assert crash["lastState"]["terminated"]["startedAt"] == "2026-01-01T00:00:35Z"
        assert not [e for e in await on.events("web") if e[1] == "Started"][1:], "it was not started again"
        await on.passes(35)
        status = await on.status("job")
        assert status["phase"] == "Succeeded"
        assert (
            named(status["containerStatuses"], "c")["state"]["terminated"]["finishedAt"]
            == "2026-01-01T00:01:05Z"
        )
        assert named((await on.status("crash"))["containerStatuses"], "c")["restartCount"] == 3
        await on.passes(10)
        assert named((await on.status("crash"))["containerStatuses"], "c")["restartCount"] == 4
        assert await on.is_gone("gone")
        await on.run("more")
        await on.passes(1)
        assert (await on.status("more"))["podIP"] != before["web"]["podIP"]

    one_after_the_other(tmp_path, first, second)


def test_places_stay_taken(tmp_path: Path) -> None:
    size = {"requests": {"cpu": "10"}}

    async def first(on: Simulation) -> None:
        await on.run("web", container("c", resources=size))
        await on.passes(1)

    async def second(on: Simulation) -> None:
        await on.run("next", container("c", resources=size))
        await on.passes(1)
        assert (await on.status("next"))["reason"] == "OutOfcpu"

    one_after_the_other(tmp_path, first, second)


def test_a_pod_of_stages_stays_one(tmp_path: Path) -> None:
    stage = tmp_path / "stage.yaml"
    stage.write_text(
        """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-ready}
spec:
  resourceRef: {kind: Pod}
  selector:
    matchExpressions: [{key: .status.podIP, operator: DoesNotExist}]
  next:
    statusTemplate: |
      phase: Running
      podIP: {{ PodIP }}
"""
    )
    before: dict[str, Any] = {}

    async def first(on: Simulation) -> None:
        await on.run("web")
        await on.passes(1)
        before.update(await on.status("web"))
        assert not condition(before, "Ready")

    async def second(on: Simulation) -> None:
        await on.passes(30)
        assert await on.status("web") == before

    one_after_the_other(tmp_path / "data", first, second, stages=(stage,))


def test_devices_that_were_taken_away_meanwhile_are_gone(tmp_path: Path) -> None:
    """Its annotation went while no simulated kubelet ran: its slices go at the next start."""

    async def annotate(on: Simulation, text: str | None) -> None:
        await on.client.patch(
            NODES, "node-0", {"metadata": {"annotations": {"pilothouse.dev/devices": text}}}
        )

    async def first(on: Simulation) -> None:
        await annotate(on, "gpu.example.com: {count: 1}")
        await on.passes(2)
        assert len((await on.client.list(RESOURCE_SLICES))["items"]) == 1

    async def unwatched(on: Simulation) -> None:
        await annotate(on, None)

    async def last(on: Simulation) -> None:
        await on.passes(5)
        assert (await on.client.list(RESOURCE_SLICES))["items"] == []

    one_after_the_other(tmp_path, first)
    one_after_the_other(tmp_path, unwatched, nodes=0)
    one_after_the_other(tmp_path, last)


def test_adopted_nodes_keep_their_places(tmp_path: Path) -> None:
    fake = {"kwok.x-k8s.io/node": "fake"}
    before: dict[str, Any] = {}

    async def first(on: Simulation) -> None:
        for name in ("zebra", "ant"):
            await on.create(NODES, {"metadata": {"name": name, "annotations": fake}})
            await on.passes(3)
            await on.run(f"on-{name}", nodeName=name)
            await on.passes(1)
            before[name] = (await on.status(f"on-{name}"))["podIP"]

    async def second(on: Simulation) -> None:
        await on.passes(15)
        for name in ("zebra", "ant"):
            await on.run(f"more-{name}", nodeName=name)
            await on.passes(1)
            address = (await on.status(f"more-{name}"))["podIP"]
            assert address != before[name]
            assert address.rpartition(".")[0] == before[name].rpartition(".")[0]

    one_after_the_other(tmp_path, first, second)
