"""Listening: gRPC and plain HTTP on one port, as etcd has it (`etcdctl` and `curl http://…/health` use one address).

A connection's first bytes say what it speaks: HTTP/2 opens with "PRI", which is no method of HTTP/1. With TLS a client
that offers both gets HTTP/1.1, for gRPC clients offer h2 alone.

Imports nothing heavy: who answers may be loaded when the first client comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, cast

from pilothouse.etcd.contract import StoreError
from pilothouse.kit.tasks import Tasks

log = logging.getLogger(__name__)

_FIRST_BYTES_S = 10.0
"""How long a connection may take to say what it speaks, and with HTTP what it asks for first."""
_HEAD_BYTES_MAX = 64 * 1024
_GRPC = b"PRI"
_BACKLOG = 1024
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""A client that is gone without a word is noticed after a minute and a half."""


class Answering(Protocol):
    """Makes the protocol that answers one connection."""

    def grpc(self, common_name: str) -> asyncio.Protocol: ...
    def http(self) -> asyncio.Protocol: ...


class Port:
    """Sockets with the same service behind. `answering` is asked for it with the first connection; when it cannot
    start, that connection is closed and the next one asks again."""

    def __init__(self, answering: Callable[[], Awaitable[Answering]]) -> None:
        self._ask = answering
        self._asking = asyncio.Lock()
        self._servers: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._tasks = Tasks("etcd port")
        self.service: Answering | None = None
        self.undecided: set[_Undecided] = set()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """The port it listens on: `port`, or a free one for 0. OSError when it is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._accept, host, port, ssl=tls, backlog=_BACKLOG, reuse_address=True
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: Path, tls: ssl.SSLContext | None = None) -> None:
        """For its owner alone (0600). A socket that a dead process left is replaced, one that answers is an OSError."""
        listener = _bind(path)
        self._sockets.append(path)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(self._accept, sock=listener, ssl=tls, backlog=_BACKLOG)
        self._servers.append(server)

    def _accept(self) -> _Undecided:
        return _Undecided(self)

    def open_for(self, connection: _Undecided) -> None:
        """Find out who answers, and hand the connection over."""
        self._tasks.start("first connection", self._open_for(connection))

    async def _open_for(self, connection: _Undecided) -> None:
        try:
            async with self._asking:
                if self.service is None:
                    self.service = await self._ask()
        except (OSError, StoreError, ValueError) as error:
            log.warning("a connection is closed, since the store's service does not start: %s", error)
            connection.abort()
            return
        except BaseException:
            connection.abort()
            raise
        connection.hand_over(self.service)

    def stop_listening(self) -> None:
        """Take no more connections; those that there are go on."""
        for server in self._servers:
            server.close()
        for path in self._sockets:
            path.unlink(missing_ok=True)

    async def stop(self) -> None:
        self.stop_listening()
        await self._tasks.stop()
        for connection in list(self.undecided):
            connection.abort()


def _bind(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        _refuse_second(path)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before it has a name: nobody gets in between
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    return listener


def _refuse_second(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        probe.connect(str(path))
    raise OSError(f"cannot listen on {path}: another process serves it; stop it first")


class _Undecided(asyncio.Protocol):
    """A connection that has not said yet what it speaks."""

    def __init__(self, port: Port) -> None:
        self._port = port
        self._first = b""
        self._asked = False
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._timer = asyncio.get_running_loop().call_later(_FIRST_BYTES_S, self.abort)
        self._port.undecided.add(self)
        _keep_alive(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._leave()

    def _leave(self) -> None:
        self._port.undecided.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._first += data
        if self._asked or not _says_enough(self._first):
            return
        if self._port.service is not None:
            self.hand_over(self._port.service)
        elif self._transport is not None:
            self._asked = True
            self._transport.pause_reading()
            self._port.open_for(self)

    def hand_over(self, service: Answering) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._leave()
        if self._first.startswith(_GRPC):
            protocol = service.grpc(_common_name(transport))
        else:
            protocol = service.http()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()
        protocol.data_received(self._first)


def _says_enough(first: bytes) -> bool:
    """Whether it is known who shall answer. The head of a request is waited for here, for aiohttp would wait as long
    as a client takes over it; what looks like no request is answered at once."""
    if len(first) < len(_GRPC):
        return not _GRPC.startswith(first[:1]) and not first.isalpha()
    if first.startswith(_GRPC) or not first[: len(_GRPC)].isalpha():
        return True
    return b"\r\n\r\n" in first or b"\n\n" in first or len(first) > _HEAD_BYTES_MAX


def _keep_alive(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _common_name(transport: asyncio.Transport) -> str:
    """Of a client certificate, which was verified."""
    certificate = transport.get_extra_info("peercert") or {}
    names = [value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"]
    return names[-1] if names else ""
