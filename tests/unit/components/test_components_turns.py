"""Of several processes one does a component's work, in virtual time."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Counter, generate_latest

from pilothouse.api.errors import ApiError
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.turns import LatestMetrics, Turns
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world


class Worker:
    """Counts its turns, and works while it has one."""

    def __init__(self) -> None:
        self.turns = 0
        self.working = False

    async def run(self) -> None:
        self.turns += 1
        self.working = True
        try:
            await asyncio.Event().wait()
        finally:
            self.working = False


class Line:
    """A client's line to the server, which may be down."""

    def __init__(self, client: ResourceClient) -> None:
        self._client = client
        self.down = False

    def __getattr__(self, name: str) -> object:
        if self.down:
            raise ApiError(503, "ServiceUnavailable", "etcd is away")
        return getattr(self._client, name)


def test_a_worker_that_loses_its_lease_stops_and_gets_another_turn() -> None:
    async def scenario() -> None:
        world = simulated_world(1)
        cluster = Cluster(ClusterOptions(secure_port=None, nodes=0), world)
        await cluster.start_server()
        lines = [Line(cluster.client()) for _ in range(2)]
        workers = [Worker() for _ in range(2)]
        tasks = [
            asyncio.ensure_future(Turns(line, world, "kube-scheduler").run(worker.run))  # type: ignore[arg-type]
            for line, worker in zip(lines, workers, strict=True)
        ]
        await asyncio.sleep(10)
        assert sum(worker.working for worker in workers) == 1
        leader = 0 if workers[0].working else 1
        lines[leader].down = True
        await asyncio.sleep(12)
        assert not workers[leader].working, "it cannot know whether it leads still"
        await asyncio.sleep(30)
        assert workers[1 - leader].working
        lines[leader].down = False
        await asyncio.sleep(30)
        assert [w.working for w in workers].count(True) == 1
        lines[1 - leader].down = True
        await asyncio.sleep(60)
        assert workers[leader].working
        assert workers[leader].turns == 2
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not any(worker.working for worker in workers)
        await cluster.stop()

    run_virtual(scenario())


def test_figures_of_each_turn_begin_anew() -> None:
    registry, latest = CollectorRegistry(), LatestMetrics()
    registry.register(latest)
    for _ in range(2):
        Counter("turns", "One.", registry=latest.renew()).inc()
        assert b"turns_total 1.0" in generate_latest(registry)
