"""Compaction by itself (etcd: etcdserver/api/v3compactor): what is older than a time, or than so many revisions.

periodic   revisions are noted ten times per period (an hour at most), the one of a period ago is compacted
revision   every five minutes all but the newest N are
"""

from __future__ import annotations

import logging
from collections import deque

from pilothouse.etcd.contract import Backend, StoreError
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_HOUR_S = 3600.0
_NOTES_PER_PERIOD = 10
_REVISION_PERIOD_S = 300.0


class AutoCompaction:
    def __init__(self, backend: Backend, world: World, options: ServerOptions) -> None:
        self._backend = backend
        self._world = world
        self._mode = options.compaction_mode
        self._retention = options.compaction_retention

    async def run(self) -> None:
        """Until it is cancelled."""
        if self._mode == "revision":
            await self._by_revision(int(self._retention))
        else:
            await self._by_time(self._retention)

    async def _by_time(self, retention_s: float) -> None:
        pause_s = min(retention_s, _HOUR_S) / _NOTES_PER_PERIOD
        notes: deque[tuple[float, int]] = deque()
        last_s = self._world.clock.monotonic()
        while True:
            notes.append((self._world.clock.monotonic(), self._backend.revision))
            await self._world.clock.sleep(pause_s)
            now_s = self._world.clock.monotonic()
            if now_s - last_s < min(retention_s, _HOUR_S):
                continue
            old = 0
            while notes and notes[0][0] <= now_s - retention_s:
                old = notes.popleft()[1]
            if old and await self._compact(old):
                last_s = now_s

    async def _by_revision(self, keep: int) -> None:
        while True:
            await self._world.clock.sleep(_REVISION_PERIOD_S)
            await self._compact(self._backend.revision - keep)

    async def _compact(self, revision: int) -> bool:
        if revision <= self._backend.compact_revision:
            return True
        try:
            await self._backend.compact(revision)
        except StoreError as error:
            log.warning("could not compact revision %d, tried again later: %s", revision, error)
            return False
        log.info("compacted revision %d", revision)
        return True
