"""The multi-version store against an obvious slow one: every revision's whole state, kept."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pilothouse.etcd.contract import (
    Compacted,
    Compare,
    Delete,
    Event,
    EventType,
    KeyValue,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Target,
    Txn,
)
from pilothouse.etcd.mvcc.key_index import KeyIndex
from pilothouse.etcd.mvcc.once import DuplicateKey
from pilothouse.etcd.mvcc.store import Record, Store

KEYS = st.sampled_from([b"a", b"a/1", b"a/2", b"b", b"b/1", b"c", b"\xff"])
ENDS = st.sampled_from([b"", b"\0", b"b", b"b0", b"\xff\xff"])
PUTS = st.tuples(KEYS, st.binary(max_size=3)).map(lambda t: Put(*t))
OPS = st.one_of(PUTS, st.tuples(KEYS, ENDS).map(lambda t: Delete(*t)))

State = dict[bytes, KeyValue]


def _within(key: bytes, first: bytes, end: bytes) -> bool:
    if not end:
        return key == first
    return key >= first and (end == b"\0" or key < end)


def _apply(state: State, op: Op, revision: int) -> tuple[State, list[Event]]:
    state, events = dict(state), []
    if isinstance(op, Put):
        old = state.get(op.key)
        created, version = (old.create_revision, old.version + 1) if old else (revision, 1)
        kv = state[op.key] = KeyValue(op.key, op.value, created, revision, version)
        events.append(Event(EventType.PUT, kv, old))
    elif isinstance(op, Delete):
        for key in sorted(k for k in state if _within(k, op.key, op.range_end)):
            old = state.pop(key)
            events.append(Event(EventType.DELETE, KeyValue(key, b"", 0, revision, 0), old))
    return state, events


def _changes_a_key_twice(ops: list[Op]) -> bool:
    """What etcd refuses: a deletion to the end of all keys it overlooks."""
    puts = [op.key for op in ops if isinstance(op, Put)]
    deletes = [op for op in ops if isinstance(op, Delete) and op.range_end != b"\0"]
    return len(set(puts)) < len(puts) or any(_within(k, d.key, d.range_end) for k in puts for d in deletes)


class Mvcc(RuleBasedStateMachine):
    """`states[r]` is everything at revision r; `events` everything that ever happened."""

    @initialize()
    def start(self) -> None:
        self.store = Store()
        self.states: dict[int, State] = {1: {}}
        self.events: list[Event] = []
        self.waiting: list[tuple[list[Record], State, list[Event]]] = []
        self.pending: State = {}
        self.durable: list[KeyValue] = []

    @property
    def newest(self) -> int:
        return self.store.revision + len(self.waiting)

    @rule(ops=st.lists(OPS, min_size=1, max_size=3))
    def apply(self, ops: list[Op]) -> None:
        state, events = self.pending, []
        if _changes_a_key_twice(ops):
            with pytest.raises(DuplicateKey):
                self.store.apply(Txn((), ops))
            return
        for op in ops:
            state, new = _apply(state, op, self.newest + 1)
            events += new
        applied = self.store.apply(Txn((), ops))
        assert [r.kv for r in applied.records] == [e.kv for e in events]
        if events:
            self.pending = state
            self.waiting.append((applied.records, state, events))
        assert applied.result.revision == self.newest

    @rule(key=KEYS)
    def compare_sees_what_waits(self, key: bytes) -> None:
        kv = self.pending.get(key)
        same = Compare(key, Target.MOD, "=", kv.mod_revision if kv else 0)
        assert self.store.apply(Txn((same,), ())).result.succeeded

    @rule(put=PUTS, expected=st.one_of(st.none(), st.integers(0, 20)))
    def swap(self, put: Put, expected: int | None) -> None:
        """What an API server writes: one key if it is as expected (None: as it is), else it is read."""
        kv = self.pending.get(put.key)
        there = kv.mod_revision if kv else 0
        compare = Compare(put.key, Target.MOD, "=", there if expected is None else expected)
        applied = self.store.apply(Txn((compare,), (put,), (Range(put.key),)))
        assert applied.result.succeeded == (compare.operand == there)
        if not applied.result.succeeded:
            assert not applied.records
            (found,) = applied.result.results
            assert isinstance(found, RangeResult)
            assert found.kvs == ([kv] if kv else [])
            assert applied.result.revision == found.revision == self.newest
            return
        state, events = _apply(self.pending, put, self.newest + 1)
        assert [(r.kv, r.prev) for r in applied.records] == [(e.kv, e.prev) for e in events]
        self.pending = state
        self.waiting.append((applied.records, state, events))
        assert applied.result.revision == self.newest
        assert applied.result.results == [PutResult(self.newest)]

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, len(self.waiting)))
        group, self.waiting = self.waiting[:count], self.waiting[count:]
        happened = self.store.commit([r for records, _, _ in group for r in records])
        assert happened == [e for _, _, events in group for e in events]
        for records, state, events in group:
            self.states[records[0].kv.mod_revision] = state
            self.events += events
            self.durable += [r.kv for r in records]

    @rule()
    def rollback(self) -> None:
        self.store.rollback()
        self.waiting.clear()
        self.pending = self.states[self.store.revision]

    @precondition(lambda self: self.store.revision > max(self.store.compact_revision, 1))
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(self.store.compact_revision + 1, self.store.revision))
        self.store.compact(revision)
        while (dropped := self.store.forget(2)) is not None:
            for kv, _ in dropped:
                self.durable.remove(kv)

    @precondition(lambda self: not self.waiting)
    @rule()
    def reload(self) -> None:
        """What the log kept is enough to go on."""
        revision, compacted = self.store.revision, self.store.compact_revision
        self.store = Store()
        self.store.load(self.durable, compacted)
        assert self.store.revision == revision

    @rule(data=st.data(), key=KEYS, end=ENDS, limit=st.integers(0, 3))
    def read(self, data: st.DataObject, key: bytes, end: bytes, limit: int) -> None:
        revision = data.draw(st.integers(max(self.store.compact_revision, 1), self.store.revision))
        state = self.states[revision]
        wanted = [state[k] for k in sorted(state) if _within(k, key, end)]
        for asked in (revision, 0) if revision == self.store.revision else (revision,):
            found = self.store.range(Range(key, end, limit, asked))
            assert found.count == len(wanted)
            assert found.kvs == (wanted[:limit] if limit else wanted)
            assert found.more == (0 < limit < len(wanted))

    @rule(data=st.data())
    def history(self, data: st.DataObject) -> None:
        since = data.draw(st.integers(1, self.store.revision + 1))
        if since < self.store.compact_revision:
            with pytest.raises(Compacted):
                self.store.events_since(since)
            return
        found = [(e.type, e.kv) for e in self.store.events_since(since)]
        assert found == [(e.type, e.kv) for e in self.events if e.kv.mod_revision >= since]

    @invariant()
    def history_is_accounted_for(self) -> None:
        if hasattr(self, "store"):
            known = sum(len(kv.value) for versions in self.store._older.values() for kv in versions)
            assert self.store.history_bytes == known


Mvcc.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestMvcc = Mvcc.TestCase


def test_events_share_the_stored_versions() -> None:
    store = Store()
    applied = store.apply(Txn((), (Put(b"a", b"1"),)))
    (event,) = store.commit(applied.records)
    assert store.get(b"a") is event.kv


def test_the_index_keeps_order_through_bulk_and_single_changes() -> None:
    index = KeyIndex()
    expected: set[bytes] = set()
    for step in range(400):
        key = b"%03d" % (step * 37 % 101)
        if key in expected:
            index.remove(key)
            expected.remove(key)
        else:
            index.add(key)
            expected.add(key)
        if step % 29 == 0 or step % 7 == 0:
            assert index.slice(b"", b"\0") == sorted(expected)
            assert index.slice(b"03", b"05") == sorted(k for k in expected if b"03" <= k < b"05")
        assert len(index) == len(expected)


def test_a_compacted_revision_shows_what_its_own_transaction_undid() -> None:
    """A watch may start at the compacted revision, before a restart and after it."""
    store = Store()
    applied = store.apply(Txn((), (Txn((), (Put(b"a", b"1"),)), Txn((), (Delete(b"a"),)))))
    store.commit(applied.records)
    store.compact(2)
    dropped: list[KeyValue] = []
    while (some := store.forget(10)) is not None:
        dropped += [kv for kv, _ in some]
    kept = [record.kv for record in applied.records if record.kv not in dropped]
    loaded = Store()
    loaded.load(kept, 2)
    for each in (store, loaded):
        assert [e.type for e in each.events_since(2)] == [EventType.PUT, EventType.DELETE]
