"""Forgets old revisions, as kube-apiserver does with etcd (--etcd-compaction-interval): every interval, what was
the newest revision one interval ago becomes the oldest. Of several API servers one does it
(k8s.io/apiserver/pkg/storage/etcd3/compact.go):

    compact_rev_key   value: the revision compacted last    version: how often, the "compact time"

    version as this server knows it ──▶ written anew, and compacted at what was the newest then
    another version                 ──▶ another server was faster: its version is taken over, nothing is compacted

History that takes too much of this process's memory goes sooner.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import NamedTuple

from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Compare,
    Put,
    Range,
    RangeResult,
    StoreError,
    Target,
    Txn,
    TxnResult,
)
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

HISTORY_BYTES_MAX = 64 * 1024 * 1024
COMPACT_REV_KEY = b"compact_rev_key"
_CHECK_PERIOD_S = 10.0


class Turn(NamedTuple):
    """What a server knows of compactions: their number, and the newest revision when it looked last (0: never)."""

    time: int = 0
    revision: int = 0

    def question(self) -> Txn:
        """Takes this interval's compaction unless somebody else has."""
        put = Put(COMPACT_REV_KEY, str(self.revision).encode())
        return Txn(
            (Compare(COMPACT_REV_KEY, Target.VERSION, "=", self.time),), (put,), (Range(COMPACT_REV_KEY),)
        )

    def after(self, answer: TxnResult) -> tuple[Turn, int]:
        """What is known then, and the revision to compact at (0: none)."""
        if answer.succeeded:
            return Turn(self.time + 1, answer.revision), self.revision
        found = answer.results[0]
        assert isinstance(found, RangeResult)
        return Turn(found.kvs[0].version if found.kvs else 0, answer.revision), 0


class Compactor:
    def __init__(self, backend: Backend, world: World, interval_s: float) -> None:
        self._backend = backend
        self._world = world
        self._interval_s = interval_s
        self._turn = Turn()
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
        due_at = clock.monotonic() + self._interval_s
        recent = self._backend.revision
        while True:
            await clock.sleep(min(_CHECK_PERIOD_S, self._interval_s))
            if clock.monotonic() >= due_at:
                due_at = clock.monotonic() + self._interval_s
                await self._try(self._take_turn())
            elif getattr(self._backend, "history_bytes", 0) > HISTORY_BYTES_MAX:
                await self._try(self._compact(recent))
            recent = self._backend.revision

    async def _try(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except Compacted:
            log.debug("another API server compacted further")
        except StoreError as error:
            log.warning("compaction failed, and is tried again in %g s: %s", self._interval_s, error)

    async def _take_turn(self) -> None:
        self._turn, revision = self._turn.after(await self._backend.txn(self._turn.question()))
        if revision:
            await self._compact(revision)

    async def _compact(self, revision: int) -> None:
        if revision > self._backend.compact_revision:
            await self._backend.compact(revision)
            log.debug("compacted at revision %d", revision)
