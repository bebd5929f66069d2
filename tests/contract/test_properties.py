"""Any sequence of operations has the same answers, errors and events on every store as on the model in memory.

A store is used for many sequences, one after the other: each has keys of its own prefix and counts its revisions from
where the store was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilothouse.etcd.contract import (
    Backend,
    Bounds,
    Compare,
    Delete,
    DeleteResult,
    Event,
    InvalidRequest,
    KeyValue,
    Put,
    PutResult,
    Range,
    RangeResult,
    Sort,
    StoreError,
    Target,
    Txn,
    TxnResult,
    prefix_end,
)
from tests.contract.conftest import open_memory, opener

_BEFORE = 1 << 20
"""A relative revision from before the sequence began: it has no meaning on another store."""


class _Place:
    """Where a sequence happens: its prefix, the revision before it, its leases."""

    def __init__(self, prefix: bytes, base: int, lease: int) -> None:
        self.prefix = prefix
        self.base = base
        self.lease = lease

    def key(self, key: bytes) -> bytes:
        return self.prefix + key

    def end(self, end: bytes) -> bytes:
        return prefix_end(self.prefix) if end == b"\0" else self.prefix + end if end else b""

    def revision(self, relative: int) -> int:
        return self.base + relative if relative else 0

    def lease_id(self, number: int) -> int:
        return self.lease + number if number else 0

    # -- a generated operation becomes a real one ---------------------------------------------------------

    def real(self, op: Any) -> Any:
        if isinstance(op, Put):
            return op._replace(key=self.key(op.key), lease=self.lease_id(op.lease))
        if isinstance(op, Delete):
            return op._replace(key=self.key(op.key), range_end=self.end(op.range_end))
        if isinstance(op, Range):
            bounds = Bounds(*(self.revision(r) for r in op.bounds)) if op.bounds else None
            key, end = self.key(op.key), self.end(op.range_end)
            return op._replace(key=key, range_end=end, revision=self.revision(op.revision), bounds=bounds)
        if isinstance(op, Compare):
            operand = op.operand
            if op.target in (Target.MOD, Target.CREATE) and isinstance(operand, int):
                operand = self.revision(operand)
            elif op.target is Target.LEASE and isinstance(operand, int):
                operand = self.lease_id(operand)
            return op._replace(key=self.key(op.key), range_end=self.end(op.range_end), operand=operand)
        assert isinstance(op, Txn)
        return Txn(
            [self.real(c) for c in op.compare],
            [self.real(o) for o in op.then],
            [self.real(o) for o in op.otherwise],
        )

    # -- and a real answer a relative one -----------------------------------------------------------------

    def relative(self, result: Any) -> Any:
        if isinstance(result, KeyValue):
            return KeyValue(
                result.key[len(self.prefix) :],
                result.value,
                self._since(result.create_revision),
                self._since(result.mod_revision),
                result.version,
                result.lease and result.lease - self.lease,
            )
        if isinstance(result, RangeResult):
            kvs = [self.relative(kv) for kv in result.kvs]
            return RangeResult(kvs, result.count, self._since(result.revision), result.more)
        if isinstance(result, PutResult):
            return PutResult(self._since(result.revision), self.relative(result.prev))
        if isinstance(result, DeleteResult):
            prev = [self.relative(kv) for kv in result.prev]
            return DeleteResult(self._since(result.revision), result.deleted, prev)
        if isinstance(result, TxnResult):
            inner = [self.relative(r) for r in result.results]
            # The revision of an inner transaction is nobody's promise: etcd leaves it out of some.
            inner = [r._replace(revision=0) if isinstance(r, TxnResult) else r for r in inner]
            return TxnResult(result.succeeded, self._since(result.revision), inner)
        if isinstance(result, Event):
            return Event(result.type, self.relative(result.kv), self.relative(result.prev))
        return result

    def _since(self, revision: int) -> int:
        return revision - self.base if revision >= self.base else revision and _BEFORE


# -- what is generated ----------------------------------------------------------------------------------------

_keys = st.sampled_from([b"a", b"ab", b"b", b"c", b"\xff"])
_ends = st.sampled_from([b"", b"", b"b", b"c", b"\0"])
_values = st.sampled_from([b"", b"1", b"2", b"\x00"])
_leases = st.sampled_from([0, 0, 0, 1, 2, 3])
_revisions = st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8, 99])
_flags = st.booleans()

_puts = st.builds(lambda k, v, lease, p: Put(k, v, lease, p), _keys, _values, _leases, _flags)
"""Proper ones: what etcd's API refuses by itself is no matter of the store."""
_partial_puts = st.one_of(
    st.builds(lambda k, v, p: Put(k, v, 0, p, False, True), _keys, _values, _flags),
    st.builds(lambda k, lease, p: Put(k, b"", lease, p, True, False), _keys, _leases, _flags),
)
_deletes = st.builds(Delete, _keys, _ends, _flags)
_sorts = st.one_of(
    st.none(),
    st.builds(Sort, st.sampled_from([None, Target.VERSION, Target.CREATE, Target.MOD, Target.VALUE]), _flags),
)
_bounds = st.one_of(st.none(), st.builds(Bounds, _revisions, _revisions, _revisions, _revisions))
_ranges = st.builds(
    Range, _keys, _ends, st.integers(0, 3), _revisions, _flags, st.just(False), _sorts, _bounds
)
_counts = st.builds(lambda k, e, r: Range(k, e, revision=r, count_only=True), _keys, _ends, _revisions)
_compares = st.one_of(
    st.builds(
        Compare,
        _keys,
        st.sampled_from([Target.VERSION, Target.CREATE, Target.MOD, Target.LEASE]),
        st.sampled_from(["=", "!=", "<", ">"]),
        st.integers(0, 4),
        _ends,
    ),
    st.builds(Compare, _keys, st.just(Target.VALUE), st.sampled_from(["=", "!=", "<", ">"]), _values, _ends),
)
_simple = st.one_of(_puts, _partial_puts, _deletes, _ranges, _counts)


