"""What every store must do, whoever implements it (https://etcd.io/docs/v3.6/learning/api/)."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.etcd.cluster.backend import ClusterBackend
from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    EventType,
    FutureRevision,
    LeaseExists,
    LeaseNotFound,
    Put,
    PutResult,
    Range,
    RangeResult,
    StoreClosed,
    Target,
    Txn,
    prefix_end,
)


async def _keys(store: Backend, prefix: bytes, revision: int = 0) -> list[bytes]:
    found = await store.range(Range(prefix or b"\0", prefix_end(prefix), revision=revision))
    return [kv.key for kv in found.kvs]


def _key_is_new(key: bytes) -> Compare:
    return Compare(key, Target.MOD, "=", 0)


async def test_a_new_store_is_empty_at_revision_1(store: Backend) -> None:
    assert store.revision == 1
    assert await store.range(Range(b"\0", b"\0")) == RangeResult([], 0, 1)
    assert await store.health() == ""


async def test_a_key_remembers_its_revisions(store: Backend) -> None:
    first = await store.put(Put(b"a", b"1"))
    second = await store.put(Put(b"a", b"2", prev=True))
    assert (first.revision, second.revision) == (2, 3)
    assert second.prev is not None
    assert second.prev.value == b"1"
    (kv,) = (await store.range(Range(b"a"))).kvs
    assert kv == (b"a", b"2", 2, 3, 2, 0)
    await store.delete(Delete(b"a"))
    await store.put(Put(b"a", b"3"))
    (kv,) = (await store.range(Range(b"a"))).kvs
    assert kv == (b"a", b"3", 5, 5, 1, 0)


async def test_ranges(store: Backend) -> None:
    for key in (b"b", b"a/2", b"a/1", b"a/3", b"c"):
        await store.put(Put(key, key))
    assert await _keys(store, b"a/") == [b"a/1", b"a/2", b"a/3"]
    page = await store.range(Range(b"a/", prefix_end(b"a/"), limit=2))
    assert [kv.key for kv in page.kvs] == [b"a/1", b"a/2"]
    assert (page.count, page.more) == (3, True)
    assert (await store.range(Range(b"a/", b"a/3", count_only=True))).count == 2
    assert [kv.key for kv in (await store.range(Range(b"b", b"\0"))).kvs] == [b"b", b"c"]
    keys_only = await store.range(Range(b"b", keys_only=True))
    assert keys_only.kvs[0].value == b""


async def test_the_past_stays_readable(store: Backend) -> None:
    await store.put(Put(b"a", b"1"))  # 2
    await store.put(Put(b"b", b"1"))  # 3
    await store.put(Put(b"a", b"2"))  # 4
    await store.delete(Delete(b"b"))  # 5
    await store.put(Put(b"b", b"9"))  # 6
    expected = {2: [b"1"], 3: [b"1", b"1"], 4: [b"2", b"1"], 5: [b"2"], 6: [b"2", b"9"]}
    for revision, values in expected.items():
        found = await store.range(Range(b"a", b"c", revision=revision))
        assert [kv.value for kv in found.kvs] == values
        assert found.revision == 6
    with pytest.raises(FutureRevision):
        await store.range(Range(b"a", revision=7))


async def test_deleting_nothing_takes_no_revision(store: Backend) -> None:
    result = await store.delete(Delete(b"a", b"z"))
    assert result == DeleteResult(1, 0, [])
    assert store.revision == 1


async def test_a_range_is_deleted_in_one_revision(store: Backend) -> None:
    for key in (b"a1", b"a2", b"b"):
        await store.put(Put(key, b"v"))
    result = await store.delete(Delete(b"a", b"b", prev=True))
    assert (result.revision, result.deleted) == (5, 2)
    assert [kv.key for kv in result.prev] == [b"a1", b"a2"]
    assert await _keys(store, b"") == [b"b"]


async def test_a_transaction_is_one_revision(store: Backend) -> None:
    done = await store.txn(Txn((_key_is_new(b"a"),), (Put(b"a", b"1"), Put(b"b", b"1"), Range(b"a", b"c"))))
    assert done.succeeded
    assert done.revision == 2
    assert done.results[0] == PutResult(2)
    read = done.results[2]
    assert isinstance(read, RangeResult)
    assert [kv.mod_revision for kv in read.kvs] == [2, 2], "a transaction sees its own writes"
    lost = await store.txn(Txn((_key_is_new(b"a"),), (Put(b"a", b"2"),), (Range(b"a"),)))
    assert not lost.succeeded
    assert store.revision == 2


async def test_nested_transactions_compare_what_was_before_the_whole(store: Backend) -> None:
    """etcd's compareToPath decides every branch before anything is written."""
    inner = Txn((Compare(b"a", Target.VALUE, "=", b"1"),), (Put(b"b", b"yes"),), (Put(b"b", b"no"),))
    done = await store.txn(Txn((), (Put(b"a", b"1"), inner)))
    assert done.revision == 2
    assert (await store.range(Range(b"b"))).kvs[0].value == b"no"
    await store.txn(Txn((), (Put(b"a", b"2"), inner)))
    assert (await store.range(Range(b"b"))).kvs[0].value == b"yes"


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        (Compare(b"a", Target.VERSION, "=", 2), True),
        (Compare(b"a", Target.VERSION, ">", 2), False),
        (Compare(b"a", Target.CREATE, "<", 3), True),
        (Compare(b"a", Target.MOD, "!=", 2), True),
        (Compare(b"a", Target.VALUE, "=", b"2"), True),
        (Compare(b"a", Target.VALUE, ">", b"1"), True),
        (Compare(b"a", Target.LEASE, "=", 0), True),
        (Compare(b"none", Target.VERSION, "=", 0), True),
        (Compare(b"none", Target.VALUE, "!=", b"x"), False),
        (Compare(b"a", Target.MOD, ">", 2, b"c"), True),
        (Compare(b"a", Target.VERSION, "=", 2, b"c"), False),
        (Compare(b"x", Target.MOD, ">", 0, b"z"), False),
    ],
)
async def test_compares(store: Backend, compare: Compare, holds: bool) -> None:
    await store.put(Put(b"a", b"1"))
    await store.put(Put(b"a", b"2"))
    await store.put(Put(b"b", b"1"))
    assert (await store.txn(Txn((compare,), ()))).succeeded is holds


