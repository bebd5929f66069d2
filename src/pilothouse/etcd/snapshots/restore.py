"""A snapshot as an embedded store: a new one, made under another name and renamed when it is whole.

Clients of a restored store must not see time go backwards: what they read at revision 900 is gone when the store goes
on from 800, and when it comes to 900 again they take other things for it. So revisions go up by a thousand million
(https://etcd.io/docs/v3.6/op-guide/recovery, "Restoring with revision bump"), and everything below counts as compacted:
a watch from an old revision is refused, and its client lists anew.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pilothouse.etcd import embedded
from pilothouse.etcd.contract import KeyValue, StoreError
from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.etcd.snapshots.auth import auth_records
from pilothouse.etcd.snapshots.database import Database
from pilothouse.etcd.snapshots.file import PART, Progress
from pilothouse.kit.files import sync_directory

BUMP = 1_000_000_000

_TELL_ROWS = 1000

_MAY_STAY = (
    "pki",
    "kubeconfig",
    "*.kubeconfig",
    "pilothouse.log",
    "pilothouse.log.1",
    "pilothouse.pid",
    "snapshots",
)
"""What belongs to a control plane and not to its store: keys and certificates go on being used, and a backup to restore
from may be there, too."""


class Restored(NamedTuple):
    """`old_revision` is the snapshot's; `rows` are the versions that were taken over."""

    old_revision: int
    revision: int
    rows: int
    leases: int


def check_empty(data_dir: Path) -> None:
    """StoreError unless a store may be put there."""
    if not data_dir.exists():
        return
    if not data_dir.is_dir():
        raise StoreError(f"{data_dir} is no directory")
    found = sorted(
        p.name
        for p in data_dir.iterdir()
        if not any(fnmatch.fnmatch(p.name, allowed) for allowed in _MAY_STAY)
    )
    if found:
        raise StoreError(
            f"{data_dir} is not empty ({', '.join(found[:3])}): restore into a new directory; of an old one only "
            "pki and kubeconfigs may be there"
        )


def restore(
    database: Database, data_dir: Path, bump: int = BUMP, progress: Progress = lambda rows: None
) -> Restored:
    """Make DATA_DIR/store. StoreError when there is something, or the snapshot is damaged; nothing is left then.
    `progress` is told how many rows are done."""
    check_empty(data_dir)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = data_dir / (embedded.DIRECTORY + PART)
    try:
        restored = _fill(database, part, bump, progress)
        part.rename(data_dir / embedded.DIRECTORY)
        sync_directory(data_dir)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return restored


class _Counted:
    """Rows on their way, and how far they came."""

    def __init__(self, database: Database, progress: Progress) -> None:
        self._database = database
        self._progress = progress
        self.rows = 0

    def __iter__(self) -> Iterator[tuple[KeyValue, int]]:
        for kv, place in self._database.rows():
            self.rows += 1
            if self.rows % _TELL_ROWS == 0:
                self._progress(self.rows)
            yield kv, place


def _fill(database: Database, directory: Path, bump: int, progress: Progress) -> Restored:
    old = database.revision()
    revision = old + bump
    compacted = revision if bump else database.compact_revision
    leases = database.leases()
    log = SqliteLog(directory)
    try:
        rows = _Counted(database, progress)
        log.fill(rows, compacted, leases, auth_records(database.auth()))
    finally:
        log.close()
    (directory / "lock").unlink(missing_ok=True)
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return Restored(old, revision, rows.rows, len(leases))
