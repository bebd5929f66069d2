"""The door alone: time and size bounds that a whole server would take a minute to show."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilothouse.apiserver import http
from pilothouse.apiserver.http import HttpServer, server_tls
from pilothouse.apiserver.request import Request, Response
from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World

SHORT_S = 0.2


class Door:
    """Serves `/large` (100 MB), `/stream` (without end) and the path itself for all others."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory, World())
        pair = authority.server("door", ["127.0.0.1"])
        tls = server_tls(str(pair.certificate), str(pair.key), authority.pem)
        self._server = HttpServer(self._handle, tls, host="127.0.0.1", port=0)
        self.asked: list[str] = []
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Door:
        await self._server.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._server.stop()

    async def _handle(self, request: Request) -> Response:
        self.asked.append(request.path)
        if request.path == "/stream":
            return Response(200, self._stream())
        body = b"x" * 100_000_000 if request.path == "/large" else request.path.encode()
        return Response(200, body, {"Content-Type": "text/plain"})

    async def _stream(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1_000_000
        finally:
            self.ended.set()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return await asyncio.open_connection("127.0.0.1", self._server.port, ssl=context, limit=2**16)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def test_a_stream_that_nobody_reads_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STALL_TIMEOUT_S", SHORT_S)
    async with Door(tmp_path) as door:
        reader, writer = await door.connect()
        writer.write(get("/stream"))
        await asyncio.wait_for(door.ended.wait(), 5)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
            await reader.readexactly(10**9)


async def test_an_answer_that_nobody_reads_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STALL_TIMEOUT_S", SHORT_S)
    async with Door(tmp_path) as door:
        reader, writer = await door.connect()
        writer.write(get("/large"))
        await asyncio.sleep(3 * SHORT_S)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ssl.SSLError)):
            await reader.readexactly(100_000_000)


async def test_a_slow_reader_gets_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STALL_TIMEOUT_S", 5)
    async with Door(tmp_path) as door:
        reader, writer = await door.connect()
        writer.write(get("/large"))
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"Content-Length: 100000000" in head
        left = 100_000_000
        while left:
            left -= len(await reader.read(10_000_000))
        writer.close()


async def test_a_head_that_comes_byte_by_byte_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "HEAD_TIMEOUT_S", SHORT_S)
    async with Door(tmp_path) as door:
        reader, writer = await door.connect()

        async def drip() -> None:
            writer.write(b"GET /x HTTP/1.1\r\nHost: ")
            while True:
                writer.write(b"x")
                await asyncio.sleep(SHORT_S / 20)

        dripping = asyncio.create_task(drip())
        assert await asyncio.wait_for(reader.read(), 5) == b""
        dripping.cancel()
        assert door.asked == []


async def test_a_head_in_two_parts_is_whole_and_a_later_one_has_its_own_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "HEAD_TIMEOUT_S", SHORT_S)
    async with Door(tmp_path) as door:
        reader, writer = await door.connect()
        for path in ("/one", "/two"):
            whole = get(path)
            writer.write(whole[:10])
            await asyncio.sleep(SHORT_S / 4)
            writer.write(whole[10:])
            assert (await reader.readuntil(path.encode())).startswith(b"HTTP/1.1 200 OK")
            await asyncio.sleep(1.5 * SHORT_S)
        assert door.asked == ["/one", "/two"]
        writer.close()


async def test_who_asks_and_asks_and_reads_nothing_is_not_answered_for_ever(tmp_path: Path) -> None:
    async with Door(tmp_path) as door:
        _, writer = await door.connect()
        path = "/" + "x" * 60_000
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                for _ in range(100_000):
                    writer.write(get(path))
                    await writer.drain()
        assert len(door.asked) < 1000
        writer.transport.abort()


async def test_head_requests_and_old_clients(tmp_path: Path) -> None:
    async with Door(tmp_path) as door:
        for data in (
            b"HEAD /some HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /some HTTP/1.0\r\n\r\n",
        ):
            reader, writer = await door.connect()
            writer.write(data)
            head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
            assert b"Content-Length: 5" in head
            assert b"Connection: close" in head
            assert body == (b"" if data.startswith(b"HEAD") else b"/some")
            writer.close()
