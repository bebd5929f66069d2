"""The served store against a real single etcd, through the same client in the same run.

    python -m benchmarks.etcd [--json FILE] [--seconds 4] [--keys 1000000] [--only TEXT]

Both keep their data on the same disk, every put on it before its answer. Measured: puts with 1, 32 and 256 clients,
ranges of one key and of 500, a watch's events to 100 watchers, and with a database of a million keys the size on disk,
the memory and the time from start to the first answer. `in_process` is the embedded store through its Python contract,
without a wire. A ratio compares with etcd; etcd must be on the PATH (Debian: etcd-server).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import uvloop

from benchmarks.etcd_stores import REAL, SERVED, Store, StoreKind
from benchmarks.report import Report, arguments
from pilothouse.etcd.contract import Put, prefix_end
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, WATCH

CLIENTS = (1, 32, 256)
VALUE = b"v" * 256
_FILL_BATCH = 100
_FILLERS = 16
_WATCHERS = 100
_WATCHED_PUTS = 2_000

Work = Callable[[int], Awaitable[Any]]


class Client:
    """One connection. Requests are serialised here and answers are counted, not read: the same little work for
    every store."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._put = self.channel.unary_unary(KV["Put"].path)
        self._range = self.channel.unary_unary(KV["Range"].path)
        self._txn = self.channel.unary_unary(KV["Txn"].path)
        self._watch = self.channel.stream_stream(
            WATCH["Watch"].path, pb.WatchRequest.SerializeToString, pb.WatchResponse.FromString
        )

    async def put(self, number: int) -> None:
        await self._put(pb.PutRequest(key=b"/bench/%09d" % number, value=VALUE).SerializeToString())

    async def get(self, number: int) -> None:
        await self._range(pb.RangeRequest(key=b"/bench/%09d" % (number % 1000)).SerializeToString())

    async def list(self, number: int) -> None:
        await self._range(
            pb.RangeRequest(key=b"/bench/", range_end=b"/bench0", limit=500).SerializeToString()
        )

    async def fill(self, first: int, count: int) -> None:
        puts = [
            pb.RequestOp(request_put=pb.PutRequest(key=b"/full/%09d" % (first + i), value=VALUE))
            for i in range(count)
        ]
        await self._txn(pb.TxnRequest(success=puts).SerializeToString())

    async def watch(self, events: int, started: asyncio.Event) -> None:
        call = self._watch()
        create = pb.WatchCreateRequest(key=b"/watched/", range_end=prefix_end(b"/watched/"))
        await call.write(pb.WatchRequest(create_request=create))
        await call.read()
        started.set()
        while events > 0:
            events -= len((await call.read()).events)
        call.cancel()

    async def put_watched(self, number: int) -> None:
        await self._put(pb.PutRequest(key=b"/watched/%d" % number, value=VALUE).SerializeToString())


async def per_second(work: Work, clients: int, seconds: float) -> float:
    numbers = iter(range(10**9))
    end_s = time.perf_counter() + seconds
    done = 0

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < end_s:
            await work(next(numbers))
            done += 1

    began_s = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return done / (time.perf_counter() - began_s)


async def fan_out(address: str) -> float:
    """Events a second that reach `_WATCHERS` watchers, each on a stream of its own."""
    client = Client(address)
    started = [asyncio.Event() for _ in range(_WATCHERS)]
    async with asyncio.TaskGroup() as watchers:
        for event in started:
            watchers.create_task(client.watch(_WATCHED_PUTS, event))
        for event in started:
            await event.wait()
        began_s = time.perf_counter()
        numbers = iter(range(_WATCHED_PUTS))

        async def writer() -> None:
            for number in numbers:
                await client.put_watched(number)

        await asyncio.gather(*(writer() for _ in range(32)))
    await client.channel.close()
    return _WATCHERS * _WATCHED_PUTS / (time.perf_counter() - began_s)


async def requests(address: str, seconds: float) -> dict[str, float]:
    client = Client(address)
    figures = {}
    for clients in CLIENTS:
        figures[f"put/{clients}_clients"] = await per_second(client.put, clients, seconds)
    for clients in CLIENTS:
        figures[f"range_1/{clients}_clients"] = await per_second(client.get, clients, seconds)
    figures["range_500/32_clients"] = await per_second(client.list, 32, seconds)
    await client.channel.close()
    figures[f"watch/{_WATCHERS}_watchers"] = await fan_out(address)
    return figures


async def fill(address: str, keys: int) -> None:
    client = Client(address)
    firsts = iter(range(0, keys, _FILL_BATCH))

    async def filler() -> None:
        for first in firsts:
            await client.fill(first, min(_FILL_BATCH, keys - first))

    await asyncio.gather(*(filler() for _ in range(_FILLERS)))
    await client.channel.close()


async def in_process(directory: Path, seconds: float) -> dict[str, float]:
    from pilothouse.etcd.embedded.backend import open_backend
    from pilothouse.etcd.embedded.log import SqliteLog
    from pilothouse.kit.world import World

    backend = await open_backend(World(), SqliteLog(directory))

    async def put(number: int) -> None:
        await backend.put(Put(b"/bench/%09d" % number, VALUE))

    try:
        return {f"put/{clients}_clients": await per_second(put, clients, seconds) for clients in CLIENTS}
    finally:
        await backend.close()


def million(kind: StoreKind, directory: Path, keys: int) -> dict[str, tuple[float, str]]:
    with Store.start(kind, directory) as store:
        uvloop.run(fill(store.address, keys))
        full_mb = store.memory_mb()
    disk_mb = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6
    with Store.start(kind, directory) as store:
        return {
            "disk": (disk_mb, "MB"),
            "memory_after_filling": (full_mb, "MB"),
            "memory_after_start": (store.memory_mb(), "MB"),
            "start": (store.ready_s, "s"),
        }


def main() -> None:
    parser = arguments("The served store against a real etcd.")
    parser.add_argument("--seconds", type=float, default=4.0, help="per figure")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the big database; 0 leaves it out")
    parser.add_argument("--only", default="", help="requests, in_process or keys")
    options = parser.parse_args()
    report = Report()
    with TemporaryDirectory(prefix="benchmark-etcd-") as name, contextlib.suppress(KeyboardInterrupt):
        measure(report, Path(name), options)
    report.write(options.json)


def measure(report: Report, directory: Path, options: Any) -> None:
    kinds = (REAL, SERVED)
    reference: dict[str, float] = {}
    if options.only in "requests in_process":
        for kind in kinds:
            with Store.start(kind, directory / f"requests-{kind.name}") as store:
                figures = uvloop.run(requests(store.address, options.seconds))
            _compare(report, kind.name, figures, reference)
    if options.only in "in_process":
        figures = uvloop.run(in_process(directory / "in-process", options.seconds))
        _compare(report, "in_process", figures, reference)
    if options.keys and options.only in "keys":
        for kind in kinds:
            found = million(kind, directory / f"keys-{kind.name}", options.keys)
            for figure, (value, unit) in found.items():
                report.add(f"{kind.name}/{options.keys}_keys/{figure}", value, unit)


def _compare(report: Report, name: str, figures: dict[str, float], reference: dict[str, float]) -> None:
    """The first store is what the others are compared with."""
    for figure, value in figures.items():
        report.add(f"{name}/{figure}", value, "events/s" if figure.startswith("watch") else "requests/s")
        if figure in reference:
            report.add(f"{name}/{figure}/of_etcd", value / reference[figure], "ratio")
    if not reference:
        reference.update(figures)


if __name__ == "__main__":
    main()