async def test_of_many_at_once_one_wins(store: Backend) -> None:
    async def create(n: int) -> bool:
        return (await store.txn(Txn((_key_is_new(b"a"),), (Put(b"a", b"%d" % n),)))).succeeded

    assert sum(await asyncio.gather(*(create(n) for n in range(50)))) == 1
    assert store.revision == 2


async def test_concurrent_counting_loses_nothing(store: Backend) -> None:
    await store.put(Put(b"n", b"0"))

    async def add() -> None:
        while True:
            (kv,) = (await store.range(Range(b"n"))).kvs
            same = Compare(b"n", Target.MOD, "=", kv.mod_revision)
            if (await store.txn(Txn((same,), (Put(b"n", b"%d" % (int(kv.value) + 1)),)))).succeeded:
                return

    await asyncio.gather(*(add() for _ in range(20)))
    assert (await store.range(Range(b"n"))).kvs[0].value == b"20"


async def test_a_read_after_a_write_sees_it(store: Backend) -> None:
    async def write_and_read(n: int) -> None:
        key = b"k%d" % n
        result = await store.put(Put(key, b"v"))
        assert store.revision >= result.revision
        assert (await store.range(Range(key))).kvs[0].mod_revision == result.revision

    await asyncio.gather(*(write_and_read(n) for n in range(50)))


async def test_watch_from_now(store: Backend) -> None:
    await store.put(Put(b"a/1", b"before"))
    watch = store.watch(b"a/", prefix_end(b"a/"))
    await store.put(Put(b"a/1", b"after"))
    await store.put(Put(b"b", b"elsewhere"))
    await store.delete(Delete(b"a/1"))
    events = []
    while len(events) < 2:
        events += await asyncio.wait_for(watch.next(), 5)
    put, gone = events
    assert (put.type, put.kv.value) == (EventType.PUT, b"after")
    assert (gone.type, gone.kv.key, gone.kv.mod_revision) == (EventType.DELETE, b"a/1", 5)
    watch.close()
    with pytest.raises(StoreClosed):
        await watch.next()


async def test_watch_knows_the_previous_state(store: Backend) -> None:
    await store.put(Put(b"a", b"1"))
    watch = store.watch(b"a", prev=True)
    await store.put(Put(b"a", b"2"))
    (event,) = await asyncio.wait_for(watch.next(), 5)
    assert event.prev is not None
    assert event.prev.value == b"1"


async def test_watch_from_the_past_goes_on_without_gap_or_repeat(store: Backend) -> None:
    for n in range(10):
        await store.put(Put(b"a%d" % (n % 3), b"%d" % n))
    watch = store.watch(b"a", b"b", 5)
    writers = [store.put(Put(b"a%d" % (n % 3), b"%d" % n)) for n in range(10, 40)]
    await asyncio.gather(*writers)
    seen = []
    while len(seen) < 37:
        seen += await asyncio.wait_for(watch.next(), 5)
    assert [e.kv.mod_revision for e in seen] == list(range(5, 42))
    assert watch.progress_revision == 41


