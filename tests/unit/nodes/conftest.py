"""A whole cluster in virtual time for tests of the simulated nodes: `simulate(scenario)`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS, LEASES, NODES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

Event = tuple[str, str, str]


class Simulation:
    """What a user does and sees. Pods are bound to node-0 unless their spec says otherwise."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.client = cluster.client()

    async def passes(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now_s(self) -> float:
        return self.cluster.world.now()

    async def run(
        self, name: str, *containers: Obj, annotations: dict[str, str] | None = None, **spec: Any
    ) -> Obj:
        """A pod, one container named c when none is given."""
        meta: Obj = {"name": name, "annotations": annotations or {}}
        whole = {"nodeName": "node-0", **spec, "containers": list(containers) or [container()]}
        return await self.create(PODS, {"metadata": meta, "spec": whole}, "default")

    async def create(self, resource: Resource, obj: Obj, namespace: str = "") -> Obj:
        return await self.client.create(resource, obj, namespace)

    async def pod(self, name: str) -> Obj:
        return await self.client.get(PODS, name, "default")

    async def status(self, name: str) -> Obj:
        return dict((await self.pod(name))["status"])

    async def is_gone(self, name: str) -> bool:
        try:
            await self.pod(name)
        except ApiError as error:
            return error.code == 404
        return False

    async def patch(self, name: str, body: Obj, *, subresource: str = "") -> Obj:
        return await self.client.patch(
            PODS, name, body, "default", patch_type="strategic", subresource=subresource
        )

    async def delete(self, name: str, grace_s: int | None = None) -> None:
        options = None if grace_s is None else {"gracePeriodSeconds": grace_s}
        await self.client.delete(PODS, name, "default", options)

    async def node(self, name: str = "node-0") -> Obj:
        return await self.client.get(NODES, name)

    async def lease(self, name: str = "node-0") -> Obj:
        return await self.client.get(LEASES, name, "kube-node-lease")

    async def events(self, name: str) -> list[Event]:
        """Of one object: type, reason, message, in the order in which they were written."""
        found = (await self.client.list(EVENTS))["items"]
        mine = [event for event in found if event["involvedObject"]["name"] == name]
        mine.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [(event["type"], event["reason"], event["message"]) for event in mine]


def container(name: str = "c", *command: str, **more: Any) -> Obj:
    return {"name": name, "image": "registry.example/app:1", "command": list(command), **more}


Scenario = Callable[[Simulation], Awaitable[None]]
Simulate = Callable[..., None]


@pytest.fixture
def simulate() -> Simulate:
    """Run a scenario on a cluster whose nodes have been up for five seconds. Keywords are ClusterOptions'."""

    def run(scenario: Scenario, *, seed: int = 1, **options: Any) -> None:
        async def main() -> None:
            settings = ClusterOptions(**{"nodes": 1, "node_events": "all", **options}, secure_port=None)
            async with Cluster(settings, simulated_world(seed)) as cluster:
                await asyncio.sleep(5)
                await scenario(Simulation(cluster))

        run_virtual(main())

    return run


def condition(status: Obj, kind: str) -> Obj:
    return next((c for c in status.get("conditions") or () if c["type"] == kind), {})


def named(statuses: Iterable[Obj], name: str) -> Obj:
    return next(entry for entry in statuses if entry["name"] == name)
