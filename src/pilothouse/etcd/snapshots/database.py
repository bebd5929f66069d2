"""What a store is made of, as the buckets of an etcd database (etcd server/storage/schema), and back.

    key     every version since the compaction, and what was live then: see `rows`
    lease   id, 8 bytes big endian ▶ leasepb.Lease
    meta    scheduledCompactRev, finishedCompactRev ▶ a row's key; consistent_index, term ▶ 8 bytes big endian;
            storageVersion ▶ "3.6.0", as etcd 3.6 marks what it wrote; older ones ignore it
    auth, authUsers, authRoles ▶ see `auth`
    alarm, cluster, members, members_removed ▶ empty: a restored member makes its own

A row of bumped revisions (`bump`) has no value and names no key: it says only that its revision was given.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

from pilothouse.etcd.contract import KeyValue
from pilothouse.etcd.mvcc.store import PLACE_MASK
from pilothouse.etcd.snapshots.bbolt.reader import Reader
from pilothouse.etcd.snapshots.bbolt.writer import Writer
from pilothouse.etcd.snapshots.errors import Damaged
from pilothouse.etcd.snapshots.fields import fields_of, number_field
from pilothouse.etcd.snapshots.rows import from_row, row, row_revision

STORAGE_VERSION = "3.6.0"

KEY, META, LEASE = b"key", b"meta", b"lease"
EMPTY_BUCKETS = (b"alarm", b"cluster", b"members", b"members_removed")
AUTH_BUCKETS = (b"auth", b"authRoles", b"authUsers")
SCHEDULED, FINISHED = b"scheduledCompactRev", b"finishedCompactRev"

REVISION_MAX = 1 << 42
"""A row's id in an embedded store is a revision and a place in 63 bits; this leaves room for raising revisions."""

_NUMBER = struct.Struct(">q")

Row = tuple[KeyValue, int]
"""A version and its place within its revision."""

AuthRows = dict[bytes, list[tuple[bytes, bytes]]]
"""The rows of AUTH_BUCKETS."""


class Beside(NamedTuple):
    """What a store has beside its keys. Leases are ids and granted seconds."""

    compact_revision: int = 0
    leases: Sequence[tuple[int, int]] = ()
    auth: AuthRows = {}


class DatabaseWriter:
    """Add rows in the order of their events, then `finish`."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = Writer(file)
        self._keys = self._writer.bucket(KEY)

    def add(self, rows: Iterable[Row]) -> None:
        for kv, sub in rows:
            self._keys.put(*row(kv, sub))

    def finish(self, beside: Beside) -> int:
        """The database's size in bytes."""
        self._keys.close()
        writer = self._writer
        leases = sorted((_NUMBER.pack(i), _lease(i, ttl_s)) for i, ttl_s in beside.leases)
        writer.add_bucket(LEASE, leases)
        writer.add_bucket(META, _meta(beside.compact_revision))
        for name in AUTH_BUCKETS:
            writer.add_bucket(name, sorted(beside.auth.get(name, ())))
        for name in EMPTY_BUCKETS:
            writer.add_bucket(name)
        return writer.finish()


def _meta(compact_revision: int) -> list[tuple[bytes, bytes]]:
    rows = [
        (b"consistent_index", _NUMBER.pack(1)),
        (b"term", _NUMBER.pack(1)),
        (b"storageVersion", STORAGE_VERSION.encode()),
    ]
    if compact_revision:
        rows += [(name, revision_key(compact_revision)) for name in (SCHEDULED, FINISHED)]
    return sorted(rows)


def revision_key(revision: int) -> bytes:
    return row(KeyValue(b"", b"", 0, revision, 1), 0)[0]


class Database:
    """An etcd database that is read: `rows` may be asked for several times. Damaged when it is damaged."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        if KEY not in reader.buckets():
            raise Damaged("it is a bbolt database, but not etcd's: there is no bucket of keys")
        meta = dict(reader.rows(META))
        self.compact_revision = max(_compacted(meta.get(name)) for name in (SCHEDULED, FINISHED))
        self.version = meta.get(b"storageVersion", b"").decode(errors="replace")

    def rows(self) -> Iterator[Row]:
        """Versions in the order of their events."""
        for key, value in self._reader.rows(KEY):
            if value:
                kv, place = from_row(key, value)
                if kv.mod_revision > REVISION_MAX or place > PLACE_MASK:
                    raise Damaged(
                        f"it has a row of revision {kv.mod_revision}, number {place}: no store has those"
                    )
                yield kv, place

    def revision(self) -> int:
        """The newest revision that was given. Looks at every row."""
        newest = max(1, self.compact_revision)
        for key, _ in self._reader.rows(KEY):
            newest = max(newest, row_revision(key)[0])
        if newest > REVISION_MAX:
            raise Damaged(f"it is at revision {newest}: no store comes that far")
        return newest

    def leases(self) -> list[tuple[int, int]]:
        """Ids and granted seconds."""
        return list(dict(_read_lease(value) for _, value in self._reader.rows(LEASE)).items())

    def auth(self) -> AuthRows:
        return {name: list(self._reader.rows(name)) for name in AUTH_BUCKETS}


def _compacted(key: bytes | None) -> int:
    return row_revision(key)[0] if key is not None else 0


def _lease(lease_id: int, ttl_s: int) -> bytes:
    """leasepb.Lease: ID = 1, TTL = 2, RemainingTTL = 3 (only where etcd checkpoints leases)."""
    return number_field(1, lease_id) + number_field(2, ttl_s)


def _read_lease(data: bytes) -> tuple[int, int]:
    fields = dict(fields_of(data))
    lease_id, ttl_s = fields.get(1, 0), fields.get(2, 0)
    if not isinstance(lease_id, int) or not isinstance(ttl_s, int) or not lease_id:
        raise Damaged("a row of the lease bucket holds no lease")
    return lease_id, ttl_s