async def test_watch_from_the_future_waits_for_it(store: Backend) -> None:
    watch = store.watch(b"a", b"b", 4)
    for n in range(5):
        await store.put(Put(b"a", b"%d" % n))
    seen = []
    while len(seen) < 3:
        seen += await asyncio.wait_for(watch.next(), 5)
    assert [e.kv.mod_revision for e in seen] == [4, 5, 6]


async def test_all_events_of_a_revision_come_together_in_their_order(store: Backend) -> None:
    watch = store.watch(b"\0", b"\0")
    await store.txn(Txn((), (Put(b"z", b"1"), Put(b"a", b"1"), Put(b"m", b"1"))))
    batch = await asyncio.wait_for(watch.next(), 5)
    assert [e.kv.key for e in batch] == [b"z", b"a", b"m"]


async def test_compaction(store: Backend) -> None:
    for n in range(5):
        await store.put(Put(b"a", b"%d" % n))  # 2..6
    await store.put(Put(b"b", b"1"))  # 7
    await store.delete(Delete(b"b"))  # 8
    await store.compact(5)
    assert store.compact_revision == 5
    assert (await store.range(Range(b"a", revision=5))).kvs[0].value == b"3"
    assert (await store.range(Range(b"b", revision=7))).count == 1
    with pytest.raises(Compacted) as refused:
        await store.range(Range(b"a", revision=4))
    assert refused.value.compact_revision == 5
    with pytest.raises(Compacted):
        await store.compact(5)
    with pytest.raises(FutureRevision):
        await store.compact(9)
    watch = store.watch(b"a", start_revision=4)
    with pytest.raises(Compacted):
        await watch.next()
    watch = store.watch(b"a", start_revision=5)
    assert [e.kv.mod_revision for e in await asyncio.wait_for(watch.next(), 5)] == [5, 6]


async def test_a_watch_from_the_compacted_revision_still_sees_its_tombstone(store: Backend) -> None:
    """Not with etcd before 3.4.34 and 3.5.16 (etcd-io/etcd#18274): Debian's has lost it."""
    if isinstance(store, ClusterBackend) and (await store.status()).version.startswith("3.4.2"):
        return
    await store.put(Put(b"a", b"1"))
    await store.delete(Delete(b"a"))
    await store.compact(3)
    watch = store.watch(b"a", start_revision=3)
    (event,) = await asyncio.wait_for(watch.next(), 5)
    assert (event.type, event.kv.mod_revision) == (EventType.DELETE, 3)
    assert (await store.range(Range(b"a", revision=3))).count == 0


async def test_a_revoked_lease_takes_its_keys_along(store: Backend) -> None:
    lease = await store.lease_grant(60)
    await store.put(Put(b"a", b"1", lease=lease.id))
    await store.put(Put(b"b", b"1", lease=lease.id))
    await store.put(Put(b"b", b"2"))  # no longer the lease's
    assert (await store.lease_status(lease.id)).keys == [b"a"]
    assert await store.leases() == [lease.id]
    await store.lease_revoke(lease.id)
    assert await _keys(store, b"") == [b"b"]
    assert await store.leases() == []
    assert (await store.lease_status(lease.id)).ttl_s == -1
    for attempt in (store.lease_revoke(lease.id), store.lease_keep_alive(lease.id)):
        with pytest.raises(LeaseNotFound):
            await attempt
    with pytest.raises(LeaseNotFound):
        await store.put(Put(b"c", b"1", lease=lease.id))


async def test_leases_have_names_of_their_own(store: Backend) -> None:
    assert (await store.lease_grant(60, 77)).id == 77
    with pytest.raises(LeaseExists):
        await store.lease_grant(60, 77)
    await store.put(Put(b"a", b"1", lease=77))
    await store.put(Put(b"a", b"2", ignore_lease=True))
    (kv,) = (await store.range(Range(b"a"))).kvs
    assert (kv.value, kv.lease) == (b"2", 77)
    assert (await store.lease_keep_alive(77)).ttl_s == 60


async def test_a_revoke_catches_what_is_being_written(store: Backend) -> None:
    lease = await store.lease_grant(60)
    await asyncio.gather(store.put(Put(b"a", b"1", lease=lease.id)), store.lease_revoke(lease.id))
    assert await _keys(store, b"") == []


async def test_a_closed_store_says_so(store: Backend) -> None:
    watch = store.watch(b"a")
    await store.close()
    with pytest.raises(StoreClosed):
        await store.put(Put(b"a", b"1"))
    with pytest.raises(StoreClosed):
        await store.range(Range(b"a"))
    with pytest.raises(StoreClosed):
        await watch.next()
