"""Listening: HTTP/2 is answered here, every other client by a plain HTTP handler on the same port.

etcd does so too: `etcdctl` and `curl http://…/health` use one address. The first bytes tell them apart: HTTP/2 opens
with "PRI", which is no method of HTTP/1. With TLS a client that offers both gets HTTP/1.1, for a gRPC client offers
h2 alone.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from pilothouse.etcd.server.http2.call import Routes
from pilothouse.etcd.server.http2.connection import Connection, Limits, Observe

log = logging.getLogger(__name__)

_FIRST_BYTES_S = 10.0
_BACKLOG = 1024

PlainHandler = Callable[[], asyncio.Protocol]
"""Makes the protocol that answers one HTTP/1.1 connection."""


def tls_context(
    cert: Path, key: Path, client_ca: Path | None = None, *, required: bool = False
) -> ssl.SSLContext:
    """TLS 1.2 and later. With `client_ca` client certificates are checked, and demanded if `required`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1", "h2"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return context


class GrpcPort:
    """Sockets that share routes and limits; `plain` None closes connections that are not HTTP/2."""

    def __init__(self, routes: Routes, plain: PlainHandler | None, limits: Limits, observe: Observe) -> None:
        self._routes, self._plain, self._limits, self._observe = routes, plain, limits, observe
        self._servers: list[asyncio.Server] = []
        self.connections: set[Connection] = set()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """The port it listens on: `port`, or a free one for 0. OSError when it is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(self._accept, host, port, ssl=tls, backlog=_BACKLOG)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: Path) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_unix_server(self._accept, str(path), backlog=_BACKLOG))

    def _accept(self) -> _Undecided:
        return _Undecided(self)

    def grpc(self) -> Connection:
        connection = _Tracked(self._routes, self._limits, self._observe)
        connection.gone = self.connections.discard
        self.connections.add(connection)
        return connection

    def plain(self) -> asyncio.Protocol | None:
        return self._plain() if self._plain is not None else None

    async def stop(self, grace_s: float = 1.0) -> None:
        """No new calls; those that run have `grace_s` to end."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.shut_down()
        loop = asyncio.get_running_loop()
        end_s = loop.time() + grace_s
        while self.connections and loop.time() < end_s:
            waiters = [
                connection.closed for connection in self.connections if isinstance(connection, _Tracked)
            ]
            await asyncio.wait(waiters, timeout=end_s - loop.time())
        for connection in list(self.connections):
            connection.close()


class _Tracked(Connection):
    """Known to its port until it ends."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gone: Callable[[Connection], None] = lambda connection: None
        self.closed: asyncio.Future[None] = self.loop.create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gone(self)
        if not self.closed.done():
            self.closed.set_result(None)


class _Undecided(asyncio.Protocol):
    """A connection that has not said yet what it speaks."""

    def __init__(self, port: GrpcPort) -> None:
        self._port = port
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._timer = asyncio.get_running_loop().call_later(_FIRST_BYTES_S, self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._stop_timer()
        transport = self._transport
        assert transport is not None
        protocol: asyncio.Protocol | None
        if data.startswith(b"PRI"[: len(data)]):
            protocol = self._port.grpc()
            protocol.peer_name = _common_name(transport)
        else:
            protocol = self._port.plain()
        if protocol is None:
            transport.close()
            return
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)


def _common_name(transport: asyncio.Transport) -> str:
    """Of a client certificate that was verified."""
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return names[-1] if names else ""
