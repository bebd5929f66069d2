"""Route controller: the cloud's network leads each node's pod networks to it (k8s.io/cloud-provider/controllers/route).

All routes are compared at once, when a node comes, goes or gets its networks, and every --route-reconciliation-period.
A node's condition NetworkUnavailable tells whether its routes are there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.cloud import routing
from pilothouse.cloud.provider import CloudError, Route, Routes

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Calls for routes at the same time."""
_ALL = "routes"


class RouteController(Controller):
    name: ClassVar[str] = "node-route-controller"
    workers: ClassVar[int] = 1

    def __init__(self, env: Environment, routes: Routes, within: Iterable[str], period_s: float) -> None:
        super().__init__(env)
        self._routes = routes
        self._within = [ip_network(network, strict=False) for network in within]
        self._period_s = period_s
        self._room = asyncio.Semaphore(AT_ONCE)

    def setup(self) -> None:
        self._nodes = self.watch(NODES, keys=lambda node: (_ALL,), changed=_networks_changed)

    async def run(self) -> None:
        """Work until cancelled; routes of nodes that went while nobody looked go, too."""
        self.queue.add(_ALL)
        await super().run()

    async def reconcile(self, key: str) -> float | None:
        nodes = {key_of(node): node for node in self._nodes.list()}
        try:
            present = await self._routes.list()
        except CloudError as error:
            raise TryAgain(f"error listing routes: {error}") from error
        plan = routing.plan(nodes.values(), present, self._within)
        # Deleted first: a network that moved to another node has one route at a time.
        await asyncio.gather(*(self._delete(route) for route in plan.delete))
        made = await asyncio.gather(*(self._create(nodes[name], network) for name, network in plan.create))
        failed = {name for (name, _), done in zip(plan.create, made, strict=True) if not done}
        await self._report([node for node in nodes.values() if routing.pod_networks(node)], failed)
        return self._period_s

    async def _delete(self, route: Route) -> None:
        async with self._room:
            try:
                await self._routes.delete(route)
            except CloudError as error:
                log.warning("could not delete route %s %s: %s", route.name, route.destination, error)

    async def _create(self, node: Obj, network: str) -> bool:
        name, uid = key_of(node), node["metadata"]["uid"]
        async with self._room:
            began_s = self.world.clock.monotonic()
            try:
                await self._routes.create(uid, Route("", name, network), node)
            except CloudError as error:
                took_s = self.world.clock.monotonic() - began_s
                message = f"Could not create route {uid} {network} for node {name} after {took_s * 1000:.0f}ms: {error}"
                regarding = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": name}
                self.recorder.event(regarding, "Warning", "FailedToCreateRoute", message)
                return False
        return True

    async def _report(self, nodes: Sequence[Obj], failed: set[str]) -> None:
        await asyncio.gather(*(self._set_condition(node, key_of(node) not in failed) for node in nodes))

    async def _set_condition(self, node: Obj, done: bool) -> None:
        status = "False" if done else "True"
        conditions = (node.get("status") or {}).get("conditions") or ()
        if any(c["type"] == "NetworkUnavailable" and c["status"] == status for c in conditions):
            return
        now = self.world.timestamp()
        condition = {
            "type": "NetworkUnavailable",
            "status": status,
            "reason": "RouteCreated" if done else "NoRouteCreated",
            "message": "RouteController created a route"
            if done
            else "RouteController failed to create a route",
            "lastTransitionTime": now,
            "lastHeartbeatTime": now,
        }
        body = {"status": {"conditions": [condition]}}
        try:
            await self.client.patch(NODES, key_of(node), body, patch_type="strategic", subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _networks_changed(old: Obj, new: Obj) -> bool:
    """Heartbeats move nothing."""
    return routing.pod_networks(old) != routing.pod_networks(new)
