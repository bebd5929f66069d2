"""A cluster on a cloud with bad habits, in virtual time, from seeds: whatever fails, nothing leaks.

Services, claims, pods and node groups change at random while calls fail, answers get lost, reads lag, machines vanish
and the component is killed and started again. Then the cloud calms down, and what is in it must be what the cluster
asks for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import msgspec
import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SERVICES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.cloud.manager import Settings
from pilothouse.cloud.providers.sim.account import Account
from pilothouse.cloud.providers.sim.config import Config, Failures, InstanceHabits, NodeGroup, VolumeHabits
from pilothouse.cloud.providers.sim.machines import MACHINE
from pilothouse.cloud.providers.sim.provider import SimProvider
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.cloud_controller_manager import CloudControllerManager
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world

CLAIMS = PERSISTENT_VOLUME_CLAIMS
STORM_S = 400.0
CALM_S = 2000.0
CHECK_S = 60.0
SEEDS = range(1, 25)
MANY = range(100, 300)
_WILD = Config(
    zones=("a", "b"),
    latency_seconds=(0.05, 2.0),
    lag_seconds=15.0,
    failures=Failures(refused=0.15, lost=0.1),
    instances=InstanceHabits(vanish_per_hour=3.0, start_seconds=(5.0, 30.0)),
    volumes=VolumeHabits(stuck=0.1, stuck_seconds=90.0),
    node_groups=(NodeGroup("blue", 2, 1, 4, "a"), NodeGroup("green", 1, 1, 3, "b")),
)
_CALM = msgspec.structs.replace(
    _WILD, failures=Failures(), lag_seconds=0.0, instances=InstanceHabits(), volumes=VolumeHabits()
)
_CONTROLLERS = (
    "node-lifecycle-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-expander-controller",
    "persistentvolume-protection-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
)
"""Those that have to do with a cloud: a run costs less without the others."""
_SETTINGS = Settings(cluster_cidrs=("10.128.0.0/9",))


class _Cluster(Cluster):
    """With nodes that wait for a cloud, and no component that talks to it: that is the test's, to kill and start."""

    def _start_cloud(self) -> None:
        pass


