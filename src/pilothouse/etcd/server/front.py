"""One port for two protocols: a connection's first bytes say whether it speaks gRPC, and it is passed on.

    client ──▶ Front ──first bytes──▶ gRPC  ──▶ the gRPC server's private socket      (HTTP/2 preface; TLS: ALPN is
                                  └─▶ other ──▶ the HTTP application's private socket  "h2" alone)

etcd does the same with cmux. Bytes are passed as they come, encrypted or not: TLS ends behind, where each server
knows the client's certificate. A side that does not read stops the other from being read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import cast

from pilothouse.etcd.contract import StoreError
from pilothouse.kit.tasks import Tasks

log = logging.getLogger(__name__)

_PREFACE = b"PRI * HTTP/2.0\r\n"
_FIRST_BYTES_MAX = 1 << 16
_BACKLOG = 1024


class Protocol(Enum):
    GRPC = "grpc"
    HTTP = "http"


Route = Callable[[Protocol, bool], Awaitable[str]]
"""`(protocol, tls)`: the path of the socket to pass a connection to."""
Detect = Callable[[bytes], "Protocol | None"]


def plain_protocol(first: bytes) -> Protocol | None:
    """Of a connection without TLS; None when more bytes are needed."""
    if first.startswith(_PREFACE):
        return Protocol.GRPC
    return None if _PREFACE.startswith(first) else Protocol.HTTP


def tls_protocol(first: bytes) -> Protocol | None:
    """Of a connection with TLS, by the protocols that its ClientHello offers (RFC 8446 4.1.2, RFC 7301). One that
    offers HTTP/1.1 beside HTTP/2 is a browser or curl: the application speaks the former."""
    if first[:1] != b"\x16":
        return Protocol.HTTP  # no TLS: the application's listener says so
    hello = _handshake(first)
    if hello is None:
        return None if len(first) < _FIRST_BYTES_MAX else Protocol.HTTP
    try:
        offered = _alpn(hello)
    except IndexError:
        return Protocol.HTTP
    return Protocol.GRPC if b"h2" in offered and b"http/1.1" not in offered else Protocol.HTTP


def _handshake(first: bytes) -> bytes | None:
    """The first handshake message, which may be cut into several records; None when it is not all there."""
    message = b""
    at = 0
    while len(first) >= at + 5:
        size = int.from_bytes(first[at + 3 : at + 5])
        message += first[at + 5 : at + 5 + size]
        at += 5 + size
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4]):
            return message
    return None


class _Reader:
    """Takes bytes from the front; IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __bool__(self) -> bool:
        return bool(self._data)

    def take(self, size: int) -> bytes:
        if size > len(self._data):
            raise IndexError
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def block(self, length_size: int) -> bytes:
        return self.take(self.number(length_size))


_ALPN = 16


def _alpn(hello: bytes) -> list[bytes]:
    reader = _Reader(hello[4:])
    reader.take(2 + 32)  # version, random
    reader.block(1)  # session id
    reader.block(2)  # cipher suites
    reader.block(1)  # compression methods
    extensions = _Reader(reader.block(2) if reader else b"")
    while extensions:
        kind, body = extensions.number(2), extensions.block(2)
        if kind == _ALPN:
            names = _Reader(_Reader(body).block(2))
            found = []
            while names:
                found.append(names.block(1))
            return found
    return []


class Front:
    """Listens, and passes connections on. `route` may take its time: a server may be started by it."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._servers: list[asyncio.Server] = []
        self._sockets: list[Path] = []
        self._tasks = Tasks("etcd front")
        self._connections: set[_Side] = set()
        self._stopping = False

    async def listen(self, host: str, port: int, *, tls: bool) -> int:
        """The port. OSError when it is taken."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: self._connection(tls), host, port, backlog=_BACKLOG, reuse_address=True
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: Path, *, tls: bool) -> None:
        """For its owner alone (0600). A socket that a dead process left is replaced, one that answers is an OSError."""
        listener = _bind(path)
        self._sockets.append(path)
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: self._connection(tls), sock=listener, backlog=_BACKLOG)
        self._servers.append(server)

    def _connection(self, tls: bool) -> _Side:
        return _Side(self, tls_protocol if tls else plain_protocol, tls)

    def opened(self, side: _Side) -> None:
        self._connections.add(side)

    def closed(self, side: _Side) -> None:
        self._connections.discard(side)

    def connect(self, client: _Side, protocol: Protocol, tls: bool) -> None:
        """Bring a client to who speaks its protocol."""
        if self._stopping:
            client.abort()
        else:
            self._tasks.start("connection", self._connect(client, protocol, tls))

    async def _connect(self, client: _Side, protocol: Protocol, tls: bool) -> None:
        loop = asyncio.get_running_loop()
        try:
            path = await self._route(protocol, tls)
            _, server = await loop.create_unix_connection(lambda: _Side(self), path)
        except (OSError, StoreError) as error:
            log.warning("a connection cannot be served: %s", error)
            client.abort()
            return
        client.join(server)

    def stop_listening(self) -> None:
        """Take no more connections; those that there are go on."""
        self._stopping = True
        for server in self._servers:
            server.close()
        for path in self._sockets:
            path.unlink(missing_ok=True)

    async def stop(self) -> None:
        """End every connection, too."""
        self.stop_listening()
        for side in list(self._connections):
            side.abort()
        await self._tasks.stop()


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


class _Side(asyncio.Protocol):
    """One of the two connections of a client. The client's own finds out the protocol and waits for the other."""

    def __init__(self, front: Front, detect: Detect | None = None, tls: bool = False) -> None:
        self._front = front
        self._detect = detect
        self._tls = tls
        self._first = b""
        self._transport: asyncio.Transport | None = None
        self._peer: asyncio.Transport | None = None
        self._other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._front.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._peer is not None:
            self._peer.write(data)
            return
        self._first += data
        if self._detect is None:
            return
        protocol = self._detect(self._first)
        if protocol is not None and self._transport is not None:
            self._detect = None
            self._transport.pause_reading()
            self._front.connect(self, protocol, self._tls)

    def join(self, other: _Side) -> None:
        """From now on what comes on one side goes out on the other."""
        if self._transport is None or other._transport is None:
            self.abort()
            other.abort()
            return
        self._other, other._other = other, self
        self._peer, other._peer = other._transport, self._transport
        for side in (self, other):
            first, side._first = side._first, b""
            if first and side._peer is not None:
                side._peer.write(first)
        self._transport.resume_reading()

    def pause_writing(self) -> None:
        if self._peer is not None and not self._peer.is_closing():
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None and not self._peer.is_closing():
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        """Half a connection may go on."""
        if self._peer is None:
            return False
        if not self._peer.is_closing() and self._peer.can_write_eof():
            self._peer.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._front.closed(self)
        if self._other is not None:
            self._other._close()
            self._other = None
        self._peer = None

    def _close(self) -> None:
        """After what is still to be written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
