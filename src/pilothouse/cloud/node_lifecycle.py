"""Cloud node lifecycle controller: nodes that are not ready are asked about in the cloud
(k8s.io/cloud-provider/controllers/nodelifecycle, https://kubernetes.io/docs/concepts/architecture/cloud-controller/).

    ready ───────────────────────▶ the shutdown taint goes
    not ready ─┬─ no instance ───▶ the node is deleted
               ├─ shut down ─────▶ the shutdown taint comes
               └─ in doubt ──────▶ nothing, and asked again next time

All nodes are asked about together, every --node-monitor-period, so that a provider can answer with few calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.cloud import node_taints
from pilothouse.cloud.ahead import Ahead
from pilothouse.cloud.provider import CloudError, Instances
from pilothouse.kit.world import parse_timestamp

log = logging.getLogger(__name__)

EXCLUDED = "node.kubernetes.io/exclude-from-lifecycle-management"
"""The label of nodes that are left alone."""
YOUNG_S = 60.0
"""Clouds show a new instance late to who asks by its name: a node that was not described yet is not deleted so soon
after it came."""


class CloudNodeLifecycleController(Controller):
    name: ClassVar[str] = "cloud-node-lifecycle-controller"

    def __init__(self, env: Environment, instances: Instances, monitor_s: float) -> None:
        super().__init__(env)
        self._instances = instances
        self._states = Ahead(env.world, self._state, monitor_s)
        self._monitor_s = monitor_s
        self._due_s: dict[str, float] = {}
        """When a node that is not ready is asked about, by the world's monotonic clock: all at once, in rounds."""

    def setup(self) -> None:
        self._nodes = self.watch(NODES, changed=_readiness_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            await super().run()
        finally:
            self._states.close()

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None or _is_excluded(node) or _is_ready(node):
            self._due_s.pop(key, None)
            if node is not None and not _is_excluded(node):
                await node_taints.remove(self.client, node, node_taints.SHUTDOWN)
            return None
        now = self.world.clock.monotonic()
        if self._due_s.setdefault(key, self._next_round_s()) <= now:
            self._due_s[key] = self._next_round_s()
            try:
                await self._ask(node)
            except CloudError as error:
                log.warning("error checking if node %s exists: %s", key, error)
        return max(self._due_s[key] - self.world.clock.monotonic(), 0.0)

    async def _ask(self, node: Obj) -> None:
        exists, is_shut_down = await self._states.about(node, self._waiting)
        if not exists:
            if not self._is_young(node):
                await self._delete(node)
        elif is_shut_down:
            taint = {"key": node_taints.SHUTDOWN, "effect": "NoSchedule"}
            await node_taints.add(self.client, node, taint)

    async def _state(self, node: Obj) -> tuple[bool, bool]:
        """Whether the instance exists, and whether it is shut down: asked together, one call answers both."""
        exists, is_shut_down = await asyncio.gather(
            self._instances.exists(node), self._instances.is_shut_down(node), return_exceptions=True
        )
        if isinstance(exists, BaseException):
            raise exists
        if exists and isinstance(is_shut_down, BaseException):
            raise is_shut_down
        return exists, is_shut_down is True

    def _waiting(self) -> Iterable[Obj]:
        now = self.world.clock.monotonic()
        return (node for node in self._nodes.list() if self._due_s.get(key_of(node), now + 1.0) <= now)

    async def _delete(self, node: Obj) -> None:
        name, uid = key_of(node), node["metadata"]["uid"]
        regarding = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}
        message = f"Deleting node {name} because it does not exist in the cloud provider"
        self.recorder.event(regarding, "Normal", "DeletingNode", message)
        try:
            # The node that was asked about: one of the same name may have come since.
            await self.client.delete(NODES, name, options={"preconditions": {"uid": uid}})
        except ApiError as error:
            if error.code == 404:
                return
            why = f"Failed deleting node {name}: {error}"
            self.recorder.event(regarding, "Warning", "DeletingNodeFailed", why)

    def _is_young(self, node: Obj) -> bool:
        age_s = self.world.now() - parse_timestamp(node["metadata"]["creationTimestamp"])
        return not (node.get("spec") or {}).get("providerID") and age_s < YOUNG_S

    def _next_round_s(self) -> float:
        return self._monitor_s * (self.world.clock.monotonic() // self._monitor_s + 1)


def _is_excluded(node: Obj) -> bool:
    return EXCLUDED in (node["metadata"].get("labels") or {})


def _is_ready(node: Obj) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _readiness_changed(old: Obj, new: Obj) -> bool:
    """Heartbeats move nothing; a node that is ready is looked at when a taint has to go."""
    if _is_ready(new):
        return not _is_ready(old) or node_taints.has(new, node_taints.SHUTDOWN)
    return _is_ready(old)
