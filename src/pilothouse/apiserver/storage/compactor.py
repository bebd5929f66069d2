"""Forgets old revisions, as kube-apiserver does with etcd (--etcd-compaction-interval): every interval, what was
the newest revision one interval ago becomes the oldest. History that takes too much memory goes sooner.
"""

from __future__ import annotations

import asyncio
import logging

from pilothouse.etcd.contract import Backend, Compacted, StoreError
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

HISTORY_BYTES_MAX = 64 * 1024 * 1024
_CHECK_PERIOD_S = 10.0


class Compactor:
    def __init__(self, backend: Backend, world: World, interval_s: float) -> None:
        self._backend = backend
        self._world = world
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._interval_s > 0:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="compactor")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        clock = self._world.clock
        mark, marked_at = self._backend.revision, clock.monotonic()
        recent = mark
        while True:
            await clock.sleep(min(_CHECK_PERIOD_S, self._interval_s))
            due = clock.monotonic() - marked_at >= self._interval_s
            crowded = getattr(self._backend, "history_bytes", 0) > HISTORY_BYTES_MAX
            if due or crowded:
                await self._compact(recent if crowded else mark)
                mark, marked_at = self._backend.revision, clock.monotonic()
            recent = self._backend.revision

    async def _compact(self, revision: int) -> None:
        if revision <= self._backend.compact_revision:
            return
        try:
            await self._backend.compact(revision)
        except Compacted:
            log.debug("revision %d was compacted by another API server", revision)
        except StoreError as error:
            log.warning("compaction at revision %d failed: %s", revision, error)
