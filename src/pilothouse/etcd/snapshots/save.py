"""A store's snapshot into a file: the one way for commands and for scheduled backups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from pilothouse.etcd.contract import StoreUnavailable
from pilothouse.etcd.snapshots.file import Progress, writing


async def save(pieces: AsyncIterator[bytes], path: Path, progress: Progress | None = None) -> int:
    """The database's size; it is on the disk, whole and with its checksum, when this returns. StoreError when the store
    has none to give, or the disk does not take it."""
    try:
        with writing(path) as file:
            async for piece in pieces:
                # Beside the loop: a disk that is behind makes a write wait.
                await asyncio.to_thread(file.write, piece)
                if progress is not None:
                    progress(file.size)
            await asyncio.to_thread(file.commit)
            return file.size
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write the snapshot {path}: {error.strerror}; choose another place"
        ) from error
