"""Cloud node controller: what a node is told of its machine (k8s.io/cloud-provider/controllers/node).

registers with the taint `uninitialized` ──▶ provider ID, labels; the taint goes ──▶ addresses
described already ──▶ every --node-status-update-frequency: addresses
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.cloud import node_facts, node_taints
from pilothouse.cloud.ahead import Ahead
from pilothouse.cloud.provider import CloudError, Instance, Instances
from pilothouse.kit.metrics import exponential_buckets, histogram
from pilothouse.kit.world import parse_timestamp

_FRESH_S = 30.0


class CloudNodeController(Controller):
    name: ClassVar[str] = "cloud-node-controller"
    workers: ClassVar[int] = 1

    def __init__(self, env: Environment, instances: Instances, status_s: float) -> None:
        super().__init__(env)
        self._instances = Ahead(env.world, instances.describe, _FRESH_S)
        self._status_s = status_s
        self._due_s: dict[str, float] = {}
        """When a node's addresses are looked at again, by the world's monotonic clock."""
        self._delay = histogram(
            env.metrics,
            "node_controller_initial_node_sync_delay_seconds",
            "Number of seconds after node creation when the initial synchronization of the node finished.",
            buckets=exponential_buckets(1.0, 2.0, 15),
        )

    def setup(self) -> None:
        self._nodes = self.watch(NODES, changed=_matters)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await super().run()
        finally:
            self._instances.close()

    async def _describe(self, node: Obj) -> Instance:
        return await self._instances.about(node, self._waiting)

    def _waiting(self) -> Iterable[Obj]:
        now = self.world.clock.monotonic()
        for node in self._nodes.list():
            is_new = node_taints.has(node, node_taints.UNINITIALIZED)
            if is_new or self._due_s.get(key_of(node), 0.0) <= now:
                yield node

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            self._due_s.pop(key, None)
            return None
        try:
            if node_taints.has(node, node_taints.UNINITIALIZED):
                await self._initialise(key, node)
            else:
                await self._refresh(key, node)
        except CloudError as error:
            raise TryAgain(f"failed to get instance metadata for node {key}: {error}") from error
        return max(self._due_s[key] - self.world.clock.monotonic(), 0.0)

    async def _initialise(self, name: str, node: Obj) -> None:
        instance = await self._describe(node)
        wanted = node_facts.described(node, instance)
        node = await self.client.update(NODES, {**wanted, "apiVersion": "v1", "kind": "Node"})
        await self._set_addresses(node, instance)
        self._due_s[name] = self._next_round_s()
        uid = node["metadata"]["uid"]
        regarding = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
        self.recorder.event(regarding, "Normal", "Synced", "Node synced successfully")
        self._delay.observe(self.world.now() - parse_timestamp(node["metadata"]["creationTimestamp"]))

    async def _refresh(self, name: str, node: Obj) -> None:
        labels = node_facts.twins(node["metadata"].get("labels") or {})
        if labels:
            await self.client.patch(NODES, name, {"metadata": {"labels": labels}})
        if self._due_s.get(name, 0.0) > self.world.clock.monotonic():
            return
        self._due_s[name] = self._next_round_s()
        await self._set_addresses(node, await self._describe(node))

    def _next_round_s(self) -> float:
        """All nodes at once, as upstream: they cost few calls together."""
        return self._status_s * (self.world.clock.monotonic() // self._status_s + 1)

    async def _set_addresses(self, node: Obj, instance: Instance) -> None:
        wanted = node_facts.addresses(node, instance)
        if wanted is None:
            return
        name = key_of(node)
        patch = [{"op": "add", "path": "/status/addresses", "value": wanted}]
        try:
            await self.client.patch(NODES, name, patch, patch_type="json", subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _matters(old: Obj, new: Obj) -> bool:
    """Heartbeats move nothing."""
    return bool(
        old["metadata"].get("labels") != new["metadata"].get("labels")
        or (old.get("spec") or {}) != (new.get("spec") or {})
    )
