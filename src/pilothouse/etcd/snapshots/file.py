"""A snapshot as a file: the database, and behind it its SHA-256 (etcd client/v3/snapshot).

Writing goes to FILE.part, for its owner alone (0600), which takes the file's name only when all of it is on the disk:
there is never half a snapshot under its name. Reading refuses a file whose checksum does not hold. One without a
checksum, which is how a database in etcd's data directory looks, is read if the caller says so.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import google_crc32c

from pilothouse.etcd.contract import StoreError
from pilothouse.etcd.snapshots.bbolt.reader import Reader
from pilothouse.etcd.snapshots.database import KEY, Database
from pilothouse.etcd.snapshots.errors import Damaged, DamagedSnapshot
from pilothouse.etcd.snapshots.rows import row_revision
from pilothouse.kit.files import sync_directory

PART = ".part"
_CHECKSUM_BYTES = hashlib.sha256().digest_size
_SECTOR_BYTES = 512
_PIECE_BYTES = 1 << 20

Progress = Callable[[int], None]
"""Told how many bytes are done."""


class SnapshotFile:
    """A snapshot that is being written: `write` its database, then `commit`, or `discard` it."""

    def __init__(self, path: Path) -> None:
        """OSError when the directory cannot be written."""
        self.path = path
        self._part = path.with_name(path.name + PART)
        handle = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.fchmod(handle, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
        self.size += len(data)

    def commit(self) -> None:
        """On the disk, under its name, when it returns. StoreError when nothing was written."""
        if not self.size:
            raise StoreError("the store sent no snapshot at all: look at its log")
        self._file.write(self._digest.digest())
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self.path)
        sync_directory(self.path.parent)

    def discard(self) -> None:
        """Without effect after `commit`."""
        self._file.close()
        self._part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[SnapshotFile]:
    """A snapshot for the block to write and commit; what was not committed is gone at its end."""
    file = SnapshotFile(path)
    try:
        yield file
    finally:
        file.discard()


@contextmanager
def reading(path: Path, *, check_hash: bool = True, progress: Progress | None = None) -> Iterator[Database]:
    """A snapshot's database. DamagedSnapshot, also while its rows are read; OSError when there is no such file."""
    with reading_raw(path, check_hash=check_hash, progress=progress) as reader:
        yield Database(reader)


@contextmanager
def reading_raw(path: Path, *, check_hash: bool, progress: Progress | None = None) -> Iterator[Reader]:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = _database_size(handle, path, check_hash=check_hash, progress=progress)
        yield Reader(handle, size)
    except DamagedSnapshot:
        raise
    except Damaged as error:
        raise DamagedSnapshot(f"{path} cannot be used: {error}; take an older snapshot") from error
    finally:
        os.close(handle)


def _has_checksum(size: int) -> bool:
    """Pages are whole sectors, so what is left over is the checksum (etcdutl/snapshot, hasChecksum)."""
    return size % _SECTOR_BYTES == _CHECKSUM_BYTES


def _database_size(handle: int, path: Path, *, check_hash: bool, progress: Progress | None) -> int:
    size = os.fstat(handle).st_size
    if not _has_checksum(size):
        if not check_hash:
            return size
        raise DamagedSnapshot(
            f"{path} has no checksum: it is cut off, or no snapshot; for a database that was copied from a data "
            "directory give --skip-hash-check"
        )
    size -= _CHECKSUM_BYTES
    if check_hash and _hash(handle, size, progress) != os.pread(handle, _CHECKSUM_BYTES, size):
        raise DamagedSnapshot(
            f"{path} is damaged: its contents do not match its checksum; take another snapshot "
            "(--skip-hash-check reads what is left of it)"
        )
    return size


def _hash(handle: int, size: int, progress: Progress | None) -> bytes:
    digest = hashlib.sha256()
    done = 0
    while done < size:
        piece = os.pread(handle, min(_PIECE_BYTES, size - done), done)
        if not piece:
            break
        digest.update(piece)
        done += len(piece)
        if progress is not None:
            progress(done)
    return digest.digest()


class SnapshotStatus(NamedTuple):
    """What `etcdctl snapshot status` says of a file; `hash` is the CRC-32C of all buckets with their rows."""

    hash: int
    revision: int
    total_keys: int
    total_size: int
    version: str


def status(path: Path) -> SnapshotStatus:
    """Look at every row. DamagedSnapshot; a missing checksum is no fault here, as for etcdctl."""
    with reading_raw(path, check_hash=_has_checksum(path.stat().st_size)) as reader:
        crc, revision, rows = 0, 0, 0
        for name, bucket in reader.all_rows():
            crc = google_crc32c.extend(crc, name)
            for key, value in bucket:
                crc = google_crc32c.extend(crc, key)
                crc = google_crc32c.extend(crc, value)
                rows += 1
                if name == KEY:
                    revision = row_revision(key)[0]
        return SnapshotStatus(crc, revision, rows, reader.size, Database(reader).version)