class Storm:
    """One run. `account` outlives the component that works on it."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.world: World = simulated_world(seed)
        self.random = Random(seed)
        self.directory = directory
        self.wrong: list[str] = []
        self.count = 0
        self.provider: SimProvider | None = None
        self.history: object = None

    async def run(self) -> None:
        options = ClusterOptions(secure_port=None, nodes=0, cloud="sim", controllers=_CONTROLLERS)
        async with _Cluster(options, self.world) as cluster:
            self.client = cluster.client()
            self.account = Account(_WILD, self.world)
            await self._prepare()
            async with Tasks("test") as tasks:
                watching = tasks.start("watch", self._watch_nodes())
                component = tasks.start("cloud", self._component(STORM_S))
                await self._rage()
                await component
                self.account.config = _CALM
                component = tasks.start("calm cloud", self._component(CALM_S))
                await self._settle()
                component.cancel()
                watching.cancel()
                self.history = await self._history()

    async def _settle(self) -> None:
        """Until everything is as it should be twice, a minute apart; what is wrong then stays so."""
        end_s = self.world.clock.monotonic() + CALM_S - CHECK_S
        lasting, right = list(self.wrong), 0
        while right < 2 and self.world.clock.monotonic() < end_s:
            await asyncio.sleep(CHECK_S)
            self.wrong = list(lasting)
            await self._judge()
            right = right + 1 if self.wrong == lasting else 0

    async def _history(self) -> object:
        """Equal for two runs in which the same happened."""
        nodes = await self.client.list(NODES)
        uids = [node["metadata"]["uid"] for node in nodes["items"]]
        return nodes["metadata"]["resourceVersion"], uids, self.account.calls, self.world.clock.monotonic()

    async def _prepare(self) -> None:
        spec = {"provisioner": "sim.pilothouse.dev", "allowVolumeExpansion": True}
        for name, mode in (("now", "Immediate"), ("later", "WaitForFirstConsumer")):
            await self._create(
                STORAGE_CLASSES, {"metadata": {"name": name}, **spec, "volumeBindingMode": mode}
            )

    async def _component(self, seconds: float) -> None:
        """Killed and started again at random moments, for so long."""
        end_s = self.world.clock.monotonic() + seconds
        while (left_s := end_s - self.world.clock.monotonic()) > 0:
            manager = CloudControllerManager(
                self.client,
                lambda account: self.client,
                self.world,
                new_registry(),
                _SETTINGS,
                open_provider=lambda setting: SimProvider(setting, self.account),
                config=None,
                directory=self.directory,
            )
            assert isinstance(manager.provider, SimProvider)
            self.provider = manager.provider
            life_s = self.random.uniform(20, 200) if self.account.config is _WILD else left_s
            try:
                async with asyncio.timeout(min(life_s, left_s)):
                    await manager.run()
            except TimeoutError:
                pass

    async def _watch_nodes(self) -> None:
        """Nobody deletes a node here but the controller, and it may only when the machine is gone."""
        async for batch in self.client.watch(NODES):
            for event in batch:
                machine = self.account.machines.get(event.object["metadata"]["annotations"][MACHINE])
                if event.type == "DELETED" and machine is not None and machine.gone_s is None:
                    self.wrong.append(
                        f"node {event.object['metadata']['name']} was deleted, and {machine.id} is there"
                    )

    # -- the storm ---------------------------------------------------------------------------------------

    async def _rage(self) -> None:
        end_s = self.world.clock.monotonic() + STORM_S
        deeds: list[Callable[[], Awaitable[None]]] = [
            self._new_service,
            self._new_service,
            self._change_service,
            self._end_service,
            self._new_claim,
            self._new_claim,
            self._new_pod,
            self._new_pod,
            self._grow_claim,
            self._end_claim,
            self._end_pod,
            self._resize_group,
        ]
        while self.world.clock.monotonic() < end_s:
            await asyncio.sleep(self.random.uniform(0.5, 8.0))
            try:
                await self.random.choice(deeds)()
            except ApiError as error:
                assert error.code in (403, 404, 409, 422), error

    async def _create(self, resource: Resource, obj: Obj) -> None:
        typed = {"apiVersion": resource.group_version, "kind": resource.kind, **obj}
        await self.client.create(resource, typed, "default" if resource.namespaced else "")

    async def _any(self, resource: Resource) -> Obj | None:
        found = (await self.client.list(resource, "default"))["items"]
        found = [o for o in found if o["metadata"]["name"] != "kubernetes"]
        return self.random.choice(found) if found else None

    def _name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}-{self.count}"

    async def _new_service(self) -> None:
        spec = {"type": "LoadBalancer", "ports": [{"port": self.random.randint(1, 1000)}]}
        await self._create(SERVICES, {"metadata": {"name": self._name("s")}, "spec": spec})

    async def _change_service(self) -> None:
        service = await self._any(SERVICES)
        if service is not None:
            kind = self.random.choice(["ClusterIP", "LoadBalancer"])
            body = {"spec": {"type": kind, "ports": [{"port": self.random.randint(1, 1000)}]}}
            await self.client.patch(SERVICES, service["metadata"]["name"], body, "default")

    async def _end_service(self) -> None:
        await self._end(SERVICES)

    async def _new_claim(self) -> None:
        spec = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": self.random.choice(["now", "later"]),
            "resources": {"requests": {"storage": "1Gi"}},
        }
        await self._create(CLAIMS, {"metadata": {"name": self._name("c")}, "spec": spec})

    async def _grow_claim(self) -> None:
        claim = await self._any(CLAIMS)
        if claim is not None:
            body = {"spec": {"resources": {"requests": {"storage": f"{self.random.randint(1, 9)}Gi"}}}}
            await self.client.patch(CLAIMS, claim["metadata"]["name"], body, "default")

    async def _end_claim(self) -> None:
        await self._end(CLAIMS)

    async def _new_pod(self) -> None:
        claim = await self._any(CLAIMS)
        if claim is not None:
            volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}}
            spec = {
                "containers": [{"name": "c", "image": "i"}],
                "volumes": [volume],
                "terminationGracePeriodSeconds": 1,
            }
            await self._create(PODS, {"metadata": {"name": self._name("p")}, "spec": spec})

    async def _end_pod(self) -> None:
        await self._end(PODS)

    async def _end(self, resource: Resource) -> None:
        found = await self._any(resource)
        if found is not None:
            await self.client.delete(resource, found["metadata"]["name"], "default")

    async def _resize_group(self) -> None:
        assert self.provider is not None
        machines = self.provider.machines
        group = self.random.choice(machines.groups())
        members = machines.members(group.name)
        try:
            if members and self.random.random() < 0.5:
                machines.shrink(group.name, [self.random.choice(members).node])
            else:
                machines.grow(group.name, 1)
        except ValueError:
            pass  # at its bounds

    # -- the verdict -------------------------------------------------------------------------------------

    async def _judge(self) -> None:
        account = self.account
        await self._judge_services()
        await self._judge_volumes()
        nodes = (await self.client.list(NODES))["items"]
        machines = {f"sim:///{m.id}": m for m in account.alive(account.machines)}
        self._same("nodes", {n["spec"].get("providerID") for n in nodes}, set(machines))
        networks = {(n["metadata"]["name"], c) for n in nodes for c in n["spec"].get("podCIDRs") or ()}
        self._same("routes", {(w.node, w.destination) for w in account.alive(account.ways)}, networks)
        for node in nodes:
            if node["spec"].get("taints"):
                self.wrong.append(f"{node['metadata']['name']} has taints: {node['spec']['taints']}")
        if account.throttled:
            self.wrong.append(f"{account.throttled} calls were throttled")

    async def _judge_services(self) -> None:
        services = (await self.client.list(SERVICES))["items"]
        wanted = [s for s in services if s["spec"]["type"] == "LoadBalancer"]
        names = {f"kubernetes-{s['metadata']['uid']}" for s in wanted}
        balancers = {b.id: b for b in self.account.alive(self.account.balancers)}
        self._same("load balancers", set(balancers), names)
        for service in services:
            finalizers = service["metadata"].get("finalizers") or []
            reached = [i["ip"] for i in service["status"]["loadBalancer"].get("ingress") or ()]
            balancer = balancers.get(f"kubernetes-{service['metadata']['uid']}")
            if reached != [balancer.address] if balancer else reached or finalizers:
                self.wrong.append(f"service {service['metadata']['name']}: {reached} {finalizers} {balancer}")
            if balancer is not None and balancer.ports != (("TCP", service["spec"]["ports"][0]["port"]),):
                self.wrong.append(f"service {service['metadata']['name']}: {balancer.ports}")

    async def _judge_volumes(self) -> None:
        volumes = (await self.client.list(PERSISTENT_VOLUMES))["items"]
        disks = {d.id: d for d in self.account.alive(self.account.disks)}
        handles = {v["spec"]["csi"]["volumeHandle"]: v["metadata"]["name"] for v in volumes}
        self._same("volumes", set(disks), set(handles))
        attachments = (await self.client.list(VOLUME_ATTACHMENTS))["items"]
        by_name = {v["metadata"]["name"]: v["spec"]["csi"]["volumeHandle"] for v in volumes}
        said = {
            (by_name.get(a["spec"]["source"]["persistentVolumeName"]), a["spec"]["nodeName"])
            for a in attachments
        }
        machines = {m.id: m.node for m in self.account.alive(self.account.machines)}
        done = {(d.id, machines.get(m, m)) for d in disks.values() for m in d.attached}
        self._same("attachments", done, said)
        for claim in (await self.client.list(CLAIMS))["items"]:
            if claim["metadata"].get("deletionTimestamp") and not await self._in_use(claim):
                self.wrong.append(
                    f"claim {claim['metadata']['name']} does not go: {claim['metadata']['finalizers']}"
                )

    async def _in_use(self, claim: Obj) -> bool:
        pods = (await self.client.list(PODS, "default"))["items"]
        name = claim["metadata"]["name"]
        return any(
            v["persistentVolumeClaim"]["claimName"] == name for p in pods for v in p["spec"]["volumes"][:1]
        )

    def _same(self, what: str, found: set[object], wanted: set[object]) -> None:
        if found != wanted:
            self.wrong.append(f"{what}: leaked {found - wanted}, missing {wanted - found}")


def _storm(seed: int, directory: Path) -> Storm:
    storm = Storm(seed, directory)
    run_virtual(storm.run())
    assert not storm.wrong, f"seed {seed}: " + "; ".join(storm.wrong)
    return storm


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_leaks_on_a_cloud_with_bad_habits(seed: int, tmp_path: Path) -> None:
    _storm(seed, tmp_path)


def test_the_same_seed_is_the_same_storm_and_it_does_everything(tmp_path: Path) -> None:
    first, second = _storm(90, tmp_path), _storm(90, tmp_path)
    assert first.history == second.history
    assert {*first.account.calls} >= {
        "AttachVolume",
        "CreateRoute",
        "CreateVolume",
        "DeleteLoadBalancer",
        "DeleteRoute",
        "DeleteVolume",
        "DescribeInstances",
        "DetachVolume",
        "EnsureLoadBalancer",
        "ListRoutes",
        "ModifyVolume",
    }


@pytest.mark.long
@pytest.mark.parametrize("seed", MANY)
def test_nothing_leaks_in_many_storms(seed: int, tmp_path: Path) -> None:
    _storm(seed, tmp_path)
