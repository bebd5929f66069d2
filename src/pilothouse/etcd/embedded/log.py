"""The durable log: rows in SQLite, in the order of events.

One connection. The loop's thread stages a batch, which is work for the processor only; another thread may
commit it, which waits for the disk. Staging in that thread too would have it ask for the interpreter's lock
once per row, against a busy loop. WAL with synchronous=FULL: a commit that returned is on the disk, whatever
happens next.

A row's id is `revision << 20 | place within the revision`: rows are only ever appended, and read in order.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pilothouse.etcd.contract import KeyValue, NoSpace, StoreError, StoreUnavailable
from pilothouse.etcd.embedded import FILE
from pilothouse.etcd.mvcc.store import PLACE_BITS, PLACE_MASK, place_key

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS record (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_PRAGMAS = (
    "locking_mode=EXCLUSIVE",  # before WAL: no shared-memory file, which a full disk could refuse
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=4000",
    "journal_size_limit=67108864",
)


_SELECT = "SELECT key, value, create_revision, id, version, lease FROM log"
_INSERT = "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)"
_FILL_ROWS = 10_000
_READ_ROWS = 1000
_READ_BYTES = 1 << 20


class Batch(NamedTuple):
    """What one commit makes durable."""

    puts: Sequence[KeyValue] = ()
    """Rows in the order of their events, tombstones among them (version 0)."""
    drops: Sequence[tuple[KeyValue, int]] = ()
    """Rows that go, each with its place in its revision."""
    compact_revision: int = 0
    leases_granted: Sequence[tuple[int, int]] = ()
    leases_gone: Sequence[int] = ()
    records: Sequence[tuple[str, bytes]] = ()
    """Values beside the key space; b"" removes one."""


class Sizes(NamedTuple):
    """Bytes: of all there is, and of what is not free to be written again."""

    total: int
    in_use: int


class Log(Protocol):
    """`commit` and `defragment` may run in another thread, while nothing else is called."""

    in_thread: bool

    @property
    def places(self) -> dict[tuple[int, bytes], int]:
        """Where in its revision a row stands, of those that are not the first. Complete when
        everything is loaded."""

    @property
    def directory(self) -> Path | None:
        """Where its files are."""

    def load(self) -> Iterator[KeyValue]: ...
    def compact_revision(self) -> int: ...
    def leases(self) -> list[tuple[int, int]]: ...
    def records(self) -> dict[str, bytes]: ...
    def sizes(self) -> Sizes: ...
    def rows(self, after: int, revision: int) -> list[tuple[KeyValue, int]]:
        """Some of the rows behind the id `after`, up to `revision`, each with its place; [] at their end. May be
        called in another thread between a batch's commit and the next."""

    def stage(self, batch: Batch) -> None:
        """Prepare to commit; StoreUnavailable, with nothing staged."""

    def commit(self) -> None:
        """Durable when it returns; StoreUnavailable, with nothing written, when it cannot be."""

    def defragment(self) -> None:
        """Give free space back to the file system. StoreUnavailable, with nothing changed, when it cannot be."""

    def close(self) -> None: ...


class NoLog:
    """The log of an ephemeral store: nothing outlives the process, and nothing needs a thread."""

    in_thread = False
    directory: Path | None = None

    @property
    def places(self) -> dict[tuple[int, bytes], int]:
        return {}

    def __init__(self) -> None:
        self._bytes = 0

    def load(self) -> Iterator[KeyValue]:
        return iter(())

    def compact_revision(self) -> int:
        return 0

    def leases(self) -> list[tuple[int, int]]:
        return []

    def records(self) -> dict[str, bytes]:
        return {}

    def sizes(self) -> Sizes:
        """What keys and values take in memory, about."""
        return Sizes(self._bytes, self._bytes)

    def rows(self, after: int, revision: int) -> list[tuple[KeyValue, int]]:
        return []

    def stage(self, batch: Batch) -> None:
        """Forgotten at once, but for its size."""
        self._bytes += _row_bytes(batch.puts) - _row_bytes([kv for kv, _ in batch.drops])

    def commit(self) -> None:
        """Nothing to write."""

    def defragment(self) -> None:
        """Nothing is in pieces."""

    def close(self) -> None:
        """Nothing to close."""


