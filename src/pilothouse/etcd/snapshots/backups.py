"""Snapshots by the clock: one every so often, the newest few kept.

    DIRECTORY/snapshot-20260131T120000Z-r4711.db    when, and the store's revision

Rotation deletes files with such names and no others. A backup that fails is told in the log, with what to do, and
tried again at the next time: it never stops the server.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from pilothouse.etcd.contract import StoreError
from pilothouse.kit.metrics import counter, gauge
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_NAME = re.compile(r"snapshot-(\d{8}T\d{6}Z)-r(\d+)\.db")
_PART = re.compile(_NAME.pattern + r"\.part")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`keep` 0 deletes none."""

    every_s: float
    keep: int
    directory: Path


class Source(Protocol):
    """What of a store is needed: `contract.Backend` and `Maintenance`."""

    @property
    def revision(self) -> int: ...

    def snapshot(self) -> AsyncIterator[bytes]: ...


class Backups:
    """Run it beside the store, and cancel it before the store is closed."""

    def __init__(self, store: Source, schedule: Schedule, world: World, metrics: CollectorRegistry) -> None:
        self._store = store
        self._schedule = schedule
        self._world = world
        prefix = "pilothouse_snapshot"
        self._time = gauge(
            metrics, f"{prefix}_last_success_timestamp_seconds", "When the last scheduled snapshot was saved."
        )
        self._size = gauge(metrics, f"{prefix}_last_size_bytes", "Its database's size.")
        self._failures = counter(metrics, f"{prefix}_failures_total", "Scheduled snapshots that failed.")

    async def run(self) -> None:
        """The first one after a whole period: a server that is started over and over does nothing but snapshots
        otherwise."""
        while True:
            await self._world.clock.sleep(self._schedule.every_s)
            try:
                await self.once()
            except (StoreError, OSError) as error:
                self._failures.inc()
                log.error(
                    "no snapshot was saved in %s: %s; make room there or name another --snapshot-dir, the next try is "
                    "in %g s",
                    self._schedule.directory,
                    error,
                    self._schedule.every_s,
                )

    async def once(self) -> Path:
        """Save one and delete what is too old. StoreError, OSError."""
        from pilothouse.etcd.snapshots.save import save  # what `up` does without until then

        now = self._world.now()
        stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        path = self._schedule.directory / f"snapshot-{stamp}-r{self._store.revision}.db"
        await asyncio.to_thread(self._schedule.directory.mkdir, 0o700, parents=True, exist_ok=True)
        size = await save(self._store.snapshot(), path)
        self._time.set(now)
        self._size.set(size)
        log.info("saved snapshot %s (%d bytes)", path, size)
        for old in await asyncio.to_thread(rotate, self._schedule, path):
            log.info("deleted snapshot %s: %d newer ones are kept", old, self._schedule.keep)
        return path


def rotate(schedule: Schedule, newest: Path) -> list[Path]:
    """Delete all but the newest, and what an interrupted backup left; what was deleted."""
    found = [path for path in schedule.directory.iterdir() if _NAME.fullmatch(path.name) and path != newest]
    found.sort(key=lambda path: _age(path.name))
    # The one just saved is always kept, whatever the clock said before.
    kept = schedule.keep - 1
    gone = found[: max(len(found) - kept, 0)] if schedule.keep else []
    gone += [path for path in schedule.directory.iterdir() if _PART.fullmatch(path.name)]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def _age(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name)
    assert match is not None
    return match[1], int(match[2])
