"""`pilothouse etcd` killed with -9 under load, and on a disk that is full: what was acknowledged is there, revisions
never go back, reads go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, LEASE, WATCH, Method

from .etcd_tools import Etcdctl
from .processes import ready_line, running

WRITERS = 16
KILLS = 6


class Client:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def __call__(self, method: Method, request: Any) -> Any:
        return await self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request, timeout=10, wait_for_ready=True)

    async def put(self, key: bytes, value: bytes, lease: int = 0) -> int:
        revision: int = (
            await self(KV["Put"], pb.PutRequest(key=key, value=value, lease=lease))
        ).header.revision
        return revision

    async def everything(self) -> Any:
        return await self(KV["Range"], pb.RangeRequest(key=b"\0", range_end=b"\0"))


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    options = [
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        yield Client(channel)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Books:
    """What was acknowledged."""

    def __init__(self) -> None:
        self.tried: dict[bytes, int] = {}
        self.done: dict[bytes, tuple[int, int]] = {}
        """Number and revision of the newest put of each key."""
        self.leases: set[int] = set()
        self.newest = 1
        self._goal = 0
        self._reached = asyncio.Event()

    async def reach(self, revision: int) -> None:
        self._goal = revision
        self._reached.clear()
        await self._reached.wait()

    def acknowledge(self, key: bytes, number: int, revision: int) -> None:
        assert revision > self.done.get(key, (0, 0))[1]
        self.done[key] = (number, revision)
        self.newest = max(self.newest, revision)
        if self.newest >= self._goal:
            self._reached.set()

    async def check(self, client: Client) -> None:
        """What was acknowledged before it was asked for is there: the writers go on meanwhile."""
        newest, done, leases = self.newest, dict(self.done), set(self.leases)
        found = await client.everything()
        assert found.header.revision >= newest, "revisions went back"
        kept = {kv.key: kv for kv in found.kvs}
        for key, (number, revision) in done.items():
            kv = kept[key]
            # A put that nobody acknowledged may have been done.
            assert number <= int(kv.value) <= self.tried[key]
            assert kv.mod_revision >= revision
            if int(kv.value) == number:
                assert kv.mod_revision == revision
        granted = {each.ID for each in (await client(LEASE["LeaseLeases"], pb.LeaseLeasesRequest())).leases}
        assert leases <= granted


async def _write(client: Client, books: Books, key: bytes, stop: asyncio.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        books.tried[key] = number
        try:
            if number % 10 == 1:
                lease = await client(LEASE["LeaseGrant"], pb.LeaseGrantRequest(TTL=3600))
                books.leases.add(lease.ID)
            revision = await client.put(key, b"%d" % number)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            continue
        books.acknowledge(key, number, revision)


async def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    books, stop, random = Books(), asyncio.Event(), Random(7)
    port = _free_port()
    arguments = (
        "etcd", "--data-dir", str(tmp_path / "data"), "--listen-client-urls", f"http://127.0.0.1:{port}",
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(port)) for _ in range(4)]
        writers = [
            asyncio.create_task(_write(clients[i % 4], books, b"k%d" % i, stop)) for i in range(WRITERS)
        ]
        for turn in range(KILLS):
            log = tmp_path / f"log-{turn}"
            with running(*arguments, log=log) as process:
                await asyncio.to_thread(ready_line, process, log)
                await books.check(clients[0])
                await books.reach(books.newest + 50)
                await asyncio.sleep(random.random() / 5)
                if turn == KILLS - 1:
                    stop.set()
                    await asyncio.gather(*writers)
                process.kill()
                process.wait()
            assert log.read_text() == ""
        log = tmp_path / "log"
        with running(*arguments, log=log) as process:
            await asyncio.to_thread(ready_line, process, log)
            await books.check(clients[1])
            ctl = Etcdctl("--endpoints", f"127.0.0.1:{port}")
            number, _ = books.done[b"k3"]
            assert ctl("get", "k3", "--print-value-only") == f"{number}\n"
    assert len(books.done) == WRITERS


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """8 MB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


async def test_a_full_disk(disk: Path, tmp_path: Path) -> None:
    port, log = _free_port(), tmp_path / "log"
    arguments = (
        "etcd", "--data-dir", str(disk / "data"), "--listen-client-urls", f"http://127.0.0.1:{port}",
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    async with connected(port) as client:
        with running(*arguments, log=log) as process:
            await asyncio.to_thread(ready_line, process, log)
            watch = client._channel.stream_stream(
                WATCH["Watch"].path,
                request_serializer=pb.WatchRequest.SerializeToString,
                response_deserializer=pb.WatchResponse.FromString,
            )()
            await watch.write(pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"k", range_end=b"l")))
            assert (await watch.read()).created
            made = await _fill(client)
            assert made > 5
            assert [kv.key for kv in (await client.everything()).kvs] == [b"k%03d" % i for i in range(made)]
            await _refused(client, KV["Put"], pb.PutRequest(key=b"k000", value=b"y" * 200_000))
            health = await _health(url)
            assert '"health":"false"' in health
            assert "database space exceeded" in health
            await asyncio.to_thread(
                subprocess.run, ["mount", "-o", "remount,size=64m", str(disk)], check=True
            )
            revision = await client.put(b"k999", b"after")
            assert revision == made + 2
            assert '"health":"true"' in await _health(url)
            seen: list[tuple[bytes, int]] = []
            while not seen or seen[-1][0] != b"k999":
                answer = await asyncio.wait_for(watch.read(), 10)
                seen += [(event.kv.key, event.kv.mod_revision) for event in answer.events]
            names = [b"k%03d" % i for i in range(made)]
            assert seen == [*zip(names, range(2, made + 2), strict=True), (b"k999", made + 2)]
            process.kill()
            process.wait()
        with running(*arguments, log=tmp_path / "log2") as process:
            await asyncio.to_thread(ready_line, process, tmp_path / "log2")
            found = await client.everything()
            assert (len(found.kvs), found.header.revision) == (made + 1, made + 2)
    assert "writes are refused until the disk takes them again" in log.read_text()
    assert "Traceback" not in log.read_text()


async def _fill(client: Client) -> int:
    """How many puts of 200 kB were taken."""
    for i in range(100):
        try:
            await client.put(b"k%03d" % i, b"x" * 200_000)
        except grpc.aio.AioRpcError as error:
            assert (error.code().name, error.details()) == (
                "RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded",
            )  # fmt: skip
            return i
    raise AssertionError("the disk is not full")


async def _refused(client: Client, method: Method, request: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client(method, request)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def _health(url: str) -> str:
    found = await asyncio.to_thread(
        subprocess.run, ["curl", "-s", f"{url}/health"], capture_output=True, text=True, check=True
    )
    return found.stdout
