"""Gangs: all of a group's pods or none, in virtual time against an API server (KEP-4671)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS, NODES, POD_GROUPS, PODS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.apiserver.server import Options
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.scheduler import USER, SchedulerComponent
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from pilothouse.scheduler.company import Company
from pilothouse.scheduler.gangs import GATES, MINIMUM_LABEL, NAME_LABEL


class Gangland:
    """An API server that serves PodGroups, and a scheduler under its own identity; nodes are made by hand."""

    def __init__(self, client: ResourceClient, world: World) -> None:
        self.client = client
        self.world = world

    async def node(self, name: str, cpu: str = "4") -> None:
        await self.client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        room = {"cpu": cpu, "memory": "8Gi", "pods": "110"}
        await self.client.patch(
            NODES, name, {"status": {"capacity": room, "allocatable": room}}, subresource="status"
        )
        await self.client.patch(NODES, name, {"spec": {"taints": None}})

    async def group(self, name: str, policy: Obj) -> None:
        await self.client.create(
            POD_GROUPS,
            {
                "apiVersion": "scheduling.k8s.io/v1alpha2",
                "kind": "PodGroup",
                "metadata": {"name": name},
                "spec": {"schedulingPolicy": policy},
            },
            "default",
        )

    async def pod(self, name: str, group: str = "", cpu: str = "1", **more: Any) -> None:
        spec: Obj = {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}]}
        if group:
            spec["schedulingGroup"] = {"podGroupName": group}
        meta = {"name": name, "labels": more.pop("labels", {})}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**spec, **more}}
        await self.client.create(PODS, body, "default")

    async def places(self, start: str) -> list[str]:
        found = await self.client.list(PODS, "default")
        return [
            pod["spec"].get("nodeName", "")
            for pod in found["items"]
            if pod["metadata"]["name"].startswith(start)
        ]

    async def is_going(self, name: str) -> bool:
        return "deletionTimestamp" in (await self.client.get(PODS, name, "default"))["metadata"]

    async def condition(self, name: str) -> Obj:
        found = await self.client.get(PODS, name, "default")
        conditions = found["status"].get("conditions") or ()
        return next((c for c in conditions if c["type"] == "PodScheduled"), {})

    async def group_condition(self, name: str) -> Obj:
        found = await self.client.get(POD_GROUPS, name, "default")
        conditions = (found.get("status") or {}).get("conditions") or [{}]
        return dict(conditions[0])

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = await self.client.list(EVENTS, "default", fieldSelector=f"involvedObject.name={name}")
        return [(e["reason"], e["message"]) for e in found["items"]]

    async def settle(self, seconds: float = 0.5) -> None:
        await self.world.clock.sleep(seconds)


@asynccontextmanager
async def gangland(
    wrap: Callable[[ResourceClient], Any] = lambda client: client, seed: int = 3
) -> AsyncIterator[Gangland]:
    world = simulated_world(seed)
    server = Options(runtime_config="scheduling.k8s.io/v1alpha2=true")
    cluster = Cluster(ClusterOptions(secure_port=None, nodes=0, server=server), world)
    await cluster.start_server()
    client = cluster.client()
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await client.create(SERVICE_ACCOUNTS, account, "default")
    own = wrap(cluster.client(USER, ()))
    scheduler = SchedulerComponent(own, world, CollectorRegistry(), features=GATES)
    task = asyncio.create_task(scheduler.run())
    try:
        yield Gangland(client, world)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cluster.stop()


def virtual(body: Callable[[Gangland], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        async with gangland() as land:
            await body(land)

    def test() -> None:
        run_virtual(main())

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


GANG_OF_3 = {"gang": {"minCount": 3}}
TOO_FEW = "waiting for minCount pods from a gang to appear in scheduling queue"


@virtual
async def test_pods_wait_until_their_group_is_complete(c: Gangland) -> None:
    await c.node("a")
    await c.pod("w-0", "g")
    await c.pod("w-1", "g")
    await c.settle()
    assert await c.places("w") == ["", ""]
    await c.group("g", GANG_OF_3)
    await c.settle()
    assert await c.places("w") == ["", ""]
    await c.pod("w-2", "g")
    await c.settle()
    assert await c.places("w") == ["a", "a", "a"]
    done = await c.group_condition("g")
    assert (done["type"], done["status"], done["reason"]) == ("PodGroupScheduled", "True", "Scheduled")


@virtual
async def test_a_gang_that_does_not_fit_takes_no_room(c: Gangland) -> None:
    await c.node("a", "2")
    await c.group("g", GANG_OF_3)
    for number in range(3):
        await c.pod(f"w-{number}", "g")
    await c.settle()
    assert await c.places("w") == ["", "", ""]
    messages = [(await c.condition(f"w-{n}"))["message"] for n in range(3)]
    assert messages[:2] == ["pod group is unschedulable"] * 2
    assert messages[2].startswith("0/1 nodes are available: 1 Insufficient cpu.")
    refused = await c.group_condition("g")
    assert (refused["status"], refused["reason"]) == ("False", "Unschedulable")
    await c.pod("alone", cpu="2")
    await c.settle()
    assert await c.places("alone") == ["a"], "what a gang does not get is there for others"
    await c.node("b", "3")
    await c.settle(12)
    assert await c.places("w") == ["b", "b", "b"]


@virtual
async def test_two_gangs_that_fit_one_at_a_time_do_not_block_each_other(c: Gangland) -> None:
    await c.node("a", "4")
    for name in ("x", "y"):
        await c.group(name, GANG_OF_3)
    for number in range(3):
        for name in ("x", "y"):
            await c.pod(f"{name}-{number}", name)
    await c.settle(30)
    placed = sorted([sum(map(bool, await c.places("x"))), sum(map(bool, await c.places("y")))])
    assert placed == [0, 3]


@virtual
async def test_more_pods_than_needed_go_when_there_is_room(c: Gangland) -> None:
    await c.node("a", "3")
    await c.group("g", GANG_OF_3)
    for number in range(4):
        await c.pod(f"w-{number}", "g")
    await c.settle()
    assert sorted(await c.places("w")) == ["", "a", "a", "a"]
    await c.node("b", "1")
    await c.settle(12)
    assert sorted(await c.places("w")) == ["a", "a", "a", "b"]


@virtual
async def test_pods_of_a_basic_group_go_one_by_one(c: Gangland) -> None:
    await c.node("a", "2")
    await c.group("g", {"basic": {}})
    for number in range(3):
        await c.pod(f"w-{number}", "g")
    await c.settle()
    assert sorted(await c.places("w")) == ["", "a", "a"]


@virtual
async def test_a_gang_evicts_only_when_that_makes_room_for_enough(c: Gangland) -> None:
    await c.node("a", "2")
    await c.pod("low-0", cpu="1")
    await c.pod("low-1", cpu="1")
    await c.settle()
    await c.group("big", GANG_OF_3)
    for number in range(3):
        await c.pod(f"big-{number}", "big", priorityClassName="system-cluster-critical")
    await c.settle(20)
    assert not any([await c.is_going(f"low-{n}") for n in range(2)]), (
        "three will not fit: nobody goes for two of them"
    )
    await c.group("small", {"gang": {"minCount": 2}})
    for number in range(2):
        await c.pod(f"small-{number}", "small", priorityClassName="system-cluster-critical")
    await c.settle()
    assert (await c.group_condition("small"))["message"] == "pod group is waiting for preemption to complete"
    for number in range(2):
        assert await c.is_going(f"low-{number}")
        await c.client.delete(PODS, f"low-{number}", "default", {"gracePeriodSeconds": 0})
    await c.settle(20)
    assert await c.places("small") == ["a", "a"]


@virtual
async def test_pods_of_a_gang_by_label_need_no_api(c: Gangland) -> None:
    """kubernetes-sigs/scheduler-plugins, lightweight coscheduling."""
    await c.node("a", "2")
    labels = {NAME_LABEL: "nginx", MINIMUM_LABEL: "3"}
    for number in range(3):
        await c.pod(f"w-{number}", labels=labels)
    await c.settle()
    assert await c.places("w") == ["", "", ""]
    await c.node("b", "1")
    await c.settle(12)
    assert sorted(await c.places("w")) == ["a", "a", "b"]


class Unreliable:
    """Two of five bindings fail."""

    def __init__(self, client: ResourceClient, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self.faults = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("subresource") == "binding" and self._random.random() < 0.4:
            self.faults += 1
            raise ApiError(500, "InternalError", "the network is down")
        return await self._client.create(*args, **kwargs)


GANGS = 6


async def _no_gang_in_part(c: Gangland) -> None:
    for number in range(GANGS):
        places = await c.places(f"g{number}-")
        group = await c.client.get(POD_GROUPS, f"g{number}", "default")
        least = group["spec"]["schedulingPolicy"]["gang"]["minCount"]
        placed = sum(map(bool, places))
        assert placed == 0 or placed >= least, (number, places)


async def _churn(seed: int) -> None:
    faults: list[Unreliable] = []

    def wrap(client: ResourceClient) -> Any:
        faults.append(Unreliable(client, seed))
        return faults[0]

    async with gangland(wrap, seed) as c:
        chance = c.world.random
        for number in range(4):
            await c.node(f"n{number}", "4")
        for number in range(GANGS):
            size = chance.randint(2, 6)
            await c.group(f"g{number}", {"gang": {"minCount": size}})
            for member in range(size + chance.randint(0, 1)):
                await c.pod(f"g{number}-{member}", f"g{number}")
                if chance.random() < 0.3:
                    await c.pod(f"solo-{number}-{member}", cpu="2")
                await c.settle(chance.random())
        await c.settle(15)
        await _no_gang_in_part(c)
        for _ in range(5):
            found = await c.client.list(PODS, "default")
            alone = [
                p["metadata"]["name"] for p in found["items"] if p["metadata"]["name"].startswith("solo")
            ]
            if alone:
                await c.client.delete(PODS, chance.choice(alone), "default", {"gracePeriodSeconds": 0})
            await c.settle(25)
            await _no_gang_in_part(c)
        await c.client.delete(NODES, "n0")
        for number in range(4, 8):
            await c.node(f"n{number}", "8")
        await c.settle(90)
        for number in range(GANGS):
            assert all(await c.places(f"g{number}-")), "there is room for all"
        assert faults[0].faults >= 5


def test_no_gang_stays_in_part_under_churn_and_faults() -> None:
    """Pods come and go, nodes come and go, two of five bindings fail: when its retries are over a gang runs with at
    least as many as it needs, or not at all, and nothing that fits waits."""
    for seed in range(6):
        run_virtual(_churn(seed))


def test_none_is_bound_while_one_that_is_needed_may_still_fail() -> None:
    async def main() -> None:
        company, answers = Company(3, 3), []

        async def ready() -> None:
            answers.append(await company.complete())

        tasks = [asyncio.create_task(ready()) for _ in range(2)]
        await asyncio.sleep(0)
        assert answers == []
        company.leave()
        await asyncio.gather(*tasks)
        assert answers == [False, False]

    run_virtual(main())


def test_the_others_go_when_enough_are_left() -> None:
    async def main() -> None:
        company = Company(3, 2)
        company.leave()
        answers = await asyncio.gather(company.complete(), company.complete())
        assert all(answers)

    run_virtual(main())


@virtual
async def test_a_label_that_is_no_number_says_so(c: Gangland) -> None:
    await c.node("a")
    await c.pod("w", labels={NAME_LABEL: "nginx", MINIMUM_LABEL: "many"})
    await c.settle()
    assert await c.places("w") == [""]


@virtual
async def test_a_pod_group_has_one_policy_and_keeps_it(c: Gangland) -> None:
    """pkg/registry/scheduling/podgroup/strategy_test.go."""
    policy = "spec.schedulingPolicy"
    both = "must specify exactly one of: `basic`, `gang`"
    for given, text in (
        ({}, f'{policy}: Invalid value: "": must specify one of: `basic`, `gang`'),
        ({"basic": {}, "gang": {"minCount": 2}}, f'{policy}: Invalid value: "{{basic, gang}}": {both}'),
        ({"gang": {"minCount": 0}}, f"{policy}.gang.minCount: Required value"),
    ):
        with pytest.raises(ApiError) as refused:
            await c.group("g", given)
        assert text in str(refused.value)
    await c.group("g", {"gang": {"minCount": 2}})
    with pytest.raises(ApiError, match="field is immutable"):
        fewer = {"spec": {"schedulingPolicy": {"gang": {"minCount": 1}}}}
        await c.client.patch(POD_GROUPS, "g", fewer, "default")


@virtual
async def test_room_that_is_made_for_a_gang_is_kept_until_all_of_it_is_there(c: Gangland) -> None:
    await c.node("a", "2")
    for number in range(2):
        await c.pod(f"low-{number}")
    await c.settle()
    await c.group("g", {"gang": {"minCount": 2}})
    for number in range(2):
        await c.pod(f"w-{number}", "g", priorityClassName="system-cluster-critical")
    await c.settle()
    await c.client.delete(PODS, "low-0", "default", {"gracePeriodSeconds": 0})
    await c.pod("thief")
    await c.settle(15)
    assert (await c.places("thief"), await c.places("w")) == ([""], ["", ""])
    await c.client.delete(PODS, "low-1", "default", {"gracePeriodSeconds": 0})
    await c.settle(15)
    assert (await c.places("thief"), await c.places("w")) == ([""], ["a", "a"])
