"""All gRPC connections of one server: what they share, and their end."""

from __future__ import annotations

import asyncio

from pilothouse.etcd.server.http2.call import Observer, Routes, Unobserved
from pilothouse.etcd.server.http2.connection import Connection, Limits


class GrpcServer:
    """Makes the protocol of each connection; who listens is not its business."""

    def __init__(
        self, routes: Routes, limits: Limits | None = None, observer: Observer | None = None
    ) -> None:
        self._routes = routes
        self._limits = limits or Limits()
        self._observer = observer or Unobserved()
        self._connections: set[Connection] = set()
        self._all_gone = asyncio.Event()

    def connection(self, common_name: str = "") -> Connection:
        """For a client whose certificate has that name."""
        connection = Connection(self._routes, self._limits, self._observer, common_name, self._gone)
        self._connections.add(connection)
        self._all_gone.clear()
        return connection

    def _gone(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._all_gone.set()

    async def stop(self, grace_s: float) -> None:
        """No new calls; those that run have `grace_s` to end."""
        for connection in list(self._connections):
            connection.shut_down()
        if self._connections:
            waiting = asyncio.ensure_future(self._all_gone.wait())
            await asyncio.wait((waiting,), timeout=grace_s)
            waiting.cancel()
        for connection in list(self._connections):
            connection.close()
