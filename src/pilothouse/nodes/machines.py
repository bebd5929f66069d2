"""The nodes of the fleet: they register, renew their leases and report their status.

As a kubelet does: a lease of 40 s renewed every 10 s, the status looked at every 10 s and written when it changed
or five minutes have passed, and no new registration of a node object that somebody deleted (until the next start).
Beats are spread over the period, so that thousands of nodes don't beat at once.

A node is of the fleet when it was registered here, or when its object says so with an annotation
(`kwok.x-k8s.io/node: fake`, or `pilothouse.dev/simulated: "true"`). `pilothouse.dev/stopped: "true"` stops its
kubelet, as if the machine had died, until it is taken away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import LEASES, NODES
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.informer import Informer
from pilothouse.kit.world import World
from pilothouse.nodes import addresses, node_status
from pilothouse.nodes.behaviour import PREFIX
from pilothouse.nodes.kubelet_events import KubeletEvents
from pilothouse.nodes.life import Note

log = logging.getLogger(__name__)

LEASE_S = 40
_REGISTER_S_MIN, _REGISTER_S_MAX = 0.1, 7.0
BEAT_S = 10.0
STATUS_S = 300.0
_TICK_S = 0.1
_ADOPT_S = 1.0
_AT_ONCE = 100
LEASE_NAMESPACE = "kube-node-lease"
_ADOPTED = (("kwok.x-k8s.io/node", "fake"), (f"{PREFIX}simulated", "true"))
_STOPPED = f"{PREFIX}stopped"
_UNINITIALIZED = {
    "key": "node.cloudprovider.kubernetes.io/uninitialized",
    "value": "true",
    "effect": "NoSchedule",
}
"""What a kubelet with --cloud-provider=external registers with: a cloud controller manager takes it away."""


@dataclass(slots=True)
class _Machine:
    index: int
    reported_s: float | None = None
    """Monotonic; None before the first report."""
    checked: str = ""
    """The revision of the node that was looked at last."""
    lease: Obj | None = None
    """As the API server had it after the last renewal."""


class Machines:
    """`count` nodes named node-0, node-1, … and those that objects ask for. `is_staged` says of which nodes
    stage files write the status. With `external_cloud`
    new ones wait for a cloud to describe them, and adopted ones are told the network that their pods get addresses of,
    so that the cloud can lead there."""

    def __init__(
        self,
        client: Client,
        informer: Informer,
        world: World,
        events: KubeletEvents,
        count: int,
        is_staged: Callable[[str, Obj], bool],
        external_cloud: bool = False,
    ) -> None:
        self._client = client
        self._informer = informer
        self._world = world
        self._events = events
        self._is_staged = is_staged
        self._external_cloud = external_cloud
        self._own = [f"node-{i}" for i in range(count)]
        self._machines = {name: _Machine(i) for i, name in enumerate(self._own)}
        self._adopted: list[str] = []
        """Those that have not beaten yet."""
        self._beating: dict[str, asyncio.Task[None]] = {}
        """Heartbeats that have no answer yet."""
        self.on_back: Callable[[str], None] = lambda name: None
        informer.add_handler(self)

    def __contains__(self, name: str) -> bool:
        return name in self._machines

    def index(self, name: str) -> int:
        return self._machines[name].index

    def node(self, name: str) -> Obj | None:
        return self._informer.get(name)

    def has_reported(self, name: str) -> bool:
        """Whether the node's status says anything: before that nobody knows what fits."""
        node = self._informer.get(name)
        return node is not None and bool((node.get("status") or {}).get("conditions"))

    def is_stopped(self, name: str) -> bool:
        node = self._informer.get(name)
        return node is not None and _annotation(node, _STOPPED) == "true"

    # -- handler of nodes -------------------------------------------------------------------------------

    def on_add(self, obj: Obj) -> None:
        name = obj["metadata"]["name"]
        if name not in self._machines and any(_annotation(obj, k) == v for k, v in _ADOPTED):
            self._machines[name] = _Machine(self._index_for(obj))
            self._adopted.append(name)
            self.on_back(name)

    def _index_for(self, node: Obj) -> int:
        """The place of an adopted node: the one that it had before, by the address it reported, or a new one."""
        taken = {machine.index for machine in self._machines.values()}
        for address in (node.get("status") or {}).get("addresses") or ():
            index = addresses.node_index(address["address"]) if address["type"] == "InternalIP" else None
            if index is not None and index not in taken:
                return index
        return max(taken, default=-1) + 1

    def on_update(self, old: Obj, new: Obj) -> None:
        self.on_add(new)
        if _annotation(old, _STOPPED) == "true" != _annotation(new, _STOPPED):
            self.on_back(new["metadata"]["name"])

    def on_delete(self, obj: Obj) -> None:
        """Its kubelet goes on in vain, until an object of that name is there again."""
        machine = self._machines.get(obj["metadata"]["name"])
        if machine is not None:
            machine.reported_s, machine.checked, machine.lease = None, "", None

    # -- work -------------------------------------------------------------------------------------------

    async def register(self) -> None:
        """Make the nodes of the fleet that are not there yet."""
        for names in _batches(self._own, _AT_ONCE):
            await asyncio.gather(*(self._register_in_time(name) for name in names))

    async def run(self) -> None:
        """Beat until cancelled: every node once in BEAT_S, and at once when it is adopted."""
        try:
            await self._rounds()
        finally:
            beating = list(self._beating.values())
            for task in beating:
                task.cancel()
            await asyncio.gather(*beating, return_exceptions=True)

    async def _rounds(self) -> None:
        due_s = self._world.clock.monotonic()
        while True:
            names = list(self._machines)
            rounds = max(1, min(len(names), int(BEAT_S / _TICK_S)))
            size = -(-len(names) // rounds) if names else 0
            for start in range(rounds):
                self._start(names[start * size : (start + 1) * size])
                due_s = max(due_s + BEAT_S / rounds, self._world.clock.monotonic() - BEAT_S)
                await self._rest(due_s)

    def _start(self, names: Iterable[str]) -> None:
        """Let nodes beat, and wait for none: if a round lasted as long as a busy server's answer, a hundred of them
        would outlast a lease. A node that waits for its answer yet is left alone."""
        loop = asyncio.get_running_loop()
        for name in names:
            if name not in self._beating:
                self._beating[name] = loop.create_task(self._beat(name), name=f"heartbeat of {name}")

    async def _rest(self, until_s: float) -> None:
        """Between two rounds; nodes that come meanwhile don't wait for theirs."""
        while True:
            left_s = until_s - self._world.clock.monotonic()
            await self._world.clock.sleep(max(0.0, min(left_s, _ADOPT_S)))
            adopted, self._adopted = self._adopted, []
            self._start(adopted)
            if left_s <= _ADOPT_S:
                return

    async def _register_in_time(self, name: str) -> None:
        """Try until the server takes it, as a kubelet does (registerWithAPIServer: 100 ms to 7 s)."""
        delay_s = _REGISTER_S_MIN
        while True:
            try:
                await self._register(name)
            except (ApiError, ConnectionError) as error:
                log.warning("node %s: not registered: %s; trying again", name, error)
                await self._world.clock.sleep(delay_s)
                delay_s = min(delay_s * 2, _REGISTER_S_MAX)
            else:
                return

    async def _register(self, name: str) -> None:
        machine = self._machines[name]
        now = self._world.timestamp()
        node = self._informer.get(name)
        if node is None:
            fresh = node_status.new_node(name, machine.index, self._world.uid(), now)
            if self._external_cloud:
                fresh["spec"]["taints"] = [dict(_UNINITIALIZED)]
            bare = {k: v for k, v in fresh.items() if k != "status"}
            if self._is_staged(NODES.kind, bare):
                fresh = bare
            try:
                node = await self._client.create(NODES, fresh)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
                node = await self._client.get(NODES, name)
        self._tell_start(node)
        await self._keep(name, machine, node)

    def _tell_start(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        for reason, text in (
            ("Starting", "Starting kubelet."),
            ("NodeHasSufficientMemory", f"Node {name} status is now: NodeHasSufficientMemory"),
            ("NodeHasNoDiskPressure", f"Node {name} status is now: NodeHasNoDiskPressure"),
            ("NodeHasSufficientPID", f"Node {name} status is now: NodeHasSufficientPID"),
            ("NodeAllocatableEnforced", "Updated Node Allocatable limit across pods"),
            ("NodeReady", f"Node {name} status is now: NodeReady"),
        ):
            self._events.of_node(name, Note("Normal", reason, text))

    async def _beat(self, name: str) -> None:
        try:
            await self._beat_once(name)
        except Exception:
            log.exception("node %s: bug in its heartbeat", name)
        finally:
            self._beating.pop(name, None)

    async def _beat_once(self, name: str) -> None:
        node = self._informer.get(name)
        if node is None or _annotation(node, _STOPPED) == "true":
            return
        try:
            await self._keep(name, self._machines[name], node)
        except (ApiError, ConnectionError) as error:
            log.warning("node %s: heartbeat failed: %s", name, error)

    async def _keep(self, name: str, machine: _Machine, node: Obj) -> None:
        await self._renew(machine, node)
        if self._external_cloud and not (node.get("spec") or {}).get("podCIDRs"):
            network = addresses.pod_range(machine.index)
            await self._client.patch(NODES, name, {"spec": {"podCIDR": network, "podCIDRs": [network]}})
        if self._is_staged(NODES.kind, node):
            return
        revision = node["metadata"]["resourceVersion"]
        now_s = self._world.clock.monotonic()
        due = machine.reported_s is not None and machine.reported_s + STATUS_S <= now_s
        changed = revision != machine.checked and node_status.needs_report(node, machine.index)
        machine.checked = revision
        if machine.reported_s is None:
            machine.reported_s = now_s
        if due or changed:
            await self._report(name, machine, node)
            machine.reported_s = now_s

    async def _report(self, name: str, machine: _Machine, node: Obj) -> None:
        status = node_status.status(node, machine.index, self._world.timestamp())
        patch: Obj = {"metadata": {"uid": node["metadata"]["uid"]}, "status": status}
        patch["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"]
        try:
            await self._client.patch(NODES, name, patch, subresource="status")
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            machine.checked = ""

    async def _renew(self, machine: _Machine, node: Obj) -> None:
        """Update the lease as it was last seen; look at it again when it is not that any more
        (k8s.io/component-helpers/apimachinery/lease)."""
        lease = node_status.lease(node, LEASE_S, self._world.micro_timestamp())
        known, machine.lease = machine.lease, None
        if known is not None:
            try:
                machine.lease = await self._client.update(LEASES, {**known, "spec": lease["spec"]})
            except ApiError as error:
                if error.code not in (404, 409):
                    raise
            else:
                return
        machine.lease = await self._renew_anew(node["metadata"]["name"], lease)

    async def _renew_anew(self, name: str, lease: Obj) -> Obj:
        try:
            return await self._client.patch(LEASES, name, {"spec": lease["spec"]}, LEASE_NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
        return await self._client.create(LEASES, lease, LEASE_NAMESPACE)


def _annotation(node: Obj, key: str) -> str:
    return str((node["metadata"].get("annotations") or {}).get(key, ""))


def _batches(names: list[str], size: int) -> Iterable[list[str]]:
    return (names[i : i + size] for i in range(0, len(names), size))
