"""The Watch service (etcd: v3rpc/watch.go, watch_test.go of its integration suite)."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from pilothouse.etcd.contract import Event, EventType, KeyValue, Put
from pilothouse.etcd.embedded import backend as embedded
from pilothouse.etcd.server.events import EncodedEvents, answers
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.wire import etcd_pb2 as pb

from .serving import Stream, served

_PROGRESS = pb.WatchRequest(progress_request=pb.WatchProgressRequest())


def _cancel(watch_id: int) -> pb.WatchRequest:
    return pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id))


def _keys(answer: pb.WatchResponse) -> list[tuple[int, str, bytes]]:
    return [(e.kv.mod_revision, pb.Event.EventType.Name(e.type), e.kv.key) for e in answer.events]


async def test_many_watches_share_a_stream() -> None:
    async with served() as (client, _, _):
        stream = client.watch()
        created = await stream.create(b"a", b"b")
        assert (created.watch_id, created.created, created.header.revision) == (0, True, 1)
        assert (await stream.create(b"b", watch_id=7)).watch_id == 7
        assert (await stream.create(b"c")).watch_id == 1
        await client.put(b"b")
        await client.put(b"a1")
        answers = [await stream.next(), await stream.next()]
        assert [(a.watch_id, _keys(a)) for a in answers] == [
            (7, [(2, "PUT", b"b")]),
            (0, [(3, "PUT", b"a1")]),
        ]


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        ({"key": b"b", "range_end": b"a"}, "mvcc: watcher range is empty"),
        ({"key": b"b", "range_end": b"b"}, "mvcc: watcher range is empty"),
        ({"key": b"b", "watch_id": 5}, "mvcc: duplicate watch ID provided on the WatchStream"),
        (
            {"key": b"b", "start_revision": -1},
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ],
)
async def test_a_watch_that_cannot_be(create: dict[str, object], reason: str) -> None:
    async with served() as (client, _, _):
        stream = client.watch()
        await stream.create(b"a", watch_id=5)
        answer = await stream.create(**create)  # type: ignore[arg-type]
        assert (answer.watch_id, answer.created, answer.canceled, answer.cancel_reason) == (
            -1,
            True,
            True,
            reason,
        )


async def test_the_past_and_the_previous_value() -> None:
    async with served() as (client, _, _):
        await client.put(b"a", b"1")
        await client.put(b"a", b"2")
        stream = client.watch()
        await stream.create(b"", b"\0", start_revision=2, prev_kv=True)
        events = (await stream.next()).events
        assert [(e.kv.value, e.prev_kv.value) for e in events] == [(b"1", b""), (b"2", b"1")]


async def test_the_future_begins_when_it_comes() -> None:
    async with served() as (client, _, _):
        stream = client.watch()
        await stream.create(b"a", start_revision=4)
        for _i in range(3):
            await client.put(b"a")
        assert _keys(await stream.next()) == [(4, "PUT", b"a")]


async def test_filters() -> None:
    async with served() as (client, _, _):
        stream = client.watch()
        await stream.create(b"a", filters=[pb.WatchCreateRequest.NOPUT])
        await client.put(b"a")
        await client.call("DeleteRange", pb.DeleteRangeRequest(key=b"a"))
        assert _keys(await stream.next()) == [(3, "DELETE", b"a")]


async def test_history_that_is_gone_cancels_the_watch() -> None:
    async with served() as (client, _, _):
        for _i in range(3):
            await client.put(b"a")
        await client.call("Compact", pb.CompactionRequest(revision=3))
        stream = client.watch()
        assert (await stream.create(b"a", start_revision=2)).created
        answer = await stream.next()
        assert (answer.watch_id, answer.canceled, answer.compact_revision) == (0, True, 3)
        assert (await stream.create(b"a", start_revision=3)).watch_id == 1


async def test_cancelling() -> None:
    async with served() as (client, _, _):
        stream = client.watch()
        await stream.create(b"a", watch_id=3)
        await stream.send(_cancel(99))  # unknown: no answer
        await stream.send(_cancel(3))
        answer = await stream.next()
        assert (answer.watch_id, answer.canceled) == (3, True)
        assert (await stream.create(b"b", watch_id=3)).created
        await client.put(b"a")
        await client.put(b"b")
        assert _keys(await stream.next()) == [(3, "PUT", b"b")]


async def test_progress_comes_once_all_watches_have_all() -> None:
    async with served() as (client, _, _):
        stream = client.watch()
        await stream.create(b"a")
        await stream.create(b"b")
        await client.put(b"a")
        await client.put(b"zz")
        await stream.send(_PROGRESS)
        assert _keys(await stream.next()) == [(2, "PUT", b"a")]
        answer = await stream.next()
        assert (answer.watch_id, answer.header.revision, list(answer.events)) == (-1, 3, [])


async def test_progress_is_never_ahead_of_events() -> None:
    async with served() as (client, backend, _):
        stream = client.watch()
        await stream.create(b"a", b"b")
        delivered, told = 0, 0

        async def write() -> None:
            for n in range(300):
                await backend.put(Put(b"a%d" % n, b""))

        async def ask() -> None:
            for _i in range(100):
                await stream.send(_PROGRESS)

        work = asyncio.gather(write(), ask())
        while delivered < 301:
            answer = await stream.next()
            for event in answer.events:
                assert event.kv.mod_revision == max(delivered + 1, 2)
                assert event.kv.mod_revision > told
                delivered = event.kv.mod_revision
            if not answer.events:
                assert answer.header.revision >= told
                told = answer.header.revision
        await work


async def test_periodic_progress_goes_to_quiet_watches_that_want_it() -> None:
    async with served(ServerOptions(progress_interval_s=0.1)) as (client, _, _):
        stream = client.watch()
        await stream.create(b"a", progress_notify=True)
        await stream.create(b"b")
        await client.put(b"zz")
        answer = await stream.next()
        assert (answer.watch_id, answer.header.revision, len(answer.events)) == (0, 2, 0)


def _events(*sizes: int) -> list[Event]:
    return [Event(EventType.PUT, KeyValue(b"%d" % n, b"x" * size, 2, 2, 1)) for n, size in enumerate(sizes)]


def _parts(events: list[Event], bytes_max: int) -> list[bytes]:
    return answers(pb.WatchResponse(watch_id=4), EncodedEvents().encode(events, prev=False), bytes_max)


def test_fragments_are_small_and_lose_nothing() -> None:
    events = _events(*[300] * 20, 5000, 10)
    parts = _parts(events, 1000)
    read = [pb.WatchResponse.FromString(part) for part in parts]
    assert [e.kv.key for part in read for e in part.events] == [e.kv.key for e in events]
    assert all(len(data) < 1000 or len(part.events) == 1 for data, part in zip(parts, read, strict=True))
    assert [part.fragment for part in read] == [True] * (len(parts) - 1) + [False]
    assert {part.watch_id for part in read} == {4}


@pytest.mark.parametrize(("sizes", "bytes_max"), [((10, 10), 1000), ((5000,), 1000), ((5000, 5000), 0)])
def test_what_is_small_or_one_event_is_no_fragment(sizes: tuple[int, ...], bytes_max: int) -> None:
    (part,) = map(pb.WatchResponse.FromString, _parts(_events(*sizes), bytes_max))
    assert (len(part.events), part.fragment) == (len(sizes), False)


def test_an_event_is_encoded_once_and_with_what_was_asked_for() -> None:
    encoded = EncodedEvents()
    (old,) = _events(3)
    event = Event(EventType.PUT, old.kv._replace(version=2), old.kv)
    (first,) = encoded.encode([event], prev=False)
    assert encoded.encode([event], prev=False)[0] is first
    (more,) = encoded.encode([event], prev=True)
    assert pb.WatchResponse.FromString(first).events[0].HasField("prev_kv") is False
    assert pb.WatchResponse.FromString(more).events[0].prev_kv.value == b"xxx"


async def test_only_a_watch_that_asked_gets_fragments() -> None:
    options = ServerOptions(request_bytes_max=600_000)
    async with served(options) as (client, backend, _):
        for n in range(5):
            await backend.put(Put(b"a%d" % n, b"x" * 500_000))
        stream = client.watch()
        await stream.create(b"a", b"b", start_revision=2, fragment=True)
        parts = []
        while not parts or parts[-1].fragment:
            parts.append(await stream.next())
        assert [len(p.events) for p in parts] == [2, 2, 1]


async def test_a_slow_client_costs_no_memory_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's watch keeps a few events and reads the rest from history."""
    monkeypatch.setattr(embedded, "_EVENTS_WAITING_MAX", 10)
    monkeypatch.setattr(embedded, "_PAGE_EVENTS", 7)
    async with served() as (client, backend, _):
        stream = client.watch()
        await stream.create(b"a", b"b")
        for _i in range(200):
            await backend.put(Put(b"a", b"x" * 100_000))
        (watch,) = backend._watches
        assert len(watch._events) <= 11
        assert await _revisions(stream, 200) == list(range(2, 202))


async def _revisions(stream: Stream, count: int) -> list[int]:
    found: list[int] = []
    while len(found) < count:
        found += [e.kv.mod_revision for e in (await stream.next()).events]
    return found


async def test_a_stream_that_ends_leaves_no_watch() -> None:
    async with served() as (client, backend, server):
        stream = client.watch()
        await stream.create(b"a")
        assert len(backend._watches) == 1
        stream.cancel()
        async with asyncio.timeout(5):
            while backend._watches:
                await client.put(b"b")
        assert b"etcd_debugging_mvcc_watcher_total 0.0" in await server.service.core.metrics.text(
            backend, server.service.core.maintenance
        )


async def test_a_fault_in_a_watch_ends_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that hears nothing more looks as one that has nothing to hear."""

    def broken(*args: object, **more: object) -> None:
        raise ValueError("a fault")

    async with served() as (client, _, _):
        stream = client.watch()
        await stream.create(b"a")
        monkeypatch.setattr(EncodedEvents, "encode", broken)
        await client.put(b"a")
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await stream.next()
        assert ended.value.code() is grpc.StatusCode.INTERNAL
