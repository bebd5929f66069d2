"""Transactions: what compares hold, which branch is taken, what each operation answers, what is refused."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from pilothouse.etcd.contract import (
    Backend,
    Compare,
    Delete,
    DeleteResult,
    InvalidRequest,
    KeyValue,
    LeaseNotFound,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Target,
    Txn,
    TxnResult,
)
from tests.contract.conftest import KINDS, opener

_LEASE = 7
_KEYS = {
    b"a": KeyValue(b"a", b"m", 2, 4, 3, 0),
    b"b": KeyValue(b"b", b"m", 5, 5, 1, _LEASE),
    b"c": KeyValue(b"c", b"", 6, 6, 1, 0),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def three_keys(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with opener(request.param, request)() as store:
        await store.lease_grant(600, _LEASE)
        for key, value, lease in (
            (b"a", b"k", 0),
            (b"a", b"l", 0),
            (b"a", b"m", 0),
            (b"b", b"m", _LEASE),
            (b"c", b"", 0),
        ):
            await store.put(Put(key, value, lease))
        yield store


class _Subject(NamedTuple):
    name: str
    key: bytes
    range_end: bytes
    found: tuple[bytes, ...]


_SUBJECTS = (
    _Subject("an old key", b"a", b"", (b"a",)),
    _Subject("a key with a lease", b"b", b"", (b"b",)),
    _Subject("an empty value", b"c", b"", (b"c",)),
    _Subject("a missing key", b"none", b"", ()),
    _Subject("two keys", b"a", b"c", (b"a", b"b")),
    _Subject("all keys", b"\0", b"\0", (b"a", b"b", b"c")),
    _Subject("an empty range", b"x", b"z", ()),
    _Subject("a range upside down", b"c", b"a", ()),
)
_FIELDS: dict[Target, Callable[[KeyValue], Any]] = {
    Target.VERSION: lambda kv: kv.version,
    Target.CREATE: lambda kv: kv.create_revision,
    Target.MOD: lambda kv: kv.mod_revision,
    Target.VALUE: lambda kv: kv.value,
    Target.LEASE: lambda kv: kv.lease,
}
_OPERANDS: dict[Target, tuple[Any, ...]] = {
    Target.VERSION: (0, 1, 2, 3, 4, -1),
    Target.CREATE: (0, 2, 3, 5, 6, 7),
    Target.MOD: (0, 4, 5, 6, 7, 1 << 40),
    Target.VALUE: (b"", b"l", b"m", b"mm", b"n", b"\xff"),
    Target.LEASE: (0, _LEASE, 8),
}
_ORDERS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">": operator.gt}


def _holds(subject: _Subject, target: Target, op: str, operand: Any) -> bool:
    """etcdserver/apply.go, applyCompare: a missing key has no value at all, and zero for the rest."""
    if not subject.found:
        return target is not Target.VALUE and _ORDERS[op](0, operand)
    return all(_ORDERS[op](_FIELDS[target](_KEYS[key]), operand) for key in subject.found)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("target", Target, ids=lambda target: target.name)
@pytest.mark.parametrize("op", _ORDERS)
@pytest.mark.parametrize("subject", _SUBJECTS, ids=lambda subject: subject.name)
async def test_compares(three_keys: Backend, subject: _Subject, op: str, target: Target) -> None:
    compares = [Compare(subject.key, target, op, x, subject.range_end) for x in _OPERANDS[target]]
    inner = [Txn((compare,), ()) for compare in compares]
    results = (await three_keys.txn(Txn((), inner))).results
    held = [result.succeeded for result in results if isinstance(result, TxnResult)]
    assert held == [_holds(subject, target, op, operand) for operand in _OPERANDS[target]]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("held", range(8))
async def test_all_compares_must_hold(three_keys: Backend, held: int) -> None:
    compares = [Compare(b"a", Target.MOD, "=" if held & 1 << n else "!=", 4) for n in range(3)]
    done = await three_keys.txn(Txn(compares, (Range(b"a"),), (Range(b"b"),)))
    assert done.succeeded is (held == 7)
    (read,) = done.results
    assert isinstance(read, RangeResult)
    assert [kv.key for kv in read.kvs] == [b"a" if held == 7 else b"b"]


# -- what is done ---------------------------------------------------------------------------------------------


async def _fill(store: Backend) -> None:
    for key in (b"a", b"b", b"c"):
        await store.put(Put(key, b"old"))  # 2, 3, 4


async def _all(store: Backend) -> dict[bytes, bytes]:
    return {kv.key: kv.value for kv in (await store.range(Range(b"\0", b"\0"))).kvs}


_OLD = {key: KeyValue(key, b"old", n, n, 1) for n, key in enumerate((b"a", b"b", b"c"), 2)}


@pytest.mark.parametrize(
    ("ops", "results", "left"),
    [
        ([], [], {b"a": b"old", b"b": b"old", b"c": b"old"}),
        ([Put(b"a", b"1")], [PutResult(5)], {b"a": b"1", b"b": b"old", b"c": b"old"}),
        (
            [Put(b"a", b"1", prev=True), Put(b"d", b"1", prev=True)],
            [PutResult(5, _OLD[b"a"]), PutResult(5)],
            {b"a": b"1", b"b": b"old", b"c": b"old", b"d": b"1"},
        ),
        ([Delete(b"b")], [DeleteResult(5, 1, [])], {b"a": b"old", b"c": b"old"}),
        ([Delete(b"x")], [DeleteResult(4, 0, [])], {b"a": b"old", b"b": b"old", b"c": b"old"}),
        (
            [Delete(b"x"), Put(b"d", b"1"), Delete(b"y")],
            [DeleteResult(4, 0, []), PutResult(5), DeleteResult(5, 0, [])],
            {b"a": b"old", b"b": b"old", b"c": b"old", b"d": b"1"},
        ),
        (
            [Delete(b"a", b"c", prev=True), Put(b"c", b"1")],
            [DeleteResult(5, 2, [_OLD[b"a"], _OLD[b"b"]]), PutResult(5)],
            {b"c": b"1"},
        ),
        (
            [Delete(b"\0", b"\0")],
            [DeleteResult(5, 3, [])],
            {},
        ),
        (
            [Range(b"a"), Put(b"a", b"1"), Range(b"a")],
            [
                RangeResult([_OLD[b"a"]], 1, 4),
                PutResult(5),
                RangeResult([KeyValue(b"a", b"1", 2, 5, 2)], 1, 5),
            ],
            {b"a": b"1", b"b": b"old", b"c": b"old"},
        ),
        (
            [Delete(b"a", b"c"), Range(b"\0", b"\0"), Put(b"d", b"1"), Range(b"c", b"\0", count_only=True)],
            [
                DeleteResult(5, 2, []),
                RangeResult([_OLD[b"c"]], 1, 5),
                PutResult(5),
                RangeResult([], 2, 5),
            ],
            {b"c": b"old", b"d": b"1"},
        ),
        (
            [Put(b"a", b"1"), Range(b"a", revision=2)],
            [PutResult(5), RangeResult([_OLD[b"a"]], 1, 5)],
            {b"a": b"1", b"b": b"old", b"c": b"old"},
        ),
        (
            [Delete(b"a"), Delete(b"a", b"c", prev=True)],
            [DeleteResult(5, 1, []), DeleteResult(5, 1, [_OLD[b"b"]])],
            {b"c": b"old"},
        ),
    ],
)
async def test_what_operations_do_and_answer(
    store: Backend, ops: list[Op], results: list[object], left: dict[bytes, bytes]
) -> None:
    await _fill(store)
    done = await store.txn(Txn((), ops))
    assert done.results == results
    assert await _all(store) == left
    assert done.revision == store.revision


async def test_events_come_in_the_order_of_operations(store: Backend) -> None:
    await _fill(store)
    watch = store.watch(b"\0", b"\0")
    await store.txn(Txn((), (Delete(b"b", b"d"), Put(b"z", b""), Put(b"a", b""), Txn((), (Put(b"m", b""),)))))
    events = await watch.next()
    assert [(e.type.name, e.kv.key) for e in events] == [
        ("DELETE", b"b"),
        ("DELETE", b"c"),
        ("PUT", b"z"),
        ("PUT", b"a"),
        ("PUT", b"m"),
    ]
    assert {e.kv.mod_revision for e in events} == {5}


@pytest.mark.parametrize("path", range(8))
async def test_branches_of_branches(store: Backend, path: int) -> None:
    """Which of eight keys is written by three decisions within each other."""
    await store.put(Put(b"x", b"1"))

    def choice(depth: int, way: int) -> Txn:
        compare = Compare(b"x", Target.VERSION, "=" if path & 1 << depth else "!=", 1)
        if depth == 2:
            return Txn((compare,), (Put(b"k%d" % (way | 1 << depth), b""),), (Put(b"k%d" % way, b""),))
        return Txn((compare,), (choice(depth + 1, way | 1 << depth),), (choice(depth + 1, way),))

    await store.txn(choice(0, 0))
    assert [*await _all(store)] == [b"k%d" % path, b"x"]


async def test_inner_results_are_nested_as_the_transactions_were(store: Backend) -> None:
    await _fill(store)
    done = await store.txn(Txn((), (Txn((), (Put(b"a", b"1"), Txn((), (Range(b"a"),)))), Delete(b"b"))))
    assert done == TxnResult(
        True,
        5,
        [
            TxnResult(
                True,
                done.results[0].revision,
                [
                    PutResult(5),
                    TxnResult(
                        True,
                        done.results[0].results[1].revision,  # type: ignore[union-attr]
                        [RangeResult([KeyValue(b"a", b"1", 2, 5, 2)], 1, 5)],
                    ),
                ],
            ),
            DeleteResult(5, 1, []),
        ],
    )


@pytest.mark.parametrize(
    "ops",
    [
        [Put(b"a", b"1"), Put(b"a", b"2")],
        [Put(b"a", b"1"), Delete(b"a")],
        [Delete(b"a"), Put(b"a", b"1"), Put(b"a", b"2")],
        [Put(b"b", b"1"), Delete(b"a", b"c")],
        [Txn((), (Put(b"a", b"1"),)), Put(b"a", b"2")],
        [Txn((), (Put(b"a", b"1"),)), Txn((), (Put(b"a", b"2"),))],
        [Txn((), (Put(b"a", b"1"),)), Txn((), (), (Put(b"a", b"2"),))],
        [Put(b"a", b"1"), Txn((), (Delete(b"a"),))],
        [Txn((), (Txn((), (Put(b"a", b"1"),)),)), Put(b"a", b"2")],
    ],
)
@pytest.mark.parametrize("branch", ["then", "otherwise"])
async def test_no_key_is_changed_twice(store: Backend, ops: list[Op], branch: str) -> None:
    """Whichever branch it is in, taken or not (v3rpc/key.go, checkTxnRequest and checkIntervals)."""
    await _fill(store)
    txn = Txn((), ops) if branch == "then" else Txn((), (), ops)
    with pytest.raises(InvalidRequest, match=r"^etcdserver: duplicate key given in txn request$"):
        await store.txn(txn)
    assert store.revision == 4
    assert len(await _all(store)) == 3


@pytest.mark.parametrize(
    "txn",
    [
        Txn((), (Put(b"a", b"1"),), (Put(b"a", b"2"),)),
        Txn((), (Txn((), (Put(b"a", b"1"),), (Put(b"a", b"2"),)),)),
        Txn((), (Put(b"a", b"1"), Range(b"a"), Put(b"b", b"1"))),
        Txn((), (Put(b"z", b"1"), Delete(b"a", b"\0"))),  # etcd takes the end for a key here
        Txn((), (Delete(b"b"), Delete(b"a", b"z"), Put(b"z", b"1"))),
    ],
)
async def test_what_only_looks_like_twice(store: Backend, txn: Txn) -> None:
    await _fill(store)
    assert (await store.txn(txn)).revision == 5


async def test_a_refused_operation_undoes_the_whole(store: Backend) -> None:
    await _fill(store)
    with pytest.raises(LeaseNotFound):
        await store.txn(Txn((), (Put(b"a", b"1"), Put(b"d", b"1", lease=12345))))
    with pytest.raises(InvalidRequest, match=r"^etcdserver: key not found$"):
        await store.txn(Txn((), (Put(b"a", b"1"), Put(b"d", b"", ignore_value=True))))
    assert await _all(store) == {b"a": b"old", b"b": b"old", b"c": b"old"}
    assert store.revision == 4
    await store.txn(Txn((), (), (Put(b"d", b"1", lease=12345),)))
    assert store.revision == 4, "in the branch that is not taken it does no harm"
