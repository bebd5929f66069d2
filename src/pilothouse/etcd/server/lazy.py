"""The API on a socket of a process that does something else: nothing of it is loaded before somebody connects.

The messages and services take 0.1 s and some megabytes, which a control plane that nobody asks should not pay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from pilothouse.etcd.contract import Backend, Maintenance
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.server.port import Answering, Port
from pilothouse.kit.world import World


class Service(Answering, Protocol):
    """What `service.EtcdService` is to its port."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


Make = Callable[[], Awaitable[Service]]


class LazyService:
    """The API on one Unix socket (0600, removed at the end). `make` is called with the first connection."""

    def __init__(self, path: Path, make: Make) -> None:
        self._path = path
        self._make = make
        self._port = Port(self._answering)
        self._service: Service | None = None

    async def start(self) -> None:
        """OSError when the socket cannot be made, or another process serves it."""
        await self._port.listen_unix(self._path)

    async def _answering(self) -> Service:
        service = await self._make()
        await service.start()
        self._service = service
        return service

    async def stop(self) -> None:
        self._port.stop_listening()
        if self._service is not None:
            await self._service.stop()
        await self._port.stop()


def serve_lazily(
    path: Path, backend: Backend, maintenance: Maintenance, world: World, options: ServerOptions
) -> LazyService:
    """The whole API of a store on a socket, once somebody asks."""

    async def make() -> Service:
        def load() -> type[Service]:
            from pilothouse.etcd.server.service import EtcdService

            return EtcdService

        await asyncio.to_thread(load)
        from pilothouse.etcd.server.service import EtcdService

        return EtcdService(backend, maintenance, world, options)

    return LazyService(path, make)