class SqliteLog:
    """`directory` is made if it is missing (0700; the files 0600) and locked against a second process."""

    in_thread = True

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory: Path | None = directory
        self._path = directory / FILE
        self._lock = _lock(directory / "lock")
        self.places: dict[tuple[int, bytes], int] = {}
        try:
            self._db = self._open()
        except BaseException:
            os.close(self._lock)
            raise

    def _open(self) -> sqlite3.Connection:
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        os.fchmod(handle, 0o600)
        os.close(handle)
        db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
            db.executescript(_SCHEMA)
            _check_format(db)
        except sqlite3.Error as error:
            db.close()
            raise self._unreadable(error) from error
        except StoreError:
            db.close()
            raise
        return db

    def _unreadable(self, error: sqlite3.Error) -> StoreError:
        return StoreError(
            f"cannot read the store at {self._path}: {error}; bring back a copy of its directory, or choose another "
            "--data-dir"
        )

    def load(self) -> Iterator[KeyValue]:
        for key, value, created, row, version, lease in self._rows(f"{_SELECT} ORDER BY id"):
            kv = KeyValue(key, value, created, row >> PLACE_BITS, version, lease)
            place = row & PLACE_MASK
            if place:
                self.places[place_key(kv)] = place
            yield kv

    def compact_revision(self) -> int:
        rows = list(self._rows("SELECT number FROM meta WHERE name = 'compact_revision'"))
        return int(rows[0][0]) if rows else 0

    def leases(self) -> list[tuple[int, int]]:
        return [(int(i), int(ttl)) for i, ttl in self._rows("SELECT id, ttl_s FROM lease")]

    def records(self) -> dict[str, bytes]:
        return {str(name): bytes(value) for name, value in self._rows("SELECT name, value FROM record")}

    def sizes(self) -> Sizes:
        """Of the database file, without what waits beside it to be written back."""
        (page,), (pages,), (free,) = (
            self._db.execute(f"PRAGMA {name}").fetchone()
            for name in ("page_size", "page_count", "freelist_count")
        )
        return Sizes(page * pages, page * (pages - free))

    def rows(self, after: int, revision: int) -> list[tuple[KeyValue, int]]:
        found: list[tuple[KeyValue, int]] = []
        size = 0
        query = f"{_SELECT} WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        limits = (after, (revision + 1) << PLACE_BITS, _READ_ROWS)
        for key, value, created, row, version, lease in self._rows(query, limits):
            found.append((KeyValue(key, value, created, row >> PLACE_BITS, version, lease), row & PLACE_MASK))
            size += len(value)
            if size > _READ_BYTES:
                break
        return found

    def _rows(self, query: str, limits: tuple[int, ...] = ()) -> Iterator[Any]:
        """StoreError for a file that is damaged."""
        try:
            yield from self._db.execute(query, limits)
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def stage(self, batch: Batch) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._insert(batch)
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def defragment(self) -> None:
        try:
            self._db.execute("VACUUM")
            # Until then the file has the size that it had.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _refused(self, error: sqlite3.Error) -> StoreUnavailable:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return NoSpace()
        return StoreUnavailable(f"the store's disk refused a write: {error}")

    def _insert(self, batch: Batch) -> None:
        if batch.puts:
            self._db.executemany(_INSERT, _rows(batch.puts))
        if batch.compact_revision:
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('compact_revision', ?)", (batch.compact_revision,)
            )
        if batch.drops:
            # By the id: to look for the key among a revision's rows takes hours when the revision deleted a range.
            dead = [(kv.mod_revision << PLACE_BITS | place, kv.key) for kv, place in batch.drops]
            self._db.executemany("DELETE FROM log WHERE id = ? AND key = ?", dead)
        if batch.leases_granted:
            self._db.executemany("INSERT OR REPLACE INTO lease VALUES (?, ?)", batch.leases_granted)
        if batch.leases_gone:
            self._db.executemany("DELETE FROM lease WHERE id = ?", [(i,) for i in batch.leases_gone])
        for name, value in batch.records:
            if value:
                self._db.execute("INSERT OR REPLACE INTO record VALUES (?, ?)", (name, value))
            else:
                self._db.execute("DELETE FROM record WHERE name = ?", (name,))

    def fill(
        self,
        rows: Iterable[tuple[KeyValue, int]],
        compact_revision: int,
        leases: Sequence[tuple[int, int]],
        records: Mapping[str, bytes],
    ) -> None:
        """Take over a whole store, into an empty one; `rows` come with their places in their revisions. What no read
        at the compacted revision or later can see is left out. StoreError when the disk refuses."""
        try:
            every = iter(rows)
            while some := list(islice(every, _FILL_ROWS)):
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(_INSERT, [_row(kv, place) for kv, place in some])
                self._db.execute("COMMIT")
            self._db.execute("BEGIN IMMEDIATE")
            self._leave_out(compact_revision)
            self._insert(Batch((), (), compact_revision, leases, (), tuple(records.items())))
            self._db.execute("COMMIT")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise StoreError(f"cannot write the store to {self._path}: {error}") from error

    def _leave_out(self, compact_revision: int) -> None:
        """As `mvcc.store` forgets: below and at the revision only the newest version of a key stays, and of
        tombstones none that is older."""
        above = (compact_revision + 1) << PLACE_BITS
        self._db.execute(
            "DELETE FROM log WHERE id < ? AND id NOT IN (SELECT max(id) FROM log WHERE id < ? GROUP BY key)",
            (above, above),
        )
        self._db.execute("DELETE FROM log WHERE version = 0 AND id < ?", (compact_revision << PLACE_BITS,))

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)


_ROW_BYTES = 64
"""What a version takes beside its key and value, about."""


def _row_bytes(kvs: Sequence[KeyValue]) -> int:
    return sum(len(kv.key) + len(kv.value) + _ROW_BYTES for kv in kvs)


def _check_format(db: sqlite3.Connection) -> None:
    row = db.execute("SELECT number FROM meta WHERE name = 'format'").fetchone()
    if row is None:
        db.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
    elif row[0] != FORMAT:
        raise StoreError(f"the store has format {row[0]}, this version reads {FORMAT}: upgrade Pilothouse")


def _rows(kvs: Sequence[KeyValue]) -> list[tuple[int, bytes, bytes, int, int, int]]:
    """Rows for versions that come revision by revision."""
    rows = []
    revision, place = 0, 0
    for key, value, created, modified, version, lease in kvs:
        place = place + 1 if modified == revision else 0
        revision = modified
        rows.append((modified << PLACE_BITS | place, key, value, created, version, lease))
    return rows


def _row(kv: KeyValue, place: int) -> tuple[int, bytes, bytes, int, int, int]:
    key, value, created, modified, version, lease = kv
    return modified << PLACE_BITS | place, key, value, created, version, lease


def _lock(path: Path) -> int:
    """An exclusive lock that the kernel drops when the process ends, however it ends."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StoreError(
            f"the store in {path.parent} is in use by another process; stop it or choose another --data-dir"
        ) from error
    return handle
