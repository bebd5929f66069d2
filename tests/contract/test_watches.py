"""Watches: what they cover, where they begin, what comes in which batch, and how far they say they are."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Delete,
    Event,
    EventType,
    KeyValue,
    Put,
    StoreClosed,
    Txn,
    Watch,
)

_PUT, _DELETE = EventType.PUT, EventType.DELETE


async def _history(store: Backend) -> None:
    await store.put(Put(b"a", b"1"))  # 2
    await store.put(Put(b"b", b"1"))  # 3
    await store.txn(Txn((), (Put(b"a", b"2"), Delete(b"b"), Put(b"c", b"1"))))  # 4
    await store.delete(Delete(b"\0", b"\0"))  # 5
    await store.put(Put(b"c", b"2"))  # 6


def _gone(key: bytes, revision: int) -> KeyValue:
    return KeyValue(key, b"", 0, revision, 0)


_A1, _A2 = KeyValue(b"a", b"1", 2, 2, 1), KeyValue(b"a", b"2", 2, 4, 2)
_B1, _C1, _C2 = KeyValue(b"b", b"1", 3, 3, 1), KeyValue(b"c", b"1", 4, 4, 1), KeyValue(b"c", b"2", 6, 6, 1)
_EVENTS = (
    Event(_PUT, _A1),
    Event(_PUT, _B1),
    Event(_PUT, _A2, _A1),
    Event(_DELETE, _gone(b"b", 4), _B1),
    Event(_PUT, _C1),
    Event(_DELETE, _gone(b"a", 5), _A2),
    Event(_DELETE, _gone(b"c", 5), _C1),
    Event(_PUT, _C2),
)
_RANGES = {
    "one key": (b"a", b""),
    "two keys": (b"a", b"c"),
    "from a key on": (b"b", b"\0"),
    "everything": (b"\0", b"\0"),
    "nothing": (b"x", b"z"),
}


def _covers(key: bytes, range_end: bytes, event: Event) -> bool:
    if not range_end:
        return event.kv.key == key
    return event.kv.key >= key and (range_end == b"\0" or event.kv.key < range_end)


async def _collect(watch: Watch, count: int) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(20):
        while len(events) < count:
            batch = await watch.next()
            if events and batch:
                assert batch[0].kv.mod_revision > events[-1].kv.mod_revision, "a revision was torn apart"
            events += batch
    return events


async def _nothing_more(store: Backend, watch: Watch) -> None:
    """A change after all others is the next that comes."""
    last = await store.put(Put(b"zz", b"last"))
    watch.request_progress()
    async with asyncio.timeout(20):
        while watch.progress_revision < last.revision:
            batch = await watch.next()
            assert all(event.kv.mod_revision == last.revision for event in batch)
            watch.request_progress()


@pytest.mark.parametrize("prev", [False, True])
@pytest.mark.parametrize("start", [0, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("where", _RANGES)
async def test_a_watch_from_any_revision(store: Backend, where: str, start: int, prev: bool) -> None:
    """The one that begins before the history lives through it, the others read it."""
    key, range_end = _RANGES[where]
    if not start:
        watch = store.watch(key, range_end, prev=prev)
        await _history(store)
    else:
        await _history(store)
        watch = store.watch(key, range_end, start, prev=prev)
    expected = [e for e in _EVENTS if _covers(key, range_end, e) and e.kv.mod_revision >= start]
    events = await _collect(watch, len(expected))
    if not prev:
        expected = [e._replace(prev=None) for e in expected]
        events = [e._replace(prev=None) for e in events]  # more than was asked for does no harm
    assert events == expected
    await _nothing_more(store, watch)


@pytest.mark.parametrize("start", [6, 7, 8, 20])
async def test_a_watch_from_the_future_begins_there(store: Backend, start: int) -> None:
    await _history(store)
    watch = store.watch(b"a", b"", start)
    for n in range(20):
        await store.put(Put(b"a", b"%d" % n))  # 7 to 26
    events = await _collect(watch, 27 - max(start, 7))
    assert [e.kv.mod_revision for e in events] == list(range(max(start, 7), 27))


@pytest.mark.parametrize("start", [1, 2, 3, 4, 5])
async def test_a_watch_from_what_was_compacted(store: Backend, start: int) -> None:
    await _history(store)
    await store.compact(4)
    watch = store.watch(b"c", b"", start)
    if start < 4:
        with pytest.raises(Compacted) as refused:
            await asyncio.wait_for(watch.next(), 20)
        assert refused.value.compact_revision == 4
        with pytest.raises(Compacted):
            await watch.next()
        return
    events = await _collect(watch, 3 if start == 4 else 2)
    assert [e.kv.mod_revision for e in events] == ([4, 5, 6] if start == 4 else [5, 6])


async def test_a_compaction_does_not_disturb_who_has_read_on(store: Backend) -> None:
    watch = store.watch(b"\0", b"\0")
    await _history(store)
    assert len(await _collect(watch, 8)) == 8
    await store.compact(6)
    await store.put(Put(b"a", b"after"))
    assert [e.kv.value for e in await _collect(watch, 1)] == [b"after"]


async def test_many_watches_see_the_same(store: Backend) -> None:
    watches = [store.watch(b"\0", b"\0", prev=True) for _ in range(50)]
    await _history(store)
    for seen in await asyncio.gather(*(_collect(watch, 8) for watch in watches)):
        assert seen == list(_EVENTS)


async def test_the_keys_of_a_lease_go_in_one_batch(store: Backend) -> None:
    await store.lease_grant(600, 5)
    for n in range(5):
        await store.put(Put(b"k%d" % n, b"", 5))
    watch = store.watch(b"k", b"l", prev=True)
    await store.lease_revoke(5)
    events = await watch.next()
    assert [(e.type, e.kv.key, e.kv.mod_revision) for e in events] == [
        (_DELETE, b"k%d" % n, 7) for n in range(5)
    ]
    assert all(e.prev is not None and e.prev.lease == 5 for e in events)


async def test_an_idle_watch_knows_how_far_it_is(store: Backend) -> None:
    watch = store.watch(b"idle")
    for n in range(10):
        last = await store.put(Put(b"busy", b"%d" % n))
        watch.request_progress()
        async with asyncio.timeout(20):
            while watch.progress_revision < last.revision:
                assert await watch.next() == []
                watch.request_progress()
        assert watch.progress_revision == last.revision


async def test_progress_is_never_ahead_of_events(store: Backend) -> None:
    """While others write, a notice about revision N comes after every event up to N (etcd-io/etcd#15220)."""
    watch = store.watch(b"a", b"b")
    written: list[int] = []

    async def write(n: int) -> None:
        for _ in range(50):
            written.append((await store.put(Put(b"a%d" % n, b""))).revision)

    writers = [asyncio.ensure_future(write(n)) for n in range(4)]
    seen: list[int] = []
    async with asyncio.timeout(30):
        while watch.progress_revision < 201:
            watch.request_progress()
            await asyncio.sleep(0)  # a store in this process answers without waiting
            before = watch.progress_revision
            batch = await watch.next()
            assert all(event.kv.mod_revision > before for event in batch)
            seen += [event.kv.mod_revision for event in batch]
            assert watch.progress_revision == max(seen, default=1)
    await asyncio.gather(*writers)
    assert seen == sorted(written)


async def test_what_was_taken_before_closing_is_all(store: Backend) -> None:
    watch = store.watch(b"a")
    waiting = asyncio.ensure_future(watch.next())
    await asyncio.wait((waiting,), timeout=0.01)
    watch.close()
    with pytest.raises(StoreClosed):
        await asyncio.wait_for(waiting, 5)
    await store.put(Put(b"a", b""))
    with pytest.raises(StoreClosed):
        await watch.next()
    watch.close()


async def test_a_closed_watch_does_not_disturb_the_others(store: Backend) -> None:
    first, second = store.watch(b"a"), store.watch(b"a")
    await store.put(Put(b"a", b"1"))
    assert len(await _collect(first, 1)) == 1
    first.close()
    await store.put(Put(b"a", b"2"))
    assert [e.kv.value for e in await _collect(second, 2)] == [b"1", b"2"]
