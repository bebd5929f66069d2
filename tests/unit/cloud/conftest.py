"""cloud-controller-manager on a whole cluster in virtual time, with a cloud made of dictionaries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS, NODES, Resource
from pilothouse.api.types import Obj
from pilothouse.cloud.manager import Settings
from pilothouse.cloud.provider import CloudError, Instance, LoadBalancers, NotFound, Routes, Volumes
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.cloud_controller_manager import CloudControllerManager
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world


@dataclass
class Machines:
    """Instances by the name of their node."""

    known: dict[str, Instance] = field(default_factory=dict)
    stopped: set[str] = field(default_factory=set)
    failing: str = ""
    asked: list[str] = field(default_factory=list)

    async def exists(self, node: Obj) -> bool:
        return self._look(node) is not None

    async def is_shut_down(self, node: Obj) -> bool:
        return node["metadata"]["name"] in self.stopped

    async def describe(self, node: Obj) -> Instance:
        found = self._look(node)
        if found is None:
            raise NotFound("instance not found")
        return found

    def _look(self, node: Obj) -> Instance | None:
        name = node["metadata"]["name"]
        self.asked.append(name)
        if self.failing:
            raise CloudError(self.failing)
        return self.known.get(name)


@dataclass
class Cloud:
    """A provider; a test gives it the faces that it needs."""

    name: str = "paper"
    instances: Machines | None = field(default_factory=Machines)
    load_balancers: LoadBalancers | None = None
    routes: Routes | None = None
    volumes: Volumes | None = None
    closed: bool = False

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed = True


class Lab:
    """What a test does to its cluster and its cloud."""

    def __init__(self, cluster: Cluster, cloud: Cloud, world: World) -> None:
        self.world = world
        self.cloud = cloud
        self.client = cluster.client()
        self.metrics = new_registry()
        self.checks: dict[str, Callable[[], str]] = {}

    @property
    def machines(self) -> Machines:
        assert self.cloud.instances is not None
        return self.cloud.instances

    def metric(self, name: str, /, **labels: str) -> float | None:
        return self.metrics.get_sample_value(name, labels)

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def create(self, resource: Resource, obj: Obj, namespace: str = "default") -> Obj:
        typed = {"apiVersion": resource.group_version, "kind": resource.kind, **obj}
        return await self.client.create(resource, typed, namespace if resource.namespaced else "")

    async def get(self, resource: Resource, name: str) -> Obj:
        return await self.client.get(resource, name, "default" if resource.namespaced else "")

    async def exists(self, resource: Resource, name: str) -> bool:
        try:
            await self.get(resource, name)
        except ApiError as error:
            assert error.code == 404
            return False
        return True

    async def node(self, name: str, *, ready: str = "True", **more: Any) -> Obj:
        """A node whose kubelet runs with --cloud-provider=external, with this Ready condition."""
        taint = {
            "key": "node.cloudprovider.kubernetes.io/uninitialized",
            "value": "true",
            "effect": "NoSchedule",
        }
        node = await self.create(NODES, {"metadata": {"name": name, **more}, "spec": {"taints": [taint]}})
        await self.set_ready(name, ready)
        return node

    async def set_ready(self, name: str, status: str) -> None:
        body = {"status": {"conditions": [{"type": "Ready", "status": status, "reason": "Test"}]}}
        await self.client.patch(NODES, name, body, patch_type="strategic", subresource="status")

    async def taints(self, name: str) -> set[str]:
        return {t["key"] for t in (await self.get(NODES, name))["spec"].get("taints") or ()}

    async def events(self, name: str) -> list[tuple[str, str, str, str]]:
        """(type, reason, message, component) of the events about an object, sorted."""
        found = (await self.client.list(EVENTS))["items"]
        return sorted(
            (e["type"], e["reason"], e["message"], e["reportingComponent"])
            for e in found
            if e["involvedObject"]["name"] == name
        )


Scenario = Callable[[Lab], Awaitable[None]]
Simulate = Callable[..., None]


@pytest.fixture
def simulate(tmp_path: Path) -> Simulate:
    """Run a scenario on a cluster without nodes, whose kube-controller-manager leaves nodes to the cloud."""

    async def run(scenario: Scenario, cloud: Cloud, settings: Settings) -> None:
        world = simulated_world(7)
        options = ClusterOptions(secure_port=None, nodes=0, controllers=("*", "-node-lifecycle-controller"))
        async with Cluster(options, world) as cluster:
            client = cluster.client()
            lab = Lab(cluster, cloud, world)
            manager = CloudControllerManager(
                client,
                lambda account: client,
                world,
                lab.metrics,
                settings,
                open_provider=lambda setting: cloud,
                config=None,
                directory=tmp_path,
            )
            async with Tasks("test") as tasks:
                running = tasks.start("cloud", manager.run())
                lab.checks = manager.checks()
                await scenario(lab)
                running.cancel()
        assert cloud.closed

    def simulate(scenario: Scenario, cloud: Cloud | None = None, settings: Settings | None = None) -> None:
        run_virtual(run(scenario, cloud or Cloud(), settings or Settings()))

    return simulate
