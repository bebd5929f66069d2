"""The simulated cloud as controllers ask for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pilothouse.api.types import Obj
from pilothouse.cloud.batching import Batcher
from pilothouse.cloud.provider import (
    CloudError,
    Ingress,
    Instance,
    Later,
    NoRoom,
    NotFound,
    Route,
    Segments,
    Snapshot,
    Volume,
    VolumeRequest,
)
from pilothouse.cloud.providers.sim.account import Account, Balancer, Copy, Disk, Machine, Way

SCHEME = "sim://"
DRIVER = "sim.pilothouse.dev"
ZONE = "topology.kubernetes.io/zone"
_BATCH = 100
_LOOK_AGAIN_S = 1.0


def machine_id(node: Obj) -> str:
    """ "" for a node without a provider ID. CloudError for another cloud's node."""
    provider_id = str((node.get("spec") or {}).get("providerID") or "")
    if provider_id and not provider_id.startswith(f"{SCHEME}/"):
        raise CloudError(f"node {node['metadata']['name']} is of another cloud: {provider_id}")
    return provider_id.removeprefix(f"{SCHEME}/")


class SimInstances:
    """Nodes are known by their machine's id, and by their name before they have one."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._known = Batcher(account.world, self._describe, _BATCH)

    async def exists(self, node: Obj) -> bool:
        return await self._find(node) is not None

    async def is_shut_down(self, node: Obj) -> bool:
        machine = await self._find(node)
        return machine is not None and machine.state == "stopped"

    async def describe(self, node: Obj) -> Instance:
        machine = await self._find(node)
        if machine is None:
            raise NotFound("instance not found")
        return Instance(f"{SCHEME}/{machine.id}", machine.type, (), machine.zone, self._account.config.region)

    async def _find(self, node: Obj) -> Machine | None:
        identity = machine_id(node)
        return await self._known.ask(("id", identity) if identity else ("node", node["metadata"]["name"]))

    async def _describe(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Machine]:
        return await self._account.call("DescribeInstances", lambda: self._answer(keys))

    def _answer(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Machine]:
        """By id, which does not lag; a name may be seen late, and never too long."""
        found: dict[tuple[str, str], Machine] = {}
        for kind, value in keys:
            if kind == "id":
                machine = self._account.machines.get(value)
                if machine is not None and machine.gone_s is None:
                    found[kind, value] = machine
            else:
                named = [
                    m
                    for m in self._account.seen(self._account.machines)
                    if m.node == value and m.gone_s is None
                ]
                if named:
                    found[kind, value] = max(named, key=lambda m: m.made_s)
        return found

    async def close(self) -> None:
        await self._known.close()


class SimLoadBalancers:
    def __init__(self, account: Account, cluster: str) -> None:
        self._account = account
        self._cluster = cluster

    def name(self, service: Obj) -> str:
        return f"{self._cluster}-{service['metadata']['uid']}"

    async def get(self, service: Obj) -> tuple[Ingress, ...] | None:
        found = await self._account.call("DescribeLoadBalancer", lambda: self._find(self.name(service)))
        return _reached(found) if found is not None else None

    async def ensure(self, service: Obj, nodes: Sequence[Obj]) -> tuple[Ingress, ...]:
        """Later while it is being built."""
        ports = tuple((p.get("protocol") or "TCP", int(p["port"])) for p in service["spec"]["ports"])
        behind = frozenset(str(node["metadata"]["name"]) for node in nodes)
        found = await self._account.call(
            "EnsureLoadBalancer", lambda: self._ensure(self.name(service), ports, behind)
        )
        left_s = found.ready_s - self._account.now_s()
        if left_s > 0:
            raise Later(f"load balancer {found.id} is being built", left_s)
        return _reached(found)

    def _ensure(self, name: str, ports: tuple[tuple[str, int], ...], nodes: frozenset[str]) -> Balancer:
        account = self._account
        found = self._find(name)
        if found is None:
            present = account.alive(account.balancers)
            account.make_room("load balancers", len(present), account.config.quotas.load_balancers)
            ready_s = account.now_s() + account.draw(account.config.load_balancers.ready_seconds)
            taken = {balancer.address for balancer in present}
            address = next(a for n in range(1 << 16) if (a := f"198.18.{n >> 8}.{n & 255}") not in taken)
            found = account.balancers[name] = Balancer(name, account.now_s(), None, address, ready_s)
        found.ports, found.nodes = ports, nodes
        return found

    def _find(self, name: str) -> Balancer | None:
        found = self._account.balancers.get(name)
        return found if found is not None and found.gone_s is None else None

    async def update(self, service: Obj, nodes: Sequence[Obj]) -> None:
        await self.ensure(service, nodes)

    async def delete(self, service: Obj) -> None:
        def work() -> None:
            found = self._find(self.name(service))
            if found is not None:
                self._account.end(found)
            self._account.sweep(self._account.balancers)

        await self._account.call("DeleteLoadBalancer", work)


def _reached(balancer: Balancer) -> tuple[Ingress, ...]:
    return (Ingress(ip=balancer.address, ip_mode="VIP"),)


class SimRoutes:
    def __init__(self, account: Account) -> None:
        self._account = account

    async def list(self) -> Sequence[Route]:
        account = self._account
        found = await account.call("ListRoutes", lambda: [*account.seen(account.ways)])
        return [Route(way.id, way.node, way.destination) for way in found]

    async def create(self, hint: str, route: Route, node: Obj) -> None:
        await self._account.call("CreateRoute", lambda: self._create(route))

    def _create(self, route: Route) -> None:
        """A route of that name leads here from now on: the list may not have shown it."""
        account = self._account
        name = f"{route.target_node}:{route.destination}"
        present = account.ways.get(name)
        if present is not None and present.gone_s is None:
            return
        account.make_room("routes", len(account.alive(account.ways)), account.config.quotas.routes)
        account.ways[name] = Way(name, account.now_s(), None, route.target_node, route.destination)

    async def delete(self, route: Route) -> None:
        def work() -> None:
            found = self._account.ways.get(route.name)
            if found is not None:
                self._account.end(found)
            self._account.sweep(self._account.ways)

        await self._account.call("DeleteRoute", work)


class SimVolumes:
    driver = DRIVER
    topology_keys = (ZONE,)
    grows_on_node = False

    def __init__(self, account: Account) -> None:
        self._account = account

    @property
    def attached_max(self) -> int:
        return self._account.config.volumes.per_node

    async def create(self, request: VolumeRequest) -> Volume:
        disk = await self._account.call("CreateVolume", lambda: self._create(request))
        return Volume(disk.id, disk.size_bytes, ({ZONE: disk.zone},))

    def _create(self, request: VolumeRequest) -> Disk:
        account = self._account
        present = self._named(request.name)
        if present is not None:
            if present.size_bytes < request.size_bytes:
                raise CloudError(f"volume {request.name} exists with {present.size_bytes} bytes already")
            return present
        account.make_room("volumes", len(account.alive(account.disks)), account.config.quotas.volumes)
        if request.snapshot and request.snapshot not in account.copies:
            raise NotFound(f"snapshot {request.snapshot} does not exist")
        shared = any(mode in ("ReadWriteMany", "ReadOnlyMany") for mode in request.access_modes)
        made = Disk(
            account.next_id("vol"),
            account.now_s(),
            None,
            request.name,
            self._zone(request.places),
            request.size_bytes,
            shared,
        )
        account.disks[made.id] = made
        return made

    def _zone(self, places: Sequence[Segments]) -> str:
        zones = self._account.config.zones
        wanted = [place[ZONE] for place in places if place.get(ZONE) in zones]
        if places and not wanted:
            raise NoRoom(f"no zone of this cloud among {', '.join(str(p.get(ZONE)) for p in places)}")
        return wanted[0] if wanted else zones[0]

    def _named(self, name: str) -> Disk | None:
        return next((d for d in self._account.alive(self._account.disks) if d.name == name), None)

    async def find(self, name: str) -> str | None:
        found = await self._account.call("DescribeVolume", lambda: self._named(name))
        return found.id if found is not None else None

    async def delete(self, volume: str) -> None:
        def work() -> None:
            found = self._account.disks.get(volume)
            if found is not None and found.gone_s is None:
                if found.attached:
                    raise CloudError(f"volume {volume} is attached to {', '.join(found.attached)}")
                self._account.end(found)
            self._account.sweep(self._account.disks)

        await self._account.call("DeleteVolume", work)

    async def attach(self, volume: str, node: Obj, *, read_only: bool) -> Mapping[str, str]:
        """Later while it is on its way."""
        on_s = await self._account.call("AttachVolume", lambda: self._attach(volume, node))
        left_s = on_s - self._account.now_s()
        if left_s > 0:
            raise Later(f"volume {volume} is being attached", min(left_s, 10 * _LOOK_AGAIN_S))
        return {"devicePath": f"/dev/disk/by-id/{volume}"}

    def _attach(self, volume: str, node: Obj) -> float:
        account, habits = self._account, self._account.config.volumes
        disk, machine = self._disk(volume), self._machine(node)
        if machine.id not in disk.attached:
            if disk.attached and not disk.shared:
                raise CloudError(f"volume {volume} is attached to {next(iter(disk.attached))} already")
            if machine.zone != disk.zone:
                raise CloudError(f"volume {volume} is in zone {disk.zone}, {machine.id} in {machine.zone}")
            held = sum(machine.id in d.attached for d in account.alive(account.disks))
            if held >= habits.per_node:
                raise NoRoom(f"{machine.id} holds {held} volumes already")
            stuck = account.random.random() < habits.stuck
            takes_s = habits.stuck_seconds if stuck else account.draw(habits.attach_seconds)
            disk.attached[machine.id] = account.now_s() + takes_s
        return disk.attached[machine.id]

    async def detach(self, volume: str, node: Obj) -> None:
        def work() -> None:
            found = self._account.disks.get(volume)
            identity = machine_id(node)
            if not identity:
                machine = self._account.machine_of(str(node["metadata"]["name"]))
                identity = machine.id if machine is not None else ""
            if found is not None:
                found.attached.pop(identity, None)

        await self._account.call("DetachVolume", work)

    async def expand(self, volume: str, size_bytes: int) -> int:
        def work() -> int:
            disk = self._disk(volume)
            disk.size_bytes = max(disk.size_bytes, size_bytes)
            return disk.size_bytes

        return await self._account.call("ModifyVolume", work)

    async def modify(self, volume: str, attributes: Mapping[str, str]) -> None:
        await self._account.call("ModifyVolume", lambda: self._disk(volume))

    async def snapshot(self, volume: str, name: str) -> Snapshot:
        found = await self._account.call("CreateSnapshot", lambda: self._snapshot(volume, name))
        return Snapshot(found.id, found.size_bytes, ready=True)

    def _snapshot(self, volume: str, name: str) -> Copy:
        account = self._account
        present = next((c for c in account.alive(account.copies) if c.name == name), None)
        if present is None:
            disk = self._disk(volume)
            present = Copy(account.next_id("snap"), account.now_s(), None, name, volume, disk.size_bytes)
            account.copies[present.id] = present
        elif present.disk != volume:
            raise CloudError(f"snapshot {name} is of volume {present.disk}")
        return present

    async def delete_snapshot(self, snapshot: str) -> None:
        await self._account.call("DeleteSnapshot", lambda: self._account.copies.pop(snapshot, None))

    def _disk(self, volume: str) -> Disk:
        found = self._account.disks.get(volume)
        if found is None or found.gone_s is not None:
            raise NotFound(f"volume {volume} does not exist")
        return found

    def _machine(self, node: Obj) -> Machine:
        identity = machine_id(node)
        found = (
            self._account.machines.get(identity)
            if identity
            else self._account.machine_of(node["metadata"]["name"])
        )
        if found is None or found.gone_s is not None:
            raise NotFound(f"node {node['metadata']['name']} has no instance")
        return found
