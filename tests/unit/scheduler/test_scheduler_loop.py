"""The scheduler as a whole, in virtual time, against an API server in the same process: what a user sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS, NODES, PODS, PRIORITY_CLASSES, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from pilothouse.scheduler.framework import Cycle, PermitPlugin, Plugin, PreBindPlugin, ReservePlugin, Verdict
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.nominator import Nominator
from pilothouse.scheduler.plugins import registry
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.scheduler import Scheduler


class Running:
    """An API server and a scheduler; nodes are made by hand and nothing runs pods."""

    def __init__(self, client: ResourceClient, scheduler: Scheduler, world: World) -> None:
        self.client = client
        self.scheduler = scheduler
        self.world = world

    async def node(self, name: str, cpu: str = "4", **spec: Any) -> None:
        await self.client.create(
            NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": spec}
        )
        room = {"cpu": cpu, "memory": "8Gi", "pods": "10"}
        await self.client.patch(
            NODES, name, {"status": {"capacity": room, "allocatable": room}}, subresource="status"
        )
        await self.client.patch(NODES, name, {"spec": {"taints": None}})

    async def pod(self, name: str, cpu: str = "1", **spec: Any) -> None:
        container = {"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [container], **spec},
        }
        await self.client.create(PODS, body, "default")

    async def get(self, name: str) -> Obj:
        return await self.client.get(PODS, name, "default")

    async def place(self, name: str) -> str:
        return str((await self.get(name))["spec"].get("nodeName", ""))

    async def condition(self, name: str, type: str = "PodScheduled") -> Obj:
        conditions = (await self.get(name))["status"].get("conditions") or ()
        return next((c for c in conditions if c["type"] == type), {})

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = await self.client.list(EVENTS, "default", fieldSelector=f"involvedObject.name={name}")
        return [(e["reason"], e["message"]) for e in found["items"]]

    async def settle(self, seconds: float = 0.5) -> None:
        await self.world.clock.sleep(seconds)


@asynccontextmanager
async def running(*plugins: Plugin) -> AsyncIterator[Running]:
    world = simulated_world(3)
    cluster = Cluster(ClusterOptions(secure_port=None, nodes=0), world)
    await cluster.start_server()
    client = cluster.client()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await client.create(SERVICE_ACCOUNTS, account, "default")
    informers = Informers(client, world)
    recorder = EventRecorder(client, "default-scheduler", world, modern=True)
    handle = Handle(client, informers, world, recorder, Nominator())
    plain = registry.default_profile(handle)
    profile = Profile([*plugins, *plain.plugins], registry.WEIGHTS)
    scheduler = Scheduler(handle, {profile.name: profile}, CollectorRegistry())
    informers.start()
    tasks = [asyncio.create_task(scheduler.run()), asyncio.create_task(recorder.run())]
    try:
        yield Running(client, scheduler, world)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await informers.stop()
        await cluster.stop()


def virtual(
    *plugins: Callable[[], Plugin],
) -> Callable[[Callable[[Running], Awaitable[None]]], Callable[[], None]]:
    def wrap(body: Callable[[Running], Awaitable[None]]) -> Callable[[], None]:
        async def main() -> None:
            async with running(*(make() for make in plugins)) as cluster:
                await body(cluster)

        def test() -> None:
            work: Coroutine[Any, Any, None] = main()
            run_virtual(work)

        test.__name__, test.__doc__ = body.__name__, body.__doc__
        return test

    return wrap


@virtual()
async def test_a_pod_is_bound_and_people_are_told(c: Running) -> None:
    await c.node("a")
    await c.pod("web")
    await c.settle()
    assert await c.place("web") == "a"
    assert (await c.condition("web"))["status"] == "True"
    assert await c.events("web") == [("Scheduled", "Successfully assigned default/web to a")]


@virtual()
async def test_a_pod_that_fits_nowhere_says_why_and_goes_when_a_node_comes(c: Running) -> None:
    await c.node("a", "500m")
    await c.pod("web")
    await c.settle()
    why = (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
        "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    )
    condition = await c.condition("web")
    assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", why)
    assert await c.events("web") == [("FailedScheduling", why)]
    await c.node("b")
    await c.settle()
    assert await c.place("web") == "b"


@virtual()
async def test_decisions_see_the_room_that_was_just_given_away(c: Running) -> None:
    """Forty pods at once on nodes with room for exactly forty: none is overbooked while bindings are under way."""
    for number in range(10):
        await c.node(f"n{number}")
    await asyncio.gather(*(c.pod(f"p{i}") for i in range(41)))
    await c.settle()
    places = [await c.place(f"p{i}") for i in range(41)]
    assert sorted(places.count(f"n{n}") for n in range(10)) == [4] * 10
    assert places.count("") == 1


@virtual()
async def test_a_pod_makes_room_for_itself(c: Running) -> None:
    for name, value in (("low", 1), ("high", 1000)):
        body = {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
        }
        await c.client.create(PRIORITY_CLASSES, body)
    await c.node("a", "1")
    await c.pod("meek", priorityClassName="low", terminationGracePeriodSeconds=30)
    await c.settle()
    await c.pod("bold", priorityClassName="high")
    await c.settle()
    victim = await c.get("meek")
    assert victim["metadata"]["deletionGracePeriodSeconds"] == 30
    assert (await c.condition("meek", "DisruptionTarget"))["reason"] == "PreemptionByScheduler"
    assert (
        "Preempted",
        f"Preempted by pod {(await c.get('bold'))['metadata']['uid']} on node a",
    ) in await c.events("meek")
    assert (await c.get("bold"))["status"]["nominatedNodeName"] == "a"
    assert (await c.condition("bold"))["message"] == "0/1 nodes are available: 1 Insufficient cpu."
    await c.client.delete(PODS, "meek", "default", {"gracePeriodSeconds": 0})
    await c.settle()
    assert await c.place("bold") == "a"
    assert "nominatedNodeName" not in (await c.get("bold"))["status"]


@virtual()
async def test_a_pod_deleted_while_it_waits_is_forgotten(c: Running) -> None:
    await c.pod("web")
    await c.settle()
    await c.client.delete(PODS, "web", "default", {"gracePeriodSeconds": 0})
    await c.settle()
    assert sum(c.scheduler.queue.sizes().values()) == 0


class Slow(PermitPlugin, ReservePlugin):
    """Holds every pod for a minute, and keeps what it has reserved."""

    name = "Slow"

    def __init__(self) -> None:
        self.reserved: list[str] = []

    def reserve(self, cycle: Cycle, node: str) -> str:
        self.reserved.append(cycle.info.name)
        return ""

    def unreserve(self, cycle: Cycle, node: str) -> None:
        self.reserved.remove(cycle.info.name)

    def permit(self, cycle: Cycle, node: str) -> Verdict:
        return Verdict(wait_s=60)


@virtual(Slow)
async def test_a_pod_waits_for_its_permit_without_holding_up_others(c: Running) -> None:
    await c.node("a", "1")
    await c.pod("web")
    await c.pod("next")
    await c.settle(30)
    assert await c.place("web") == ""
    assert "Insufficient cpu" in (await c.condition("next"))["message"]
    c.scheduler.permits.allow((await c.get("web"))["metadata"]["uid"])
    await c.settle()
    assert await c.place("web") == "a"


@virtual(Slow)
async def test_a_permit_that_does_not_come_gives_the_room_back(c: Running) -> None:
    await c.node("a", "1")
    await c.pod("web")
    await c.settle(61)
    condition = await c.condition("web")
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == "timeout after 60s, waiting on permit"
    row = c.scheduler.cache.table.row("a")
    assert c.scheduler.cache.table.requested["cpu"][row] == 0


class Flaky(PreBindPlugin):
    """Fails twice."""

    name = "Flaky"

    def __init__(self) -> None:
        self.left = 2

    async def pre_bind(self, cycle: Cycle, node: str) -> None:
        self.left -= 1
        if self.left >= 0:
            raise ApiError(503, "ServiceUnavailable", "the volume is not there yet")


@virtual(Flaky)
async def test_an_error_on_the_way_is_told_and_tried_again_after_its_back_off(c: Running) -> None:
    await c.node("a")
    await c.pod("web")
    await c.settle()
    assert (await c.condition("web"))["reason"] == "SchedulerError"
    assert ("FailedScheduling", "the volume is not there yet") in await c.events("web")
    await c.settle(1)
    assert await c.place("web") == ""
    await c.settle(2)
    assert await c.place("web") == "a"
