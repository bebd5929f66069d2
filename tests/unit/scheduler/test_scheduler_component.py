"""Whole schedulers in virtual time, as their configuration says: several profiles in one, several of them side by side,
and what becomes of pods when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from pilothouse.api.resources import EVENTS, PODS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.request import UserInfo
from pilothouse.client.leader_election import LeaderElector
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.scheduler import USER, SchedulerComponent
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from pilothouse.scheduler.config import load
from pilothouse.scheduler.per_node import per_node
from tests.unit.scheduler.test_scheduler_loop import Running

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
TWO = """
profiles:
- schedulerName: default-scheduler
- schedulerName: packer
  pluginConfig:
  - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}
  plugins:
    score: {disabled: [{name: '*'}], enabled: [{name: NodeResourcesFit}]}
"""


class Line:
    """A way to the API server that can be cut, as a process that dies."""

    def __init__(self, cluster: Cluster) -> None:
        info = UserInfo(USER, "", ("system:authenticated",))
        self._inner = InProcessTransport(cluster.api.handle, info, "kube-scheduler")
        self.cut_after: int | None = None
        """How many more bindings pass before nothing does."""

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        if self.cut_after is not None and path.endswith("/binding"):
            self.cut_after -= 1
        if self.cut_after is not None and self.cut_after < 0:
            await asyncio.Event().wait()
        return await self._inner.request(method, path, query, body, content_type)

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[tuple[str, Obj]]]:
        async for batch in self._inner.stream(path, query):
            yield batch

    async def close(self) -> None:
        await self._inner.close()


class House(Running):
    """An API server, and schedulers that a test starts."""

    def __init__(self, cluster: Cluster, world: World) -> None:
        super().__init__(cluster.client(), None, world)  # type: ignore[arg-type]
        self.cluster = cluster
        self.tasks: list[asyncio.Task[None]] = []
        self.metrics = CollectorRegistry()

    def schedule(
        self, config: str = "", *, lease: str = "", line: Line | None = None, **plugins: Any
    ) -> asyncio.Task[None]:
        """Start a scheduler; with `lease` it waits for its turn."""
        client = ResourceClient(line or Line(self.cluster))
        registry = self.metrics if not self.tasks else CollectorRegistry()
        component = SchedulerComponent(
            client, self.world, registry, load.parse((HEAD + config).encode()), plugins=plugins
        )
        run = component.run
        if lease:
            identity = f"copy-{len(self.tasks)}"
            elector = LeaderElector(client, self.world, name=lease, identity=identity)
            run = partial(elector.run, component.run)
        task = asyncio.get_running_loop().create_task(run())
        self.tasks.append(task)
        return task

    async def places(self) -> dict[str, str]:
        found = await self.client.list(PODS, "default")
        return {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in found["items"]}

    def metric(self, line: str) -> float:
        text = generate_latest(self.metrics).decode()
        return float(
            next(each for each in text.splitlines() if each.startswith(f"{line} ")).rsplit(" ", 1)[1]
        )


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    world = simulated_world(7)
    cluster = Cluster(ClusterOptions(secure_port=None, nodes=0), world)
    await cluster.start_server()
    made = House(cluster, world)
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await made.client.create(SERVICE_ACCOUNTS, account, "default")
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        await cluster.stop()


def virtual(body: Callable[[House], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        async with house() as made:
            await body(made)

    def test() -> None:
        run_virtual(main())

    test.__name__, test.__doc__ = body.__name__, body.__doc__
    return test


@virtual
async def test_each_profile_decides_for_the_pods_that_name_it_and_nobody_for_others(h: House) -> None:
    """https://kubernetes.io/docs/reference/scheduling/config/#multiple-profiles"""
    h.schedule(TWO)
    await h.node("full")
    await h.node("empty")
    await h.pod("there", "2", nodeName="full")
    await h.settle()
    await h.pod("spread")
    await h.settle()
    await h.pod("packed", schedulerName="packer")
    await h.pod("foreign", schedulerName="somebody-else")
    await h.settle(400)
    assert await h.places() == {"there": "full", "spread": "empty", "packed": "full", "foreign": ""}
    assert not await h.condition("foreign")
    events = (await h.client.list(EVENTS, "default"))["items"]
    told = {
        e["involvedObject"]["name"]: e["reportingComponent"] for e in events if e["reason"] == "Scheduled"
    }
    assert told == {"spread": "default-scheduler", "packed": "packer"}
    assert h.metric('scheduler_schedule_attempts_total{profile="packer",result="scheduled"}') == 1


