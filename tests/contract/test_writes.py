"""Puts, deletes, leases and compactions, one by one, with what they answer and refuse."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Delete,
    DeleteResult,
    EventType,
    FutureRevision,
    InvalidRequest,
    KeyValue,
    LeaseExists,
    LeaseNotFound,
    LeaseStatus,
    Op,
    Put,
    PutResult,
    Range,
    StoreError,
    Txn,
)

_VALUES = (b"", b"x", b"\x00\xff", b"x" * 100_000)


async def _get(store: Backend, key: bytes) -> KeyValue | None:
    found = (await store.range(Range(key))).kvs
    return found[0] if found else None


# -- puts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", _VALUES, ids=lambda value: f"{len(value)} bytes")
@pytest.mark.parametrize("key", [b"a", b"\x00", b"\xff\xff", b"a/b" * 300], ids=["a", "zero", "ff", "long"])
async def test_any_bytes_are_kept(store: Backend, key: bytes, value: bytes) -> None:
    assert await store.put(Put(key, value)) == PutResult(2)
    assert await _get(store, key) == KeyValue(key, value, 2, 2, 1, 0)


@pytest.mark.parametrize("prev", [False, True])
@pytest.mark.parametrize("ignore_lease", [False, True])
@pytest.mark.parametrize("ignore_value", [False, True])
async def test_what_a_put_may_leave_as_it_is(
    store: Backend, ignore_value: bool, ignore_lease: bool, prev: bool
) -> None:
    await store.lease_grant(600, 5)
    await store.lease_grant(600, 6)
    await store.put(Put(b"a", b"old", 5))
    new = Put(
        b"a",
        b"" if ignore_value else b"new",
        0 if ignore_lease else 6,
        prev,
        ignore_value,
        ignore_lease,
    )
    result = await store.put(new)
    assert result == PutResult(3, KeyValue(b"a", b"old", 2, 2, 1, 5) if prev else None)
    value, lease = b"old" if ignore_value else b"new", 5 if ignore_lease else 6
    assert await _get(store, b"a") == KeyValue(b"a", value, 2, 3, 2, lease)
    assert (await store.lease_status(lease)).keys == [b"a"]
    assert (await store.lease_status(11 - lease)).keys == []


@pytest.mark.parametrize("ignore", ["ignore_value", "ignore_lease"])
async def test_nothing_can_be_left_as_it_is_of_a_missing_key(store: Backend, ignore: str) -> None:
    put = Put(b"a", b"")._replace(**{ignore: True})
    with pytest.raises(InvalidRequest, match=r"^etcdserver: key not found$"):
        await store.put(put)
    assert store.revision == 1


async def test_a_put_without_a_lease_takes_it_off(store: Backend) -> None:
    await store.lease_grant(600, 5)
    await store.put(Put(b"a", b"1", 5))
    await store.put(Put(b"a", b"2"))
    assert (await store.lease_status(5)).keys == []
    await store.lease_revoke(5)
    assert await _get(store, b"a") == KeyValue(b"a", b"2", 2, 3, 2, 0)


async def test_versions_begin_anew_after_a_deletion(store: Backend) -> None:
    for _ in range(3):
        await store.put(Put(b"a", b""))
    await store.delete(Delete(b"a"))
    await store.put(Put(b"a", b""))
    assert await _get(store, b"a") == KeyValue(b"a", b"", 6, 6, 1, 0)


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Put(b"", b"1"), "key is not provided"),
        (Put(b"a", b"1", ignore_value=True), "value is provided"),
        (Put(b"a", b"", 5, ignore_lease=True), "lease is provided"),
        (Put(b"a", b"1", 12345), "requested lease not found"),
        (Put(b"a", bytes(1_600_000)), "request is too large"),
        (Delete(b""), "key is not provided"),
        (Delete(b"", b"z"), "key is not provided"),
        (Range(b""), "key is not provided"),
        (Range(b"", b"\0"), "key is not provided"),
        (Range(b"a", revision=99), "mvcc: required revision is a future revision"),
    ],
)
@pytest.mark.parametrize("within", ["alone", "txn", "inner txn"])
async def test_what_is_no_proper_request(speaking: Backend, op: Op, message: str, within: str) -> None:
    """What etcd's API says before it asks the store (v3rpc/key.go)."""
    with pytest.raises(StoreError) as refused:
        if within == "txn":
            await speaking.txn(Txn((), (op,)))
        elif within == "inner txn":
            await speaking.txn(Txn((), (Txn((), (op,)),)))
        elif isinstance(op, Put):
            await speaking.put(op)
        elif isinstance(op, Delete):
            await speaking.delete(op)
        else:
            assert isinstance(op, Range)
            await speaking.range(op)
    assert str(refused.value) == f"etcdserver: {message}"
    assert (await speaking.range(Range(b"a"))).revision == 1