def _txns(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Txn]:
    ops = st.lists(inner, max_size=3)
    return st.builds(Txn, st.lists(_compares, max_size=2), ops, ops)


_nested = _txns(st.one_of(_simple, _simple, _txns(_simple)))
_steps = st.one_of(
    _puts,
    _deletes,
    _nested,
    _nested,
    _ranges,
    _partial_puts,
    st.tuples(st.just("compact"), st.integers(1, 6)),
    st.tuples(st.sampled_from(["grant", "revoke", "keys of"]), st.integers(1, 3)),
)


# -- how it is run --------------------------------------------------------------------------------------------


async def _step(store: Backend, place: _Place, step: Any) -> Any:
    if isinstance(step, Put):
        return await store.put(place.real(step))
    if isinstance(step, Delete):
        return await store.delete(place.real(step))
    if isinstance(step, Range):
        return await store.range(place.real(step))
    if isinstance(step, Txn):
        return await store.txn(place.real(step))
    what, number = step
    if what == "compact":
        return await store.compact(place.base + number)
    if what == "grant":
        return (await store.lease_grant(3600, place.lease_id(number))).granted_ttl_s
    if what == "revoke":
        return await store.lease_revoke(place.lease_id(number))
    return [key[len(place.prefix) :] for key in (await store.lease_status(place.lease_id(number))).keys]


async def _run(store: Backend, place: _Place, steps: list[Any]) -> list[Any]:
    """The answers, one by one, and the events of them all."""
    watch = store.watch(place.prefix, prefix_end(place.prefix), place.base + 1, prev=True)
    told: list[Any] = []
    for step in steps:
        try:
            told.append(place.relative(await _step(store, place, step)))
        except StoreError as error:
            kind = InvalidRequest if isinstance(error, InvalidRequest) else type(error)
            told.append((kind.__name__, str(error)))
    for number in (1, 2, 3):
        try:
            await store.lease_revoke(place.lease_id(number))
        except StoreError as error:
            told.append(str(error))
    last = await store.put(Put(place.key(b"z"), b"last"))
    async with asyncio.timeout(20):
        while watch.progress_revision < last.revision:
            told += [place.relative(event) for event in await watch.next()]
    watch.close()
    return told


class _Stores:
    """A store that is used again and again, and a new model each time."""

    def __init__(self, runner: asyncio.Runner, opened: AbstractAsyncContextManager[Backend]) -> None:
        self._runner = runner
        self._opened = opened
        self._store = runner.run(opened.__aenter__())
        self._count = 0

    def compare(self, steps: list[Any]) -> tuple[list[Any], list[Any]]:
        self._count += 1
        return self._runner.run(self._both(steps))

    async def _both(self, steps: list[Any]) -> tuple[list[Any], list[Any]]:
        prefix, lease = b"s%06d/" % self._count, self._count * 10
        base = (await self._store.put(Put(b"base", b""))).revision
        told = await _run(self._store, _Place(prefix, base, lease), steps)
        async with open_memory() as model:
            await model.put(Put(b"base", b""))
            return told, await _run(model, _Place(prefix, 2, lease), steps)

    def close(self) -> None:
        self._runner.run(self._opened.__aexit__(None, None, None))


@pytest.fixture(scope="module", params=["embedded", "served", "etcd"])
def stores(request: pytest.FixtureRequest) -> Iterator[_Stores]:
    with asyncio.Runner() as runner:
        stores = _Stores(runner, opener(request.param, request)())
        yield stores
        stores.close()


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=st.lists(_steps, min_size=1, max_size=14))
def test_any_sequence_of_operations(stores: _Stores, steps: list[Any]) -> None:
    told, expected = stores.compare(steps)
    assert told == expected
