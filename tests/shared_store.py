"""A store that several servers share, in one process: the embedded one, seen through clients whose watches lag behind
as those of a remote store do."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.etcd.contract import Event, OutcomeUnknown, StoreUnavailable, Txn, TxnResult
from pilothouse.etcd.embedded.backend import EmbeddedBackend


class Client:
    """A Backend on a store of others. Its watches hand on nothing while `held`; `away` answers nothing at all;
    `lost_answers` writes are done, and their answers get lost."""

    shared = True

    def __init__(self, store: EmbeddedBackend) -> None:
        self._store = store
        self.revision_reads = 0
        self.lost_answers = 0
        self.away = False
        self._flowing = asyncio.Event()
        self._flowing.set()

    def hold(self) -> None:
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def range(self, op: Any) -> Any:
        if self.away:
            raise StoreUnavailable("etcdserver: request timed out")
        if op.key.endswith(b"/health"):
            self.revision_reads += 1
        await asyncio.sleep(0)
        return await self._store.range(op)

    async def txn(self, txn: Txn) -> TxnResult:
        if self.away:
            raise StoreUnavailable("etcdserver: request timed out")
        result = await self._store.txn(txn)
        if self.lost_answers and result.succeeded:
            self.lost_answers -= 1
            raise OutcomeUnknown("context deadline exceeded")
        return result

    def watch(self, *args: Any, **kwargs: Any) -> LateWatch:
        return LateWatch(self._store.watch(*args, **kwargs), self._flowing)

    async def close(self) -> None:
        """The store is others' to close."""


class LateWatch:
    def __init__(self, watch: Any, flowing: asyncio.Event) -> None:
        self._watch = watch
        self._flowing = flowing
        self._progress = 0

    async def next(self) -> list[Event]:
        events: list[Event] = await self._watch.next()
        await self._flowing.wait()
        self._progress = self._watch.progress_revision
        return events

    @property
    def progress_revision(self) -> int:
        return self._progress

    def request_progress(self) -> None:
        self._watch.request_progress()

    def close(self) -> None:
        self._watch.close()
