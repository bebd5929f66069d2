"""The endpoints of the service `kubernetes`: the addresses of all API servers that are alive
(pkg/controlplane/reconcilers, --endpoint-reconciler-type).

    lease   every 10 s: renew the own lease, list all leases, write what differs into Endpoints and EndpointSlice
    none    nobody writes them

A server that has the store to itself needs no lease: it writes its own address when it starts.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import ENDPOINT_SLICES, ENDPOINTS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.bootstrap.objects import Facts, kubernetes_endpoints, kubernetes_slice
from pilothouse.apiserver.storage.master_leases import MasterLeases
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

TYPES = ("lease", "none")
_PERIOD_S = 10.0
"""DefaultEndpointReconcilerInterval."""
_FAREWELL_S = 2.0
"""A store that is away must not keep a server from stopping."""


class Objects(Protocol):
    async def put(self, resource: Resource, obj: Obj) -> None:
        """Store an object's content, new or in place of what is there; nothing when it is the same."""


class EndpointReconciler:
    """`leases` None: this server is the only one."""

    def __init__(self, facts: Facts, objects: Objects, world: World, leases: MasterLeases | None) -> None:
        self._facts = facts
        self._objects = objects
        self._world = world
        self._leases = leases
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._try_reconcile()
        if self._leases is not None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="endpoint reconciler")

    async def stop(self) -> None:
        """Take the own address out, so that nobody is sent here any more."""
        if self._task is None or self._leases is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self._world.within(_FAREWELL_S, self._leave(self._leases))
        except (ApiError, TimeoutError) as error:
            log.warning("this server's address stays among the endpoints until its lease ends: %s", error)

    async def _leave(self, leases: MasterLeases) -> None:
        await leases.remove(self._facts.advertise_address)
        await self._write(await leases.addresses())

    async def _run(self) -> None:
        while True:
            await self._world.clock.sleep(_PERIOD_S)
            await self._try_reconcile()

    async def _try_reconcile(self) -> None:
        try:
            await self._write(await self._alive())
        except ApiError as error:
            log.warning("the endpoints of the service kubernetes are not up to date: %s", error)

    async def _alive(self) -> list[str]:
        if self._leases is None:
            return [self._facts.advertise_address]
        await self._leases.refresh(self._facts.advertise_address)
        return await self._leases.addresses()

    async def _write(self, addresses: list[str]) -> None:
        if not addresses:
            # Upstream, too, leaves the last ones there rather than nobody.
            return
        await self._objects.put(ENDPOINTS, kubernetes_endpoints(self._facts, addresses))
        await self._objects.put(ENDPOINT_SLICES, kubernetes_slice(self._facts, addresses))
