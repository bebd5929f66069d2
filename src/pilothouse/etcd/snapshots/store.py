"""A snapshot as a store: read as any `Backend` is, and filled as any is before it is written to a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pilothouse.etcd.contract import KeyValue
from pilothouse.etcd.embedded.backend import EmbeddedBackend
from pilothouse.etcd.embedded.log import NoLog, SqliteLog
from pilothouse.etcd.mvcc.store import place_key
from pilothouse.etcd.snapshots.auth import auth_records
from pilothouse.etcd.snapshots.database import Database
from pilothouse.kit.world import World


class _SnapshotLog(NoLog):
    """What is read at the start; what is written later stays in memory."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._places: dict[tuple[int, bytes], int] = {}

    @property
    def places(self) -> dict[tuple[int, bytes], int]:
        return self._places

    def load(self) -> Iterator[KeyValue]:
        for kv, place in self._database.rows():
            if place:
                self._places[place_key(kv)] = place
            yield kv

    def compact_revision(self) -> int:
        return self._database.compact_revision

    def leases(self) -> list[tuple[int, int]]:
        return self._database.leases()

    def records(self) -> dict[str, bytes]:
        return auth_records(self._database.auth())


class _EmptyLog(NoLog):
    def __init__(self, revision: int) -> None:
        super().__init__()
        self._revision = revision

    def compact_revision(self) -> int:
        return self._revision


def in_memory(database: Database, world: World) -> EmbeddedBackend:
    """All of a snapshot. Its leases stand still until it is given more of them. Damaged."""
    return EmbeddedBackend(world, _SnapshotLog(database))


def begun(world: World, revision: int) -> EmbeddedBackend:
    """An empty store in memory that goes on from a revision."""
    return EmbeddedBackend(world, _EmptyLog(revision))


def raise_revision(directory: Path, revision: int) -> None:
    """Have an embedded store that nobody has open, or a new one, go on from a revision at least; what it has from
    before counts as compacted. StoreError."""
    log = SqliteLog(directory)
    try:
        newest = max((kv.mod_revision for kv in log.load()), default=1)
        if max(newest, log.compact_revision()) < revision:
            log.fill((), revision, (), {})
    finally:
        log.close()