@virtual
async def test_two_schedulers_of_different_names_work_side_by_side(h: House) -> None:
    """Each sees what the other has placed: forty pods of both fill ten nodes, and none is overbooked."""
    h.schedule()
    h.schedule("profiles: [{schedulerName: second}]")
    for number in range(10):
        await h.node(f"n{number}")
    for number in range(40):
        await h.pod(f"p{number}", schedulerName="second" if number % 2 else "default-scheduler")
        await h.settle(0.05)
    await h.settle(20)
    places = list((await h.places()).values())
    assert sorted(places.count(f"n{n}") for n in range(10)) == [4] * 10


@virtual
async def test_a_scheduler_that_dies_in_mid_flight_leaves_no_pod_behind(h: House) -> None:
    """The first dies after seven bindings of sixty; the second takes the lease and does the rest, none twice."""
    line = Line(h.cluster)
    h.schedule(lease="kube-scheduler", line=line)
    await h.settle(1)
    h.schedule(lease="kube-scheduler")
    for number in range(20):
        await h.node(f"n{number}")
    line.cut_after = 7
    await asyncio.gather(*(h.pod(f"p{i}") for i in range(60)))
    await h.settle(5)
    placed = {name for name, node in (await h.places()).items() if node}
    assert len(placed) == 7
    before = {name: node for name, node in (await h.places()).items() if name in placed}
    h.tasks[0].cancel()
    await h.settle(60)
    after = await h.places()
    assert all(after.values())
    assert {name: after[name] for name in placed} == before
    assert max(list(after.values()).count(f"n{n}") for n in range(20)) <= 4


@virtual
async def test_of_two_copies_only_the_leader_schedules(h: House) -> None:
    """Both would place a pod on a node of their own choice; one alone is asked to bind."""
    first, second = Line(h.cluster), Line(h.cluster)
    h.schedule(lease="kube-scheduler", line=first)
    await h.settle(1)
    h.schedule(lease="kube-scheduler", line=second)
    second.cut_after = 1000
    await h.node("a")
    await h.pod("web")
    await h.settle(30)
    assert await h.place("web") == "a"
    assert second.cut_after == 1000


@virtual
async def test_back_off_is_as_configured(h: House) -> None:
    """podInitialBackoffSeconds: a pod that an event helps waits so long after its first attempt."""
    backoff = "podInitialBackoffSeconds: 30\npodMaxBackoffSeconds: 60\n"
    profile = "profiles: [{plugins: {score: {enabled: [{name: Broken}]}}}]"
    h.schedule(backoff + profile, Broken=_failing_once())
    await h.node("a")
    await h.node("b")
    await h.pod("web")
    await h.settle(25)
    assert await h.place("web") == ""
    condition = await h.condition("web")
    assert condition["reason"] == "SchedulerError"
    assert 'running Score plugin "Broken" on node' in condition["message"]
    await h.settle(10)
    assert await h.place("web") in ("a", "b")


def _failing_once() -> Callable[[Obj, Any], Any]:
    """A plugin whose first answer is an exception."""
    left = [1]

    def score(pod: Obj, node: Obj) -> int:
        if left:
            left.pop()
            raise RuntimeError("not yet")
        return 1

    return lambda args, handle: per_node("Broken", score=score)


@virtual
async def test_metrics_have_upstreams_names(h: House) -> None:
    """https://kubernetes.io/docs/reference/instrumentation/metrics/, those of kube-scheduler."""
    h.schedule()
    await h.node("a", "20")
    for number in range(10):
        await h.pod(f"p{number}")
    await h.pod("huge", "1000")
    await h.settle(2)
    assert h.metric('scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"}') == 10
    assert h.metric('scheduler_pending_pods{queue="unschedulable"}') == 1
    assert (
        h.metric('scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"}') == 1
    )
    assert h.metric('scheduler_queue_incoming_pods_total{event="PodAdd",queue="active"}') == 11
    assert h.metric('scheduler_cache_size{type="nodes"}') == 1
    assert h.metric("scheduler_preemption_attempts_total") == 1
    point = 'scheduler_framework_extension_point_duration_seconds_count{extension_point="Filter",'
    assert h.metric(f'{point}profile="default-scheduler",status="Success"}}') == 1
    plugin = 'scheduler_plugin_execution_duration_seconds_count{extension_point="Filter",plugin="NodeName",'
    assert h.metric(f'{plugin}status="Success"}}') == 1
    evaluated = 'scheduler_plugin_evaluation_total{extension_point="Filter",plugin="NodeName",'
    assert h.metric(f'{evaluated}profile="default-scheduler"}}') == 1
    assert h.metric('scheduler_event_handling_duration_seconds_count{event="UnscheduledPodAdd"}') == 11
    assert h.metric("scheduler_scheduling_algorithm_duration_seconds_count") == 10
