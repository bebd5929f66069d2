"""A snapshot with higher revisions, for any etcd: what `etcdutl snapshot restore --bump-revision --mark-compacted` does
(etcdutl/snapshot/v3_snapshot.go), but to the file, so that an etcdctl without these flags may restore it.

One row without a value says that the new revision was given, and everything below it is marked for compaction, which
etcd does when it starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from pilothouse.etcd.snapshots.bbolt.reader import Reader
from pilothouse.etcd.snapshots.bbolt.writer import Writer
from pilothouse.etcd.snapshots.database import KEY, META, SCHEDULED, Database, revision_key
from pilothouse.etcd.snapshots.file import SnapshotFile, reading_raw, writing


def bump(source: Path, target: Path, by: int, *, check_hash: bool = True) -> int:
    """Write `target`, whose revision is `by` above `source`'s; that revision. DamagedSnapshot, OSError."""
    import tempfile

    with reading_raw(source, check_hash=check_hash) as reader, writing(target) as out:
        revision = Database(reader).revision() + by
        with tempfile.TemporaryFile(dir=target.parent) as file:
            _rewrite(reader, cast(BinaryIO, file), revision)
            _copy(cast(BinaryIO, file), out)
        out.commit()
    return revision


def _rewrite(reader: Reader, file: BinaryIO, revision: int) -> None:
    writer = Writer(file)
    for name, rows in reader.all_rows():
        writer.add_bucket(name, _changed(name, rows, revision))
    if META not in reader.buckets():
        writer.add_bucket(META, [(SCHEDULED, revision_key(revision))])
    writer.finish()


def _changed(
    name: bytes, rows: Iterator[tuple[bytes, bytes]], revision: int
) -> Iterator[tuple[bytes, bytes]]:
    key = revision_key(revision)
    if name == KEY:
        yield from rows
        yield key, b""
    elif name == META:
        yield from sorted({**dict(rows), SCHEDULED: key}.items())
    else:
        yield from rows


def _copy(file: BinaryIO, out: SnapshotFile) -> None:
    file.seek(0)
    while piece := file.read(1 << 20):
        out.write(piece)
