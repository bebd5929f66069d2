"""A running embedded store's copy as a stream of bytes, while writes go on.

    versions() ──▶ a thread: sort, write a bbolt database ──▶ an unlinked file beside the store ──▶ pieces of it
    (now, at one revision)

The event loop does no more than copy a list of what there is (some milliseconds for a million keys): versions never
change. The file in between, because a database's first page says where its root is, which is known last, and so that
a slow reader holds nothing but the file.
"""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from pilothouse.etcd.contract import NoSpace, StoreError, StoreUnavailable
from pilothouse.etcd.mvcc.store import Versions
from pilothouse.etcd.snapshots.auth import auth_rows
from pilothouse.etcd.snapshots.database import Beside, DatabaseWriter

T = TypeVar("T")

_PIECE_BYTES = 256 * 1024
_ROWS_AT_ONCE = 1000


class _GivenUp(StoreError):
    """The reader has gone."""


class Copy:
    """Iterate over its pieces; `size`, of all of them, is known with the first. StoreUnavailable when there is no
    room for it."""

    def __init__(
        self,
        versions: Versions,
        compact_revision: int,
        leases: list[tuple[int, int]],
        records: Mapping[str, bytes],
        directory: Path | None,
    ) -> None:
        self._versions: Versions | None = versions
        self._beside = Beside(compact_revision, leases, auth_rows(records))
        self._directory = directory
        self._file: BinaryIO | None = None
        self._given_up = False
        self.size = 0

    def __aiter__(self) -> Copy:
        return self

    async def __anext__(self) -> bytes:
        if self._versions is not None:
            versions, self._versions = self._versions, None
            await self._in_thread(lambda: self._write(versions))
        if self._file is None:
            raise StopAsyncIteration
        file = self._file
        piece = await self._in_thread(lambda: file.read(_PIECE_BYTES))
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Give it up; needed only by who does not read to the end."""
        self._given_up = True
        self._versions = None
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            self._given_up = True
            raise
        except OSError as error:
            what = f"cannot write a snapshot to {self._directory or tempfile.gettempdir()}: {error.strerror}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"{what}; make room for about as much as the store has") from error
            raise StoreUnavailable(what) from error

    def _write(self, versions: Versions) -> None:
        file: BinaryIO = tempfile.TemporaryFile(dir=self._directory)  # noqa: SIM115  # it is read later
        try:
            writer = DatabaseWriter(file)
            rows = versions.in_order()
            while some := list(islice(rows, _ROWS_AT_ONCE)):
                if self._given_up:
                    raise _GivenUp("nobody reads the snapshot any more")
                writer.add(some)
            self.size = writer.finish(self._beside)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        self._file = file
