"""The multi-version map: what is durable, what waits for the disk, and what history is still known.

    apply(txn) ──▶ pending ──commit(revision)──▶ live + history + events ──compact──▶ forgotten
                      └──── rollback() ────▶ as if it had never been

A transaction is evaluated against pending state, so that a later one sees an earlier one that the disk has
not confirmed yet; reads and watches see durable state alone. Worked example, revision 5 being durable:

    apply: put a=1   → revision 6, pending    range(a) → nothing        compare(mod a = 6) → holds
    commit(6)        → live                   range(a) → a=1 at 6       watchers get PUT a
"""

from __future__ import annotations

import operator
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from pilothouse.etcd.contract import (
    Bounds,
    Compacted,
    Compare,
    Delete,
    DeleteResult,
    Event,
    EventType,
    FutureRevision,
    InvalidRequest,
    KeyValue,
    Put,
    PutResult,
    Range,
    RangeResult,
    Target,
    Txn,
    TxnResult,
)
from pilothouse.etcd.mvcc.key_index import KeyIndex
from pilothouse.etcd.mvcc.once import require_once

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}

_SORT_KEY: dict[Target | None, Callable[[KeyValue], Any]] = {
    None: operator.attrgetter("key"),
    Target.VERSION: operator.attrgetter("version"),
    Target.CREATE: operator.attrgetter("create_revision"),
    Target.MOD: operator.attrgetter("mod_revision"),
    Target.VALUE: operator.attrgetter("value"),
}

FIRST_REVISION = 1
"""The revision of a new, empty store, as etcd's."""


PLACE_BITS = 20
PLACE_MASK = (1 << PLACE_BITS) - 1
"""A revision and a place within it make one number, which orders all rows of a store."""

_SOME = 4096


class Record(NamedTuple):
    """One durable row: a put, or a tombstone when `kv.version` is 0."""

    kv: KeyValue
    prev: KeyValue | None


class Applied(NamedTuple):
    """A transaction that waits for its commit; no records when it wrote nothing."""

    result: TxnResult
    records: list[Record]


def place_key(kv: KeyValue) -> tuple[int, bytes]:
    """Under what a version's place is kept: a transaction may delete a key and put it, so tombstones count down."""
    return kv.mod_revision if kv.version else -kv.mod_revision, kv.key


class Versions(NamedTuple):
    """Every version that is known, in no order; tombstones have version 0. `places` says which number in its
    revision (from 0) a version is, by `place_key`, where it is not the first."""

    kvs: list[KeyValue]
    places: dict[tuple[int, bytes], int]

    def in_order(self) -> Iterator[tuple[KeyValue, int]]:
        """The versions as they came to be, each with its place in its revision. Other threads run meanwhile: NumPy
        sorts a million without holding the interpreter's lock, `list.sort` would stop the event loop for a second."""
        import numpy as np  # only here: a store that is not copied does without

        kvs, places = self.kvs, self.places
        ids = np.fromiter(
            (kv.mod_revision << PLACE_BITS | places.get(place_key(kv), 0) for kv in kvs),
            dtype=np.int64,
            count=len(kvs),
        )
        order = np.argsort(ids, kind="stable")
        for begin in range(0, len(order), _SOME):
            for i in order[begin : begin + _SOME].tolist():
                kv = kvs[i]
                yield kv, int(ids[i]) & PLACE_MASK


class _Chosen(NamedTuple):
    """A transaction whose branch is decided, and those of the transactions in it."""

    held: bool
    ops: Sequence[Put | Delete | Range | _Chosen]


RequireLease = Callable[[int], None]
"""Raises LeaseNotFound unless it is 0 or granted."""


def _any_lease(lease_id: int) -> None:
    """Nobody keeps leases."""


