"""Follows APIServices: those that name a service are proxied, those that do not are what this server serves itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.aggregation import availability
from pilothouse.apiserver.customresources.registration import API_SERVICES
from pilothouse.apiserver.registry.following import follow
from pilothouse.kit.certificates import KeyPair
from pilothouse.kit.tasks import Tasks

if TYPE_CHECKING:
    from pilothouse.apiserver.aggregation.remote import RemoteServices
    from pilothouse.apiserver.server import ApiServer

log = logging.getLogger(__name__)


class Aggregator:
    """Of one server. `certificate` is what it shows extension API servers as a front proxy."""

    def __init__(self, server: ApiServer, certificate: KeyPair | None) -> None:
        self._server = server
        self._certificate = certificate
        self._remote: RemoteServices | None = None
        self._tasks = Tasks("aggregator")

    def start(self) -> None:
        self._tasks.start("api services", self._follow())

    async def stop(self) -> None:
        await self._tasks.stop()
        if self._remote is not None:
            await self._remote.stop()

    async def _follow(self) -> None:
        scope = self._server.router.scope(API_SERVICES.group, API_SERVICES.version, API_SERVICES.plural)
        if scope is not None:
            await follow(scope.rest.store, self._server.world, self._settle)

    async def _settle(self) -> None:
        present = list(self._server.lister.list(API_SERVICES))
        remote = [obj for obj in present if obj["spec"].get("service") is not None]
        if self._remote is None and remote:
            # Most clusters have none: its modules are loaded for the others alone.
            from pilothouse.apiserver.aggregation.remote import RemoteServices

            self._remote = RemoteServices(self._server, self._certificate)
            self._remote.start()
        if self._remote is not None:
            self._remote.settle(remote)
        for obj in present:
            if obj["spec"].get("service") is None:
                await self._set_local(obj)

    async def _set_local(self, obj: Obj) -> None:
        """What is served here is always available."""
        changed = availability.with_condition(obj, availability.LOCAL, self._server.world.timestamp())
        if changed is None:
            return
        try:
            await self._server.objects.update_status(API_SERVICES, changed)
        except errors.ApiError as error:
            log.info("the status of API service %s was not written: %s", obj["metadata"]["name"], error)