@pytest.mark.parametrize("branch", ["then", "otherwise"])
async def test_a_transaction_has_128_operations_at_most(speaking: Backend, branch: str) -> None:
    ops = [Put(b"%d" % n, b"") for n in range(129)]
    with pytest.raises(InvalidRequest, match=r"^etcdserver: too many operations in txn request$"):
        await speaking.txn(Txn((), ops) if branch == "then" else Txn((), (), ops))
    assert (await speaking.txn(Txn((), ops[:128]))).revision == 2


# -- deletes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prev", [False, True])
@pytest.mark.parametrize(
    ("key", "range_end", "gone"),
    [
        (b"b", b"", [b"b"]),
        (b"x", b"", []),
        (b"b", b"c", [b"b", b"b1", b"b2"]),
        (b"b1", b"\0", [b"b1", b"b2", b"c"]),
        (b"\0", b"\0", [b"a", b"b", b"b1", b"b2", b"c"]),
        (b"\0", b"b1", [b"a", b"b"]),
        (b"c", b"a", []),
        (b"x", b"z", []),
    ],
)
async def test_deletes(store: Backend, key: bytes, range_end: bytes, gone: list[bytes], prev: bool) -> None:
    keys = [b"a", b"b", b"b1", b"b2", b"c"]
    for one in keys:
        await store.put(Put(one, b"v"))  # 2 to 6
    result = await store.delete(Delete(key, range_end, prev))
    before = [KeyValue(k, b"v", n, n, 1) for n, k in enumerate(keys, 2) if k in gone]
    assert result == DeleteResult(7 if gone else 6, len(gone), before if prev else [])
    left = (await store.range(Range(b"\0", b"\0"))).kvs
    assert [kv.key for kv in left] == [k for k in keys if k not in gone]
    assert (await store.range(Range(b"\0", b"\0", revision=6))).count == 5


# -- leases ---------------------------------------------------------------------------------------------------


async def test_a_lease_runs_out_and_takes_its_keys_in_one_revision(store: Backend) -> None:
    watch = store.watch(b"\0", b"\0", 4)
    lease = await store.lease_grant(2)
    await store.put(Put(b"a", b"", lease.id))
    await store.put(Put(b"b", b"", lease.id))
    events = await asyncio.wait_for(watch.next(), 20)
    assert [(e.type, e.kv.key, e.kv.mod_revision) for e in events] == [
        (EventType.DELETE, b"a", 4),
        (EventType.DELETE, b"b", 4),
    ]
    assert await store.leases() == []
    with pytest.raises(LeaseNotFound):
        await store.lease_keep_alive(lease.id)


async def test_the_states_of_a_lease(store: Backend) -> None:
    assert await store.lease_status(9) == LeaseStatus(9, 0, -1, [])
    granted = await store.lease_grant(600, 9)
    assert granted == LeaseStatus(9, 600, 600, [])
    await store.put(Put(b"b", b"", 9))
    await store.put(Put(b"a", b"", 9))
    status = await store.lease_status(9)
    assert (status.id, status.granted_ttl_s, status.keys) == (9, 600, [b"a", b"b"])
    assert 595 <= status.ttl_s <= 600
    assert (await store.lease_keep_alive(9)).ttl_s == 600
    await store.delete(Delete(b"a"))
    assert (await store.lease_status(9)).keys == [b"b"]
    await store.lease_revoke(9)
    assert await store.lease_status(9) == LeaseStatus(9, 0, -1, [])
    assert store.revision == 5


