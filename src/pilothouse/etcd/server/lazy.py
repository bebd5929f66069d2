"""The API on a socket of a process that does something else: nothing of it is loaded before somebody connects.

grpc and the messages take 0.2 s and 30 MB, which a control plane that nobody asks should not pay. Imports neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol as Interface

from pilothouse.etcd.contract import Backend, Maintenance
from pilothouse.etcd.server.front import Front, Protocol
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.kit.world import World

SOCKET_FILE = "etcd.sock"
"""In a data directory: where a running embedded store answers processes of its owner."""


class Service(Interface):
    """What `service.EtcdService` is to its front."""

    def socket(self, protocol: Protocol, tls: bool) -> str: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


Make = Callable[[], Awaitable[Service]]


class LazyService:
    """The API on one Unix socket (0600, removed at the end). `make` is called with the first connection."""

    def __init__(self, path: Path, make: Make) -> None:
        self._path = path
        self._make = make
        self._front = Front(self._socket)
        self._service: Service | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """OSError when the socket cannot be made, or another process serves it."""
        await self._front.listen_unix(self._path, tls=False)

    async def _socket(self, protocol: Protocol, tls: bool) -> str:
        async with self._starting:
            if self._service is None:
                service = await self._make()
                await service.start()
                self._service = service
        return self._service.socket(protocol, tls)

    async def stop(self) -> None:
        self._front.stop_listening()
        if self._service is not None:
            await self._service.stop()
        await self._front.stop()


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
