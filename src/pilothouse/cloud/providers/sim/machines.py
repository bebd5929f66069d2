"""Node groups: instances that become simulated nodes when they have started, and may vanish.

    grown ──▶ instance starting ──▶ running: node registers ──▶ … ──▶ vanished, or shrunk: the machine is dead
                                                                    its kubelet says nothing any more

A node is registered as its kubelet with --cloud-provider=external would, and marked as simulated, so that the simulated
nodes of `pilothouse up` (or `pilothouse nodes`) adopt it. Nodes that are there already, those of `up --nodes`, get an
instance each.
"""

from __future__ import annotations

import logging

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.informer import Informer, Informers, key_of
from pilothouse.cloud.node_taints import UNINITIALIZED
from pilothouse.cloud.provider import NotFound
from pilothouse.cloud.providers.sim.account import Account, Machine
from pilothouse.cloud.providers.sim.config import NodeGroup
from pilothouse.cloud.providers.sim.faces import SCHEME

log = logging.getLogger(__name__)

SIMULATED = "pilothouse.dev/simulated"
STOPPED = "pilothouse.dev/stopped"
MACHINE = "sim.pilothouse.dev/machine"
"""The annotation of nodes that were registered here: the instance that they are."""
ATTACHED_BY_CONTROLLER = "volumes.kubernetes.io/controller-managed-attach-detach"
"""The annotation of every kubelet: volumes are not attached to nodes without it."""
_TICK_S = 1.0
_UNGROUPED = ""


class Machines:
    def __init__(self, account: Account, client: Client, informers: Informers) -> None:
        self._account = account
        self._client = client
        self._nodes: Informer = informers.informer(NODES)
        self._groups = {group.name: group for group in account.config.node_groups}
        self._targets = {name: group.size for name, group in self._groups.items()}
        self._registered: set[str] = set()

    # -- node groups, for the autoscaler's API ---------------------------------------------------------------

    def groups(self) -> list[NodeGroup]:
        return list(self._groups.values())

    def target(self, name: str) -> int:
        return self._targets[self._group(name).name]

    def members(self, name: str) -> list[Machine]:
        group = self._group(name)
        return [m for m in self._account.alive(self._account.machines) if m.group == group.name]

    def grow(self, name: str, delta: int) -> int:
        """The new size. ValueError past the group's maximum."""
        group, size = self._group(name), self.target(name) + delta
        if delta <= 0 or size > group.max:
            raise ValueError(f"node group {name} has {self.target(name)} of at most {group.max} nodes")
        self._targets[name] = size
        return size

    def shrink(self, name: str, nodes: list[str]) -> int:
        """Delete these nodes' machines. ValueError below the minimum, NotFound for a node that is not of the group."""
        group, members = self._group(name), {m.node: m for m in self.members(name)}
        for node in nodes:
            if node not in members:
                raise NotFound(f"node {node} is not of node group {name}")
        size = self.target(name) - len(nodes)
        if size < group.min:
            raise ValueError(f"node group {name} has {self.target(name)} nodes, and {group.min} at least")
        for node in nodes:
            self._account.end(members[node])
        self._targets[name] = size
        return size

    def _group(self, name: str) -> NodeGroup:
        if name not in self._groups:
            raise NotFound(f"there is no node group {name}")
        return self._groups[name]

    # -- work ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        await self._nodes.synced()
        self._remember()
        while True:
            self._give_instances()
            self._start_missing()
            self._vanish()
            for machine in list(self._account.machines.values()):
                try:
                    await self._tend(machine)
                except (ApiError, ConnectionError) as error:
                    log.info("instance %s: %s; trying again", machine.id, error)
            await self._account.world.clock.sleep(_TICK_S)

    def _remember(self) -> None:
        """A cloud outlives its controllers: on an empty one, nodes that have an instance's id had it before."""
        if self._account.machines:
            return
        for node in self._nodes.list():
            provider_id = (node.get("spec") or {}).get("providerID") or ""
            if provider_id.startswith(f"{SCHEME}/"):
                zone = _label(node, "topology.kubernetes.io/zone")
                self._add(provider_id.removeprefix(f"{SCHEME}/"), key_of(node), zone, "medium", _UNGROUPED)

    def _give_instances(self) -> None:
        """Nodes that came without us are machines too, spread over the zones."""
        zones = self._account.config.zones
        for number, node in enumerate(sorted(self._nodes.list(), key=key_of)):
            if not _identity(node) and self._account.machine_of(key_of(node)) is None:
                zone = _label(node, "topology.kubernetes.io/zone") or zones[number % len(zones)]
                self._add(self._account.next_id("i"), key_of(node), zone, "medium", _UNGROUPED)

    def _add(
        self, identity: str, node: str, zone: str, kind: str, group: str, starts_s: float = 0.0
    ) -> Machine:
        now = self._account.now_s()
        made = Machine(identity, now, None, node, zone, kind, group, started_s=now + starts_s)
        self._account.machines[identity] = made
        return made

    def _start_missing(self) -> None:
        account = self._account
        for name, group in self._groups.items():
            room = account.config.quotas.instances - len(account.alive(account.machines))
            missing = self._targets[name] - len(self.members(name))
            for _ in range(min(missing, room)):
                identity = account.next_id("i")
                starts_s = account.draw(account.config.instances.start_seconds)
                self._add(
                    identity, f"{name}-{identity.removeprefix('i-')}", group.zone, group.type, name, starts_s
                )

    def _vanish(self) -> None:
        account = self._account
        share = account.config.instances.vanish_per_hour * _TICK_S / 3600.0
        for machine in account.alive(account.machines):
            if account.random.random() < share:
                account.end(machine)

    async def _tend(self, machine: Machine) -> None:
        """Bring the node to what its machine is."""
        node = self._nodes.get(machine.node)
        if machine.gone_s is not None:
            if node is not None and _identity(node) in ("", machine.id):
                await self._stop_kubelet(node)
            else:
                self._forget(machine)
        elif (
            machine.group
            and machine.id not in self._registered
            and machine.started_s <= self._account.now_s()
        ):
            await self._register(machine)

    def _forget(self, machine: Machine) -> None:
        if (
            machine.gone_s is not None
            and machine.gone_s < self._account.now_s() - self._account.config.lag_seconds
        ):
            del self._account.machines[machine.id]
            self._registered.discard(machine.id)

    async def _register(self, machine: Machine) -> None:
        group = self._groups[machine.group]
        taint = {"key": UNINITIALIZED, "value": "true", "effect": "NoSchedule"}
        node: Obj = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": machine.node,
                "labels": {**group.labels, "kubernetes.io/hostname": machine.node},
                "annotations": {SIMULATED: "true", MACHINE: machine.id, ATTACHED_BY_CONTROLLER: "true"},
            },
            "spec": {"taints": [taint, *group.taints]},
        }
        try:
            await self._client.create(NODES, node)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        self._registered.add(machine.id)

    async def _stop_kubelet(self, node: Obj) -> None:
        """A dead machine's kubelet says nothing more."""
        if (node["metadata"].get("annotations") or {}).get(STOPPED) != "true":
            await self._client.patch(NODES, key_of(node), {"metadata": {"annotations": {STOPPED: "true"}}})


def _identity(node: Obj) -> str:
    """The instance that a node is; "" while nobody has said."""
    provider_id = str((node.get("spec") or {}).get("providerID") or "")
    told = (node["metadata"].get("annotations") or {}).get(MACHINE) or ""
    return provider_id.removeprefix(f"{SCHEME}/") or str(told)


def _label(node: Obj, key: str) -> str:
    return str((node["metadata"].get("labels") or {}).get(key) or "")
