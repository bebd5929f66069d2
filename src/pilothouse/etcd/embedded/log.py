"""The durable log: rows in SQLite, in revision order.

One connection, used by one thread at a time: the loop's when it opens, the writer's afterwards. WAL with
synchronous=FULL: a commit that returned is on the disk, whatever happens next.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pilothouse.etcd.contract import KeyValue, StoreError, StoreUnavailable

FORMAT = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    revision INTEGER NOT NULL,
    key BLOB NOT NULL,
    value BLOB,
    create_revision INTEGER NOT NULL,
    version INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    PRIMARY KEY (revision, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lease (id INTEGER PRIMARY KEY, ttl_s INTEGER NOT NULL);
"""


class Batch(NamedTuple):
    """What one commit makes durable."""

    puts: Sequence[KeyValue] = ()
    """Rows, tombstones among them (version 0)."""
    drops: Sequence[KeyValue] = ()
    compact_revision: int = 0
    leases_granted: Sequence[tuple[int, int]] = ()
    leases_gone: Sequence[int] = ()


class Log(Protocol):
    """`write` may run in another thread; the rest only before and after."""

    in_thread: bool

    def load(self) -> Iterator[KeyValue]: ...
    def compact_revision(self) -> int: ...
    def leases(self) -> list[tuple[int, int]]: ...
    def write(self, batch: Batch) -> None:
        """Durable when it returns; StoreUnavailable, with nothing written, when it cannot be."""

    def close(self) -> None: ...


class NoLog:
    """The log of an ephemeral store: nothing outlives the process, and nothing needs a thread."""

    in_thread = False

    def load(self) -> Iterator[KeyValue]:
        return iter(())

    def compact_revision(self) -> int:
        return 0

    def leases(self) -> list[tuple[int, int]]:
        return []

    def write(self, batch: Batch) -> None:
        """Forgotten at once."""

    def close(self) -> None:
        """Nothing to close."""


class SqliteLog:
    """`directory` is made if it is missing (0700; the files 0600) and locked against a second process."""

    in_thread = True

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(directory / "lock")
        path = directory / "store.db"
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA wal_autocheckpoint=4000")
            self._db.executescript(_SCHEMA)
            self._check_format()
        except sqlite3.Error as error:
            os.close(self._lock)
            raise StoreError(f"cannot open the store at {path}: {error}") from error

    def _check_format(self) -> None:
        row = self._db.execute("SELECT number FROM meta WHERE name = 'format'").fetchone()
        if row is None:
            self._db.execute("INSERT INTO meta VALUES ('format', ?)", (FORMAT,))
        elif row[0] != FORMAT:
            raise StoreError(
                f"the store has format {row[0]}, this version reads {FORMAT}: upgrade Pilothouse"
            )

    def load(self) -> Iterator[KeyValue]:
        query = "SELECT key, value, create_revision, revision, version, lease FROM log ORDER BY revision, key"
        for key, value, created, revision, version, lease in self._db.execute(query):
            yield KeyValue(key, value or b"", created, revision, version, lease)

    def compact_revision(self) -> int:
        row = self._db.execute("SELECT number FROM meta WHERE name = 'compact_revision'").fetchone()
        return int(row[0]) if row else 0

    def leases(self) -> list[tuple[int, int]]:
        return [(int(i), int(ttl)) for i, ttl in self._db.execute("SELECT id, ttl_s FROM lease")]

    def write(self, batch: Batch) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._write(batch)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise StoreUnavailable(f"the store's disk refused a write: {error}") from error

    def _write(self, batch: Batch) -> None:
        if batch.puts:
            rows = [
                (k.mod_revision, k.key, k.value, k.create_revision, k.version, k.lease) for k in batch.puts
            ]
            self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", rows)
        if batch.compact_revision:
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('compact_revision', ?)", (batch.compact_revision,)
            )
            dead = [(kv.mod_revision, kv.key) for kv in batch.drops]
            self._db.executemany("DELETE FROM log WHERE revision = ? AND key = ?", dead)
        if batch.leases_granted:
            self._db.executemany("INSERT OR REPLACE INTO lease VALUES (?, ?)", batch.leases_granted)
        if batch.leases_gone:
            self._db.executemany("DELETE FROM lease WHERE id = ?", [(i,) for i in batch.leases_gone])

    def close(self) -> None:
        self._db.close()
        os.close(self._lock)


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