class _Changes:
    """What one transaction writes. A key may be deleted and put: `newest` has the last of its records."""

    __slots__ = ("newest", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.newest: dict[bytes, KeyValue] = {}

    def __bool__(self) -> bool:
        return bool(self.records)

    def add(self, kv: KeyValue, prev: KeyValue | None) -> None:
        self.records.append(Record(kv, prev))
        self.newest[kv.key] = kv


_NO_CHANGES = _Changes()


class Store:
    """`revision` is the newest durable one."""

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compact_revision = 0
        self.history_bytes = 0
        """Size of the values that only old revisions and watches from the past still need."""
        self._live: dict[bytes, KeyValue] = {}
        self._index = KeyIndex()
        self._pending: dict[bytes, KeyValue] = {}
        self._pending_revision = FIRST_REVISION
        self._older: dict[bytes, list[KeyValue]] = {}
        """Superseded versions and tombstones per key, oldest first; without a live key's newest version."""
        self._gone: set[bytes] = set()
        """Keys with history that do not exist now."""
        self._places: MutableMapping[tuple[int, bytes], int] = {}
        """Where in its revision a version stands, by `place_key`; the first of a revision is not in it."""
        self._to_forget: list[bytes] = []
        self._events: list[Event] = []

    # -- loading ----------------------------------------------------------------------------------------

    def load(
        self,
        records: Iterable[KeyValue],
        compact_revision: int,
        places: MutableMapping[tuple[int, bytes], int] | None = None,
    ) -> None:
        """Rebuild from a log in the order of its events; tombstones have version 0. `places` may be filled while
        `records` are read."""
        self.compact_revision = compact_revision
        if places is not None:
            self._places = places
        for kv in records:
            prev = self._live.get(kv.key)
            self._settle(kv, prev, keep_event=kv.mod_revision >= compact_revision)
            self.revision = max(self.revision, kv.mod_revision)
        self.revision = max(self.revision, compact_revision)
        self._pending_revision = self.revision

    # -- writing ----------------------------------------------------------------------------------------

    def apply(self, txn: Txn, require_lease: RequireLease = _any_lease) -> Applied:
        """Evaluate and, if it writes, give it the next revision. What it raises leaves nothing behind."""
        if self._is_swap(txn):
            return self._swap(txn, require_lease)
        require_once(txn)
        revision = self._pending_revision + 1
        changes = _Changes()
        chosen = self._choose(txn)
        self._check_puts(chosen, require_lease)
        self._check_ranges(chosen)
        result = self._evaluate(chosen, revision, changes)
        if len(changes.records) > PLACE_MASK + 1:
            raise InvalidRequest(
                f"etcdserver: one request may change {PLACE_MASK + 1} keys, this one would change "
                f"{len(changes.records)}: delete the range in parts"
            )
        if changes:
            self._pending_revision = revision
            self._pending.update(changes.newest)
        return Applied(result, changes.records)

    @staticmethod
    def _is_swap(txn: Txn) -> bool:
        """One key is put if its mod revision is as expected, else read: nearly every write of an API server."""
        compare, then, otherwise = txn
        if len(compare) != 1 or len(then) != 1 or len(otherwise) != 1:
            return False
        (held,), (put,), (read,) = compare, then, otherwise
        return (
            held.target is Target.MOD
            and held.op == "="
            and not held.range_end
            and type(put) is Put
            and not (put.ignore_value or put.ignore_lease or put.prev)
            and type(read) is Range
            and put.key == held.key
        )

    def _swap(self, txn: Txn, require_lease: RequireLease) -> Applied:
        """What `apply` does, without the ways that such a transaction does not take."""
        expected, put = txn.compare[0].operand, txn.then[0]
        assert isinstance(put, Put)
        prev = self.newest(put.key)
        if expected != (0 if prev is None else prev.mod_revision):
            return self._refuse_swap(txn)
        require_lease(put.lease)
        revision = self._pending_revision + 1
        if prev is None:
            kv = KeyValue(put.key, put.value, revision, revision, 1, put.lease)
        else:
            kv = KeyValue(put.key, put.value, prev.create_revision, revision, prev.version + 1, put.lease)
        self._pending_revision = revision
        self._pending[put.key] = kv
        return Applied(TxnResult(True, revision, [PutResult(revision, None)]), [Record(kv, prev)])

    def _refuse_swap(self, txn: Txn) -> Applied:
        chosen = _Chosen(False, [op for op in txn.otherwise if isinstance(op, Range)])
        self._check_ranges(chosen)
        return Applied(self._evaluate(chosen, self._pending_revision + 1, _Changes()), [])

    def commit(self, records: Iterable[Record]) -> list[Event]:
        """Make applied records durable state; the events for watchers, in order."""
        events = []
        for place, record in enumerate(records):
            kv = record.kv
            if place:
                self._places[place_key(kv)] = place
            events.append(self._settle(kv, record.prev, keep_event=True))
            self.revision = kv.mod_revision
            if self._pending.get(kv.key) is kv:
                del self._pending[kv.key]
        return events

    def rollback(self) -> None:
        """Forget everything that was applied and not committed."""
        self._pending.clear()
        self._pending_revision = self.revision

    def _settle(self, kv: KeyValue, prev: KeyValue | None, *, keep_event: bool) -> Event:
        key = kv.key
        if kv.version:
            if prev is None:
                self._index.add(key)
                self._gone.discard(key)
            else:
                self._supersede(key, prev)
            self._live[key] = kv
            event = Event(EventType.PUT, kv, prev)
        else:
            if prev is not None:
                self._index.remove(key)
                self._supersede(key, prev)
                del self._live[key]
            self._older.setdefault(key, []).append(kv)
            self._gone.add(key)
            event = Event(EventType.DELETE, kv, prev)
        if keep_event:
            self._events.append(event)
        return event

    def _supersede(self, key: bytes, kv: KeyValue) -> None:
        older = self._older.get(key)
        if older is None:
            self._older[key] = [kv]
        else:
            older.append(kv)
        self.history_bytes += len(kv.value)

    def _choose(self, txn: Txn) -> _Chosen:
        """Every comparison, an inner transaction's too, sees what was before the whole (etcd compareToPath)."""
        held = all(self._holds(c) for c in txn.compare)
        ops = txn.then if held else txn.otherwise
        return _Chosen(held, [self._choose(op) if isinstance(op, Txn) else op for op in ops])

    def _check_puts(self, chosen: _Chosen, require_lease: RequireLease) -> None:
        """All puts, and then all ranges, before anything is done (etcdserver/apply.go, checkRequests): so of several
        faults the one that is told is not always the first."""
        for op in chosen.ops:
            if isinstance(op, Put):
                if (op.ignore_value or op.ignore_lease) and self.newest(op.key) is None:
                    raise InvalidRequest("etcdserver: key not found")
                require_lease(op.lease)
            elif isinstance(op, _Chosen):
                self._check_puts(op, require_lease)

    def _check_ranges(self, chosen: _Chosen) -> None:
        for op in chosen.ops:
            if isinstance(op, Range):
                self._check_revision(op.revision)
            elif isinstance(op, _Chosen):
                self._check_ranges(op)

    def _check_revision(self, revision: int) -> None:
        if revision > self.revision:
            raise FutureRevision
        if 0 < revision < self.compact_revision:
            raise Compacted(self.compact_revision)

    def _evaluate(self, chosen: _Chosen, revision: int, changes: _Changes) -> TxnResult:
        results = [self._run(op, revision, changes) for op in chosen.ops]
        return TxnResult(chosen.held, revision if changes else self._pending_revision, results)

    def _run(
        self, op: Put | Delete | Range | _Chosen, revision: int, changes: _Changes
    ) -> PutResult | DeleteResult | RangeResult | TxnResult:
        if isinstance(op, Put):
            return self._put(op, revision, changes)
        if isinstance(op, Delete):
            return self._delete(op, revision, changes)
        if isinstance(op, Range):
            return self._pending_range(op, changes)
        return self._evaluate(op, revision, changes)

    def _put(self, op: Put, revision: int, changes: _Changes) -> PutResult:
        prev = self._newest(op.key, changes)
        value = op.value
        lease = op.lease
        if op.ignore_value or op.ignore_lease:
            if prev is None:
                raise InvalidRequest("etcdserver: key not found")
            value = prev.value if op.ignore_value else value
            lease = prev.lease if op.ignore_lease else lease
        if prev is None:
            kv = KeyValue(op.key, value, revision, revision, 1, lease)
        else:
            kv = KeyValue(op.key, value, prev.create_revision, revision, prev.version + 1, lease)
        changes.add(kv, prev)
        return PutResult(revision, prev if op.prev else None)

    def _delete(self, op: Delete, revision: int, changes: _Changes) -> DeleteResult:
        gone = []
        for key in self._pending_keys(op.key, op.range_end, changes):
            prev = self._newest(key, changes)
            if prev is None:
                continue
            changes.add(KeyValue(key, b"", 0, revision, 0), prev)
            gone.append(prev)
        seen = revision if changes else self._pending_revision
        return DeleteResult(seen, len(gone), gone if op.prev else [])

    def _newest(self, key: bytes, changes: _Changes) -> KeyValue | None:
        """The key as the transaction that is being applied sees it."""
        kv = changes.newest.get(key) or self._pending.get(key) or self._live.get(key)
        return kv if kv is not None and kv.version else None

    def _pending_keys(self, key: bytes, end: bytes, changes: _Changes) -> list[bytes]:
        if not end:
            return [key]
        keys = set(self._index.slice(key, end))
        for more in (self._pending, changes.newest):
            keys.update(k for k in more if k >= key and (end == b"\0" or k < end))
        return sorted(keys)

    def _pending_range(self, op: Range, changes: _Changes) -> RangeResult:
        seen = self._pending_revision + 1 if changes else self._pending_revision
        if op.revision < 0:
            raise Compacted(self.compact_revision)  # outside of a transaction it is the newest, as 0
        if op.revision > 0:
            return self.range(op)._replace(revision=seen)
        found = (self._newest(k, changes) for k in self._pending_keys(op.key, op.range_end, changes))
        return _limited([kv for kv in found if kv is not None], op, seen)

    def _holds(self, compare: Compare) -> bool:
        """A range must hold key by key; an empty one is compared as a missing key."""
        if not compare.range_end:
            return _compare(compare, self.newest(compare.key))
        keys = self._pending_keys(compare.key, compare.range_end, _NO_CHANGES)
        found = [kv for kv in [self.newest(key) for key in keys] if kv is not None]
        return all([_compare(compare, kv) for kv in found or (None,)])

    # -- reading ----------------------------------------------------------------------------------------

    def get(self, key: bytes) -> KeyValue | None:
        """The newest durable version."""
        return self._live.get(key)

    def newest(self, key: bytes) -> KeyValue | None:
        """The newest version, durable or not."""
        kv = self._pending.get(key) or self._live.get(key)
        return kv if kv is not None and kv.version else None

    def pending_keys(self) -> list[bytes]:
        """What was applied and is not durable."""
        return list(self._pending)

    def range(self, op: Range) -> RangeResult:
        """Durable state, now or at a past revision."""
        self._check_revision(op.revision)
        if 0 < op.revision < self.revision:
            return _limited(list(self._at(op.key, op.range_end, op.revision)), op, self.revision)
        if not op.range_end:
            kv = self._live.get(op.key)
            return _limited([kv] if kv is not None else [], op, self.revision)
        keys = self._index.slice(op.key, op.range_end)
        count = len(keys)
        if op.count_only:
            return RangeResult([], count, self.revision)
        if op.sort is not None or op.bounds is not None:
            return _limited([self._live[k] for k in keys], op, self.revision)
        more = 0 < op.limit < count
        if more:
            keys = keys[: op.limit]
        live = self._live
        kvs = [live[k] for k in keys]
        return RangeResult(_without_values(kvs) if op.keys_only else kvs, count, self.revision, more)

    def _at(self, key: bytes, end: bytes, revision: int) -> Iterator[KeyValue]:
        """Versions that were the newest at a past revision."""
        if end:
            candidates = self._index.slice(key, end)
            gone = [k for k in self._gone if k >= key and (end == b"\0" or k < end)]
            if gone:
                candidates = sorted(candidates + gone)
        else:
            candidates = [key]
        for candidate in candidates:
            kv = self._version_at(candidate, revision)
            if kv is not None and kv.version:
                yield kv

    def _version_at(self, key: bytes, revision: int) -> KeyValue | None:
        live = self._live.get(key)
        if live is not None and live.mod_revision <= revision:
            return live
        for kv in reversed(self._older.get(key, ())):
            if kv.mod_revision <= revision:
                return kv
        return None

    def events_since(self, revision: int) -> Iterator[Event]:
        """Durable events from `revision` on. Compacted when history no longer reaches back that far."""
        return iter(self._events[self._first_place(revision) :])

    def events_page(self, revision: int, events_min: int) -> tuple[list[Event], int]:
        """Durable events from `revision` on, whole revisions, about `events_min`; and where to read on: above the
        store's revision when these were the last. Compacted as in `events_since`."""
        events = self._events
        first = self._first_place(revision)
        end = first + events_min
        if end >= len(events):
            return events[first:], self.revision + 1
        last = events[end - 1].kv.mod_revision
        while end < len(events) and events[end].kv.mod_revision == last:
            end += 1
        return events[first:end], last + 1

    def _first_place(self, revision: int) -> int:
        if revision < self.compact_revision:
            raise Compacted(self.compact_revision)
        return self._place(revision)

    def _place(self, revision: int) -> int:
        """Where in the events a revision begins."""
        return bisect_left(self._events, revision, key=_revision_of)

    def versions(self) -> Versions:
        """All that is known now, as a copy that later writes do not touch; quick, for a million keys too."""
        older = chain.from_iterable(self._older.values())
        return Versions([*self._live.values(), *older], dict(self._places))

    # -- forgetting -------------------------------------------------------------------------------------

    def compact(self, revision: int) -> None:
        """Refuse from now on what looks behind `revision`; `forget` frees the memory."""
        if revision <= self.compact_revision:
            raise Compacted(self.compact_revision)
        if revision > self.revision:
            raise FutureRevision
        self.compact_revision = revision
        del self._events[: self._place(revision)]
        self._to_forget = list(self._older)

    def forget(self, keys_max: int) -> list[tuple[KeyValue, int]] | None:
        """The versions of the next `keys_max` keys that no read at the compacted revision or later can see,
        now dropped, each with its place in its revision; None when all keys were looked at."""
        if not self._to_forget:
            return None
        keys, self._to_forget = self._to_forget[-keys_max:], self._to_forget[:-keys_max]
        dropped: list[tuple[KeyValue, int]] = []
        for key in keys:
            if key in self._older:
                self._forget_versions(key, dropped)
        return dropped

    def _forget_versions(self, key: bytes, dropped: list[tuple[KeyValue, int]]) -> None:
        """Keep the newest version at or below the compacted revision and all above; of tombstones those at
        the compacted revision and above, which a watch from there must still see."""
        revision = self.compact_revision
        versions = self._older[key]
        live = self._live.get(key)
        keep_from = 0
        for i, kv in enumerate(versions):
            following = versions[i + 1] if i + 1 < len(versions) else live
            # At the compacted revision nothing goes, not even what the same transaction undid: watches start there.
            superseded = following is not None and kv.mod_revision < revision >= following.mod_revision
            if superseded or (not kv.version and kv.mod_revision < revision):
                keep_from = i + 1
        if not keep_from:
            return
        for kv in versions[:keep_from]:
            self.history_bytes -= len(kv.value)
            place = self._places.pop(place_key(kv), 0) if self._places else 0
            dropped.append((kv, place))
        if keep_from < len(versions):
            self._older[key] = versions[keep_from:]
        else:
            del self._older[key]
            self._gone.discard(key)


def _revision_of(event: Event) -> int:
    return event.kv.mod_revision


def _limited(kvs: list[KeyValue], op: Range, revision: int) -> RangeResult:
    """Everything in the range is counted; bounds, order and limit choose what is shown, one after the other."""
    count = len(kvs)
    if op.count_only:
        return RangeResult([], count, revision)
    if op.bounds is not None:
        kvs = [kv for kv in kvs if _within(kv, op.bounds)]
    if op.sort is not None:
        kvs = sorted(kvs, key=_SORT_KEY[op.sort.target], reverse=op.sort.descending)
    more = 0 < op.limit < len(kvs)
    if more:
        kvs = kvs[: op.limit]
    return RangeResult(_without_values(kvs) if op.keys_only else kvs, count, revision, more)


def _within(kv: KeyValue, bounds: Bounds) -> bool:
    return bounds.min_mod <= kv.mod_revision <= (
        bounds.max_mod or kv.mod_revision
    ) and bounds.min_create <= kv.create_revision <= (bounds.max_create or kv.create_revision)


def _without_values(kvs: list[KeyValue]) -> list[KeyValue]:
    return [
        KeyValue(key, b"", created, modified, version, lease)
        for key, _, created, modified, version, lease in kvs
    ]


def _compare(compare: Compare, kv: KeyValue | None) -> bool:
    target = compare.target
    actual: int | bytes
    if kv is None:
        if target is Target.VALUE:
            return False
        actual = 0
    elif target is Target.MOD:
        actual = kv.mod_revision
    elif target is Target.VERSION:
        actual = kv.version
    elif target is Target.CREATE:
        actual = kv.create_revision
    elif target is Target.VALUE:
        actual = kv.value
    else:
        actual = kv.lease
    return _ORDER[compare.op](actual, compare.operand)