async def test_revoking_a_lease_without_keys_takes_no_revision(store: Backend) -> None:
    await store.lease_grant(600, 9)
    await store.lease_revoke(9)
    assert (await store.put(Put(b"a", b""))).revision == 2


async def test_leases_are_listed_and_have_ids_of_their_own(store: Backend) -> None:
    ids = {(await store.lease_grant(600)).id for _ in range(5)}
    assert len(ids) == 5
    assert all(0 < lease_id < 1 << 63 for lease_id in ids)
    assert set(await store.leases()) == ids
    with pytest.raises(LeaseExists, match=r"^etcdserver: lease already exists$"):
        await store.lease_grant(600, next(iter(ids)))


async def test_a_key_moves_between_leases(store: Backend) -> None:
    await store.lease_grant(600, 5)
    await store.lease_grant(600, 6)
    await store.put(Put(b"a", b"", 5))
    await store.txn(Txn((), (Put(b"a", b"", 6),)))
    await store.lease_revoke(5)
    assert (await store.range(Range(b"a"))).count == 1
    await store.lease_revoke(6)
    assert (await store.range(Range(b"a"))).count == 0


@pytest.mark.parametrize("ttl_s", [9_000_000_001, 1 << 40])
async def test_no_lease_is_for_ever(speaking: Backend, ttl_s: int) -> None:
    with pytest.raises(StoreError, match=r"^etcdserver: too large lease TTL$"):
        await speaking.lease_grant(ttl_s)


@pytest.mark.parametrize("ttl_s", [0, -1, 1])
async def test_a_lease_has_a_shortest_time(speaking: Backend, ttl_s: int) -> None:
    assert (await speaking.lease_grant(ttl_s)).granted_ttl_s >= 1


# -- compactions ----------------------------------------------------------------------------------------------


async def _five_revisions(store: Backend) -> None:
    for n in range(4):
        await store.put(Put(b"a", b"%d" % n))  # 2 to 5
    await store.delete(Delete(b"a"))  # 6


@pytest.mark.parametrize("at", range(2, 7))
async def test_what_a_compaction_leaves(store: Backend, at: int) -> None:
    await _five_revisions(store)
    await store.compact(at)
    for revision in range(2, 7):
        if revision < at:
            with pytest.raises(Compacted) as refused:
                await store.range(Range(b"a", revision=revision))
            assert refused.value.compact_revision == at
            with pytest.raises(Compacted):
                await store.txn(Txn((), (Range(b"a", revision=revision),)))
        else:
            found = (await store.range(Range(b"a", revision=revision))).kvs
            assert [kv.value for kv in found] == ([b"%d" % (revision - 2)] if revision < 6 else [])
    assert store.compact_revision == at
    assert store.revision == 6, "a compaction is no revision"


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        (3, 3, Compacted),
        (3, 2, Compacted),
        (3, 7, FutureRevision),
        (0, -1, Compacted),
        (6, 6, Compacted),
    ],
)
async def test_compactions_that_cannot_be(
    store: Backend, first: int, second: int, error: type[StoreError]
) -> None:
    await _five_revisions(store)
    if first:
        await store.compact(first)
    with pytest.raises(error):
        await store.compact(second)


async def test_compactions_go_on(store: Backend) -> None:
    await _five_revisions(store)
    for revision in range(2, 7):
        await store.compact(revision)
    await store.put(Put(b"a", b"again"))
    assert (await _get(store, b"a")) == KeyValue(b"a", b"again", 7, 7, 1)
    assert (await store.range(Range(b"a", revision=6))).kvs == []
