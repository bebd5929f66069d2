"""The simulated cloud: what it is like, its node groups, and what a thousand nodes cost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.cloud.manager import Settings
from pilothouse.cloud.provider import CloudError, Later, NoRoom, NotFound, Route, VolumeRequest
from pilothouse.cloud.providers.sim import config
from pilothouse.cloud.providers.sim.account import Account, Machine, Throttled
from pilothouse.cloud.providers.sim.autoscaling import application
from pilothouse.cloud.providers.sim.config import (
    BalancerHabits,
    Config,
    Failures,
    InstanceHabits,
    NodeGroup,
    Quotas,
    Rate,
    VolumeHabits,
)
from pilothouse.cloud.providers.sim.faces import SimLoadBalancers, SimRoutes, SimVolumes
from pilothouse.cloud.providers.sim.provider import SimProvider
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.cloud_controller_manager import CloudControllerManager
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

_SOON = (0.01, 0.01)


def _account(**more: Any) -> Account:
    return Account(Config(**{"latency_seconds": _SOON, **more}), simulated_world(1))


def _service(uid: str = "u") -> Obj:
    return {"metadata": {"uid": uid, "name": "web"}, "spec": {"ports": [{"port": 80}]}}


def _request(name: str = "v") -> VolumeRequest:
    return VolumeRequest(name, 2**30)


# -- how calls go -------------------------------------------------------------------------------------------


def test_a_client_that_calls_too_often_is_throttled_and_ours_holds_itself_back() -> None:
    async def run() -> None:
        account = _account(rate=Rate(calls_per_second=10, burst=5))
        await asyncio.gather(*(account.call("A", int) for _ in range(100)))
        assert account.throttled == 0
        assert 9 < account.now_s() < 12
        with pytest.raises(Throttled):
            for _ in range(20):
                await account._one("A", int)

    run_virtual(run())


def test_lists_lag_both_ways_and_what_is_asked_for_by_name_does_not() -> None:
    async def run() -> None:
        account = _account(lag_seconds=5)
        routes, route = SimRoutes(account), Route("", "n", "10.0.0.0/24")
        await routes.create("", route, {})
        assert await routes.list() == []
        await asyncio.sleep(5)
        [found] = await routes.list()
        await routes.create("", route, {})
        await routes.delete(found)
        assert [one.name for one in await routes.list()] == [found.name]
        await asyncio.sleep(5)
        assert await routes.list() == []
        volumes = SimVolumes(account)
        made = await volumes.create(_request())
        assert await volumes.find("v") == made.id

    run_virtual(run())


def test_a_refused_call_does_nothing_and_a_lost_one_is_done() -> None:
    async def run() -> None:
        for failures, done in ((Failures(refused=0.999999), 0), (Failures(lost=0.999999), 1)):
            account = _account(failures=failures)
            with pytest.raises(CloudError):
                await SimVolumes(account).create(_request())
            assert len(account.disks) == done

    run_virtual(run())


def test_quotas() -> None:
    async def run() -> None:
        account = _account(quotas=Quotas(volumes=1, load_balancers=1, routes=1))
        volumes, balancers, routes = (
            SimVolumes(account),
            SimLoadBalancers(account, "blue"),
            SimRoutes(account),
        )
        first = await volumes.create(_request())
        assert await volumes.create(_request()) == first, "the same request is the same volume"
        with pytest.raises(NoRoom, match="the quota of 1 volumes is used up"):
            await volumes.create(_request("other"))
        with pytest.raises(Later):
            await balancers.ensure(_service(), ())
        with pytest.raises(NoRoom):
            await balancers.ensure(_service("other"), ())
        await routes.create("", Route("", "n", "10.0.0.0/24"), {})
        with pytest.raises(NoRoom):
            await routes.create("", Route("", "m", "10.0.1.0/24"), {})

    run_virtual(run())


def test_a_load_balancer_takes_its_time() -> None:
    async def run() -> None:
        account = _account(load_balancers=BalancerHabits(ready_seconds=(120, 120)))
        balancers = SimLoadBalancers(account, "blue")
        with pytest.raises(Later) as told:
            await balancers.ensure(_service(), ())
        assert told.value.after_s == pytest.approx(120)
        await asyncio.sleep(told.value.after_s)
        (reached,) = await balancers.ensure(_service(), ())
        assert reached.ip.startswith("198.18.")

    run_virtual(run())


def test_a_volume_is_on_one_machine_and_may_be_stuck_on_its_way() -> None:
    async def run() -> None:
        account = _account(zones=("a",), volumes=VolumeHabits(stuck=1, stuck_seconds=300, per_node=1))
        provider = _provider(account)
        nodes = [_node(provider, name) for name in ("n1", "n2")]
        volumes = provider.volumes
        disk = (await volumes.create(_request())).id
        with pytest.raises(Later):
            await volumes.attach(disk, nodes[0], read_only=False)
        with pytest.raises(CloudError, match="is attached to i-1 already"):
            await volumes.attach(disk, nodes[1], read_only=False)
        await asyncio.sleep(301)
        assert await volumes.attach(disk, nodes[0], read_only=False)
        with pytest.raises(NoRoom):
            await volumes.attach((await volumes.create(_request("w"))).id, nodes[0], read_only=False)
        with pytest.raises(CloudError, match="is attached to i-1"):
            await volumes.delete(disk)
        await volumes.detach(disk, nodes[0])
        await volumes.delete(disk)
        with pytest.raises(NotFound):
            await volumes.expand(disk, 2**31)

    run_virtual(run())


def _provider(account: Account) -> SimProvider:
    """Without a cluster: its machines are those that a test adds."""
    provider = object.__new__(SimProvider)
    provider.account = account
    provider.volumes = SimVolumes(account)
    return provider


def _node(provider: SimProvider, name: str) -> Obj:
    identity = f"i-{len(provider.account.machines) + 1}"
    provider.account.machines[identity] = Machine(identity, 0.0, None, name, "a")
    return {"metadata": {"name": name}, "spec": {"providerID": f"sim:///{identity}"}}


# -- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("latency: 1", "unknown field `latency`"),
        ("latencySeconds: [2, 1]", "latencySeconds: two times are needed, the smaller one first"),
        ("failures: {refused: 2}", "failures.refused: a share between 0 and 1 is needed"),
        ("failures: {refused: 0.5, lost: 0.5}", "failures: some calls have to succeed"),
        ("zones: []", "zones and rate need at least one zone and one call"),
        ("nodeGroups: [{name: a}, {name: a}]", "nodeGroups: two of one name"),
        ("nodeGroups: [{name: a, zone: z}]", "nodeGroups: a: min <= size <= max and one of the zones"),
        ("quotas: {volumes: many}", "Expected `int`, got `str` - at `$.quotas.volumes`"),
        ("a: [", "while parsing a flow node"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_told(text: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "sim.yaml").write_text(text)
    with pytest.raises(ValueError) as told:
        config.read(tmp_path / "sim.yaml")
    assert wrong in str(told.value) and "sim.yaml" in str(told.value)


def test_the_defaults_are_those_that_the_module_tells(tmp_path: Path) -> None:
    """But for the node group, which is an example."""
    page = (config.__doc__ or "").partition(":\n\n")[2]
    (tmp_path / "sim.yaml").write_text(page)
    told = config.read(tmp_path / "sim.yaml")
    assert told.node_groups == (NodeGroup("workers", 3),)
    (tmp_path / "sim.yaml").write_text(page[: page.index("nodeGroups")])
    assert config.read(tmp_path / "sim.yaml") == config.read(None) == Config()


# -- on a cluster -------------------------------------------------------------------------------------------


class _Cluster(Cluster):
    """Its nodes wait for a cloud, which the test brings."""

    def _start_cloud(self) -> None:
        pass


Scenario = Callable[[Any, SimProvider], Awaitable[None]]


def _on_cluster(
    scenario: Scenario,
    tmp_path: Path,
    settings: Settings | None = None,
    controllers: tuple[str, ...] = ("node-lifecycle-controller",),
    **more: Any,
) -> None:
    async def run() -> None:
        world = simulated_world(3)
        options = ClusterOptions(secure_port=None, nodes=0, cloud="sim", controllers=controllers)
        account = Account(Config(**{"latency_seconds": _SOON, **more}), world)
        async with _Cluster(options, world) as cluster:
            client = cluster.client()
            manager = CloudControllerManager(
                client,
                lambda name: client,
                world,
                new_registry(),
                settings or Settings(),
                open_provider=lambda setting: SimProvider(setting, account),
                config=None,
                directory=tmp_path,
            )
            assert isinstance(manager.provider, SimProvider)
            async with Tasks("test") as tasks:
                running = tasks.start("cloud", manager.run())
                await scenario(client, manager.provider)
                running.cancel()

    run_virtual(run())


async def _nodes(client: Any) -> dict[str, Obj]:
    return {node["metadata"]["name"]: node for node in (await client.list(NODES))["items"]}


_BLUE = NodeGroup(
    "blue", 2, 1, 3, "b", labels={"color": "blue"}, taints=[{"key": "k", "effect": "NoSchedule"}]
)
_QUICK = InstanceHabits(start_seconds=(5, 5))


def test_a_node_group_starts_grows_and_shrinks(tmp_path: Path) -> None:
    async def scenario(client: Any, provider: SimProvider) -> None:
        await asyncio.sleep(3)
        assert await _nodes(client) == {}
        await asyncio.sleep(12)
        nodes = await _nodes(client)
        assert len(nodes) == 2
        for node in nodes.values():
            assert node["metadata"]["labels"]["color"] == "blue"
            assert node["metadata"]["labels"]["topology.kubernetes.io/zone"] == "b"
            assert [taint["key"] for taint in node["spec"]["taints"]] == ["k"]
            assert node["spec"]["podCIDRs"]
        assert provider.machines.grow("blue", 1) == 3
        with pytest.raises(ValueError, match="has 3 of at most 3 nodes"):
            provider.machines.grow("blue", 1)
        await asyncio.sleep(15)
        assert len(await _nodes(client)) == 3
        first, second, third = await _nodes(client)
        with pytest.raises(NotFound):
            provider.machines.shrink("blue", ["nobody"])
        assert provider.machines.shrink("blue", [first, second]) == 1
        with pytest.raises(ValueError, match="and 1 at least"):
            provider.machines.shrink("blue", [third])
        await asyncio.sleep(90)
        assert list(await _nodes(client)) == [third]

    _on_cluster(scenario, tmp_path, node_groups=(_BLUE,), instances=_QUICK)


def test_an_instance_that_vanishes_is_replaced(tmp_path: Path) -> None:
    async def scenario(client: Any, provider: SimProvider) -> None:
        await asyncio.sleep(15)
        before = set(await _nodes(client))
        [victim, _] = provider.machines.members("blue")
        provider.account.end(victim)
        await asyncio.sleep(120)
        after = set(await _nodes(client))
        assert len(after) == 2 and victim.node in before - after

    _on_cluster(scenario, tmp_path, node_groups=(_BLUE,), instances=_QUICK)


def test_the_autoscalers_api(tmp_path: Path) -> None:
    class Paper:
        """Two machines."""

        def __init__(self) -> None:
            self.sizes = {"blue": 2}

        def groups(self) -> list[NodeGroup]:
            return [_BLUE]

        def target(self, name: str) -> int:
            if name not in self.sizes:
                raise NotFound(f"there is no node group {name}")
            return self.sizes[name]

        def members(self, name: str) -> list[Any]:
            return [Machine(f"i-{n}", 0.0, node=f"blue-{n}") for n in range(self.target(name))]

        def grow(self, name: str, delta: int) -> int:
            if self.target(name) + delta > 3:
                raise ValueError("full")
            self.sizes[name] += delta
            return self.sizes[name]

        def shrink(self, name: str, nodes: list[str]) -> int:
            self.sizes[name] -= len(nodes)
            return self.sizes[name]

    async def run() -> None:
        machines: Any = Paper()
        async with TestClient(TestServer(application(machines))) as http:
            answer = await http.get("/nodeGroups")
            group = {"id": "blue", "minSize": 1, "maxSize": 3, "targetSize": 2}
            assert await answer.json() == {"nodeGroups": [group]}
            answer = await http.get("/nodeGroups/blue/nodes")
            assert (await answer.json())["instances"][1] == {
                "id": "sim:///i-1",
                "node": "blue-1",
                "status": "running",
            }
            assert await (await http.get("/nodeGroupForNode/blue-1")).json() == {"nodeGroup": group}
            assert await (await http.get("/nodeGroupForNode/other")).json() == {}
            for path, body, code in (
                ("blue/increaseSize", {"delta": 1}, 200),
                ("blue/increaseSize", {"delta": 1}, 409),
                ("blue/increaseSize", {"delta": 0}, 400),
                ("green/increaseSize", {"delta": 1}, 404),
                ("blue/deleteNodes", {"nodes": ["blue-0"]}, 200),
                ("blue/deleteNodes", {"nodes": "blue-0"}, 400),
                ("blue/deleteNodes", [], 400),
            ):
                assert (await http.post(f"/nodeGroups/{path}", json=body)).status == code, path
            assert (await http.post("/nodeGroups/blue/increaseSize", data="{")).status == 400
            assert machines.sizes == {"blue": 2}

    asyncio.run(run())


def test_a_thousand_nodes_cost_ten_calls_a_round(tmp_path: Path) -> None:
    """When they come, when addresses are looked at again, and when none of them is ready: upstream's providers ask
    about 100 instances at once."""

    async def scenario(client: Any, provider: SimProvider) -> None:
        calls = provider.account.calls
        names = [f"n{number}" for number in range(1000)]
        for number, name in enumerate(names):
            machine = Machine(f"i-{number}", 0.0, None, name, "a")
            provider.account.machines[machine.id] = machine
        await asyncio.gather(*(client.create(NODES, _waiting(name)) for name in names))
        await asyncio.sleep(50)
        nodes = await _nodes(client)
        taints = {taint["key"] for node in nodes.values() for taint in node["spec"].get("taints") or ()}
        assert "node.cloudprovider.kubernetes.io/uninitialized" not in taints
        assert all(node["spec"]["providerID"].startswith("sim:///") for node in nodes.values())
        assert 10 <= calls["DescribeInstances"] <= 11, "the first one to come does not wait for others"
        calls.clear()
        await asyncio.sleep(55)
        assert calls["DescribeInstances"] == 10, "addresses, every 100 s"
        calls.clear()
        for name in names:
            status = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
            await client.patch(NODES, name, status, patch_type="strategic", subresource="status")
        await asyncio.sleep(60)
        assert calls["DescribeInstances"] == 10, "are they there, every minute"

    _on_cluster(
        scenario,
        tmp_path,
        Settings(node_status_s=100.0, node_monitor_s=60.0),
        controllers=("ttl-controller",),
    )


def _waiting(name: str) -> Obj:
    taint = {"key": "node.cloudprovider.kubernetes.io/uninitialized", "effect": "NoSchedule", "value": "true"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"taints": [taint]},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
