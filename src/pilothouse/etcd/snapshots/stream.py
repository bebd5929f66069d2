"""A running embedded store's copy as a stream of bytes, while writes go on.

    rows, some at a time ──▶ a thread: a bbolt database ──▶ an unlinked file beside the store ──▶ pieces of it

The event loop has nothing to do with the rows but to hand them on. The file in between, because a database's first
page says where its root is, which is known last, and so that a slow reader holds nothing but the file.
"""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from pilothouse.etcd.contract import NoSpace, StoreUnavailable
from pilothouse.etcd.snapshots.auth import auth_rows
from pilothouse.etcd.snapshots.database import Beside, DatabaseWriter, Row

P = ParamSpec("P")
T = TypeVar("T")

_PIECE_BYTES = 256 * 1024


class Copy:
    """Iterate over its pieces; `size`, of all of them, is known with the first. StoreUnavailable when there is no
    room for it. `rows` come in the order of their events."""

    def __init__(
        self,
        rows: AsyncIterator[list[Row]],
        compact_revision: int,
        leases: list[tuple[int, int]],
        records: Mapping[str, bytes],
        directory: Path | None,
    ) -> None:
        self._rows: AsyncIterator[list[Row]] | None = rows
        self._beside = Beside(compact_revision, leases, auth_rows(records))
        self._directory = directory
        self._file: BinaryIO | None = None
        self.reads = True
        """It still needs rows of the store."""
        self.size = 0

    def __aiter__(self) -> Copy:
        return self

    async def __anext__(self) -> bytes:
        if self._rows is not None:
            rows, self._rows = self._rows, None
            try:
                await self._write(rows)
            finally:
                self.reads = False
        if self._file is None:
            raise StopAsyncIteration
        piece = await self._in_thread(self._file.read, _PIECE_BYTES)
        if not piece:
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Give it up; needed only by who does not read to the end."""
        self.reads = False
        self._rows = None
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _write(self, rows: AsyncIterator[list[Row]]) -> None:
        file = await self._in_thread(self._temporary)
        try:
            writer = await self._in_thread(DatabaseWriter, file)
            async for some in rows:
                await self._in_thread(writer.add, some)
            self.size = await self._in_thread(writer.finish, self._beside)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        self._file = file

    def _temporary(self) -> BinaryIO:
        return tempfile.TemporaryFile(dir=self._directory)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except OSError as error:
            what = f"cannot write a snapshot to {self._directory or tempfile.gettempdir()}: {error.strerror}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise NoSpace(f"{what}; make room for about as much as the store has") from error
            raise StoreUnavailable(what) from error
