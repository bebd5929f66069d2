"""One watch: what has come in and was not taken yet, and how far it is. No I/O.

etcd ──receive──▶ buffer ──next──▶ consumer
         │           └─ too full: etcd's watch is given up (`full`), and taken up again from `next_revision` when
         │              the consumer has caught up: a slow one costs neither memory nor the others' time
         └─ events below `next_revision` are repeats and dropped
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pilothouse.etcd.contract import Event, StoreClosed

_EVENTS_MAX = 10_000
_BYTES_MAX = 64 << 20


class ClusterWatch:
    """See `contract.Watch`. `next_revision` is the first that was not received, `progress` the last of which it is
    certain that nothing is missing."""

    def __init__(
        self,
        key: bytes,
        range_end: bytes,
        first_revision: int,
        progress: int,
        *,
        prev: bool,
        progress_wanted: Callable[[ClusterWatch], None],
        drained: Callable[[ClusterWatch], None],
        closed: Callable[[ClusterWatch], None],
    ) -> None:
        self.key = key
        self.range_end = range_end
        self.prev = prev
        self.next_revision = first_revision
        self.progress = progress
        self.expected = 0
        """The last revision that is known to have changed something in the range; see `tally`."""
        self.ended = False
        self._progress_wanted = progress_wanted
        self._drained = drained
        self._closed = closed
        self._events: list[Event] = []
        self._bytes = 0
        self._error: Exception | None = None
        self._asked = False
        self._notice = False
        self._waiter: asyncio.Future[None] | None = None

    # -- for the consumer -------------------------------------------------------------------------------

    async def next(self) -> list[Event]:
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._notice:
                self._notice = self._asked = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        batch, self._events = self._events, []
        was_full, self._bytes = self.full or self._bytes > _BYTES_MAX, 0
        was_full = was_full or len(batch) > _EVENTS_MAX
        if was_full and not self.ended:
            self._drained(self)
        return batch

    def request_progress(self) -> None:
        self._asked = True
        self._progress_wanted(self)

    @property
    def progress_revision(self) -> int:
        return self._events[0].kv.mod_revision - 1 if self._events else self.progress

    def close(self) -> None:
        self._events = []
        self.fail(StoreClosed())
        self._closed(self)

    # -- for the hub ------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        return len(self._events) > _EVENTS_MAX or self._bytes > _BYTES_MAX

    def covers(self, key: bytes) -> bool:
        if not self.range_end:
            return key == self.key
        return key >= self.key and (self.range_end == b"\0" or key < self.range_end)

    def receive(self, events: list[Event]) -> None:
        """Whole revisions, in order; what was received before is left out."""
        if events and events[0].kv.mod_revision < self.next_revision:
            events = [event for event in events if event.kv.mod_revision >= self.next_revision]
        if not events or self.ended:
            return
        self._events += events
        self._bytes += sum(len(event.kv.value) for event in events)
        self.advance(events[-1].kv.mod_revision)
        self._wake()

    def advance(self, revision: int) -> None:
        """Nothing up to `revision` is missing."""
        self.progress = max(self.progress, revision)
        self.next_revision = max(self.next_revision, revision + 1)

    def answer_progress(self) -> None:
        """Tell the consumer, if he asked."""
        if self._asked:
            self._notice = True
            self._wake()

    def fail(self, error: Exception) -> None:
        """Ends the stream, after what was received before."""
        if self._error is None:
            self._error = error
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
