"""Consistent reads from the watch cache (KEP-2340): how new the cache must be before it may answer.

Of a store that this process alone writes, `Backend.revision` says it at no cost. Of a shared one only the store
itself knows, so it is asked, once for all who came before the question went out:

    read A ─┐
    read B ─┼─ wait for the question in flight ──▶ one linearizable read ──▶ revision 17 ──▶ the cache has 17: answer
    read C ─┘

A revision may move without a change of any object (a compaction, somebody else's keys). Then no event brings the
cache there, and the watch is asked how far it has come.
"""

from __future__ import annotations

import asyncio

from pilothouse.etcd.contract import Backend, Range, StoreError, StoreUnavailable


class Revisions:
    """What the store's newest revision is. `probe` is a key that nothing lies under."""

    def __init__(self, backend: Backend, probe: bytes) -> None:
        self._backend = backend
        self._probe = Range(probe)
        self._next: asyncio.Future[int] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def newest(self) -> int:
        """A revision that the store had after this call began. StoreError."""
        if not self._backend.shared:
            return self._backend.revision
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask(), name="revision reads")
        return await asyncio.shield(self._next)

    async def _ask(self) -> None:
        try:
            while (group := self._next) is not None:
                self._next = None
                await self._answer(group)
        finally:
            self._asking = None

    async def _answer(self, group: asyncio.Future[int]) -> None:
        try:
            found = await self._backend.range(self._probe)
        except StoreError as error:
            group.set_exception(error)
        else:
            group.set_result(found.revision)
        finally:
            if not group.done():
                group.set_exception(StoreUnavailable("the store was not asked to the end; try again"))
            group.exception()  # those who asked may be gone

    async def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
