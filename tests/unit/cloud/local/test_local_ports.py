"""The ports of the local cloud's load balancers, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pilothouse.cloud.providers.local.endpoints import Endpoint
from pilothouse.cloud.providers.local.tcp import Front, TcpForwarder
from pilothouse.cloud.providers.local.udp import UdpForwarder
from pilothouse.kit.world import World
from tests.etcds import free_port

ADDRESS = "127.42.200.1"


@asynccontextmanager
async def _tcp(endpoint: Endpoint | None, *, simulated: bool = False) -> AsyncIterator[int]:
    port = free_port()
    front = Front(ADDRESS, port, "default/web")
    forwarder = TcpForwarder(front, lambda client: endpoint, lambda e: simulated, World())
    await forwarder.start()
    try:
        yield port
    finally:
        await forwarder.stop()


@asynccontextmanager
async def _upper() -> AsyncIterator[Endpoint]:
    """A server that says in capitals what it heard, when it has heard all."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.write_eof()
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1], "n1", "default/web-1")


async def _say(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(ADDRESS, port)
    try:
        writer.write(data)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


async def test_bytes_go_both_ways_and_each_side_may_end_first() -> None:
    async with _upper() as endpoint, _tcp(endpoint) as port:
        data = b"hello " * 200_000
        assert await _say(port, data) == data.upper()


async def test_a_simulated_pod_is_named_in_a_page() -> None:
    endpoint = Endpoint("10.244.0.2", 8080, "node-0", "default/web-1")
    async with _tcp(endpoint, simulated=True) as port:
        answer = await _say(port, b"GET / HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"Service default/web" in answer
        assert b"pod default/web-1 on node node-0 (10.244.0.2:8080)" in answer


async def test_without_an_endpoint_the_connection_is_reset() -> None:
    async with _tcp(None) as port:
        with pytest.raises(ConnectionResetError):
            await _say(port, b"hello")


async def test_an_endpoint_that_does_not_listen_resets_too() -> None:
    async with _tcp(Endpoint("127.0.0.1", free_port())) as port:
        with pytest.raises(ConnectionResetError):
            await _say(port, b"hello")


async def test_stopping_ends_connections_and_frees_the_port() -> None:
    async with _upper() as endpoint:
        async with _tcp(endpoint) as port:
            reader, writer = await asyncio.open_connection(ADDRESS, port)
            writer.write(b"half")
            await writer.drain()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(ADDRESS, port)


class _Ear(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], bytes] | None = None) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.put_nowait(data)
        if self._answer is not None:
            self.transport.sendto(self._answer(data), addr)


async def test_datagrams_find_their_way_there_and_back() -> None:
    loop, port = asyncio.get_running_loop(), free_port()
    backend, _ = await loop.create_datagram_endpoint(lambda: _Ear(bytes.upper), local_addr=("127.0.0.1", 0))
    endpoint = Endpoint("127.0.0.1", backend.get_extra_info("sockname")[1])
    front = Front(ADDRESS, port, "default/dns")
    forwarder = UdpForwarder(front, lambda client: endpoint, lambda e: False, World())
    await forwarder.start()
    clients = [await loop.create_datagram_endpoint(_Ear, remote_addr=(ADDRESS, port)) for _ in range(2)]
    try:
        for n, (transport, _) in enumerate(clients):
            for word in ("a", "b"):
                transport.sendto(f"{word}{n}".encode())
        async with asyncio.timeout(5):
            for n, (_, ear) in enumerate(clients):
                assert sorted([await ear.heard.get(), await ear.heard.get()]) == [
                    f"A{n}".encode(),
                    f"B{n}".encode(),
                ]
    finally:
        for transport, _ in clients:
            transport.close()
        await forwarder.stop()
        backend.close()
