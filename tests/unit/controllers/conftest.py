"""Controllers in a whole cluster in virtual time: API server, scheduler, simulated nodes, nothing on the network."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS, NODES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver import pipeline
from pilothouse.apiserver.request import RequestInfo, UserInfo
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world

NAMESPACE = "default"


class Lab:
    """What a test does to its cluster. Objects are read anew each time."""

    def __init__(self, cluster: Cluster, world: World) -> None:
        self.world = world
        self.cluster = cluster
        self.client = cluster.client()

    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def create(self, resource: Resource, obj: Obj) -> Obj:
        typed = {"apiVersion": resource.group_version, "kind": resource.kind, **obj}
        return await self.client.create(resource, typed, NAMESPACE if resource.namespaced else "")

    async def get(self, resource: Resource, name: str) -> Obj:
        return await self.client.get(resource, name, NAMESPACE if resource.namespaced else "")

    async def exists(self, resource: Resource, name: str) -> bool:
        try:
            await self.get(resource, name)
        except ApiError as error:
            assert error.code == 404
            return False
        return True

    async def patch(self, resource: Resource, name: str, body: Any, **more: Any) -> Obj:
        return await self.client.patch(resource, name, body, NAMESPACE if resource.namespaced else "", **more)

    async def list(self, resource: Resource, selector: str = "") -> list[Obj]:
        params = {"labelSelector": selector} if selector else {}
        answer = await self.client.list(resource, NAMESPACE if resource.namespaced else "", **params)
        items: list[Obj] = answer["items"]
        return items

    async def names(self, resource: Resource, selector: str = "") -> list[str]:
        return sorted(o["metadata"]["name"] for o in await self.list(resource, selector))

    async def delete(self, resource: Resource, name: str, **options: Any) -> None:
        namespace = NAMESPACE if resource.namespaced else ""
        await self.client.delete(resource, name, namespace, options or None)

    async def pods(self, selector: str = "") -> list[Obj]:
        return await self.list(PODS, selector)

    async def events(self, name: str) -> list[tuple[str, str, str, str]]:
        """(type, reason, message, component) of the events about an object, sorted."""
        return sorted(
            (e["type"], e["reason"], e["message"], e["reportingComponent"])
            for e in await self.list(EVENTS)
            if e["involvedObject"]["name"] == name
        )

    async def label_node(self, name: str, **labels: str | None) -> None:
        await self.client.patch(NODES, name, {"metadata": {"labels": labels}})


Scenario = Callable[[Lab], Awaitable[None]]
Simulate = Callable[..., None]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What accounts of the control plane were not allowed to do. Each controller has upstream's role and no more."""
    found: list[str] = []
    real = pipeline.refusal

    def noted(user: UserInfo, info: RequestInfo, reason: str) -> ApiError:
        if user.name.startswith(("system:serviceaccount:kube-system:", "system:kube-controller-manager")):
            found.append(f"{user.name}: {info.verb} {info.resource}/{info.subresource} {info.namespace}")
        return real(user, info, reason)

    monkeypatch.setattr(pipeline, "refusal", noted)
    return found


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of objects whose deletion is refused, as an admission webhook might."""
    names: set[str] = set()
    real = ResourceClient.delete

    async def delete(
        self: ResourceClient, resource: Resource, name: str, namespace: str = "", options: Obj | None = None
    ) -> Obj:
        if name in names:
            raise ApiError(403, "Forbidden", f'admission webhook "keep.example.com" denied {name}')
        return await real(self, resource, name, namespace, options)

    monkeypatch.setattr(ResourceClient, "delete", delete)
    return names


@pytest.fixture
def simulate(refused: list[str]) -> Simulate:
    """Run a scenario on a cluster of three nodes that has settled; `options` are ClusterOptions beside the usual. No
    controller may want what its role does not give it."""

    async def run(scenario: Scenario, options: dict[str, Any]) -> None:
        world = simulated_world(7)
        async with Cluster(ClusterOptions(secure_port=None, **options), world) as cluster:
            lab = Lab(cluster, world)
            await lab.wait(5)
            await scenario(lab)
        assert refused == []

    return lambda scenario, **options: run_virtual(run(scenario, options))
