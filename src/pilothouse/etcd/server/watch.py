"""The Watch service: many watches on one stream (etcd: v3rpc/watch.go, mvcc/watchable_store.go).

    requests ──▶ create: a `contract.Watch` and a pump of its own      pump: next() ──▶ answer ──▶ the stream
                 cancel, progress                                      ticker: progress notices

A pump waits while the client does not read, and the store's watch then reads on from history: nothing piles up.

Progress, asked for or periodic, is told only by a pump that has delivered all before it. The answer to a request
has watch id -1 and stands for all watches of the stream: it is sent when the last of their pumps has told its
own, with the lowest revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.etcd.contract import Compacted, Event, EventType, StoreError, Watch
from pilothouse.etcd.server.core import Call, Core, Requests, Send, Service, Streaming, Unary
from pilothouse.etcd.server.events import EncodedEvents, answers
from pilothouse.etcd.server.options import GRPC_OVERHEAD_BYTES
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import code_of, go_name

_NOBODY = -1
"""The watch id of answers that belong to no watch, or to all."""
_JITTER = 0.1
_PROGRESS_INTERVAL_S_MIN = 0.1

_FILTERED = {pb.WatchCreateRequest.NOPUT: EventType.PUT, pb.WatchCreateRequest.NODELETE: EventType.DELETE}


class WatchService(Service):
    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._encoded = EncodedEvents()

    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {"Watch": self.watch}

    async def watch(self, requests: Requests, send: Send, call: Call) -> None:
        self.core.metrics.watch_streams.inc()
        stream = _Stream(self.core, send, call, self._encoded)
        try:
            await stream.run(requests)
        finally:
            await stream.close()
            self.core.metrics.watch_streams.dec()


@dataclass(slots=True, eq=False)
class _Watching:
    """One watch of a stream."""

    id: int
    source: Watch
    request: pb.WatchCreateRequest
    without: frozenset[EventType]
    pump: asyncio.Task[None] | None = None
    asked: bool = False
    """A progress request waits for this watch."""
    notice_due: bool = False
    """A periodic notice waits to be sent."""
    quiet: bool = True
    """No event was sent since the ticker looked last."""
    reached: int = 0
    """The progress it told last."""


@dataclass(slots=True)
class _Stream:
    core: Core
    send: Send
    call: Call
    encoded: EncodedEvents
    _watches: dict[int, _Watching] = field(default_factory=dict)
    _next_id: int = 0
    _sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    _failed: asyncio.Future[None] | None = None
    _ticker: asyncio.Task[None] | None = None
    _progress_wanted: bool = False

    async def run(self, requests: Requests) -> None:
        """Until the client is gone (this task is cancelled) or the store fails. A client that says that it asks for
        nothing more still gets its events."""
        self._failed = asyncio.get_running_loop().create_future()
        reader = asyncio.create_task(self._read(requests), name="watch requests")
        try:
            await asyncio.wait((reader, self._failed), return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            await self._failed
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def close(self) -> None:
        tasks = [w.pump for w in self._watches.values() if w.pump is not None]
        if self._ticker is not None:
            tasks.append(self._ticker)
        for watching in list(self._watches.values()):
            self._drop(watching)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- requests ---------------------------------------------------------------------------------------

    async def _read(self, requests: Requests) -> None:
        async for request in requests:
            kind = request.WhichOneof("request_union")
            if kind == "create_request":
                await self._create(request)
            elif kind == "cancel_request":
                await self._cancel(request.cancel_request.watch_id)
            elif kind == "progress_request":
                self._ask_for_progress()

    async def _create(self, request: pb.WatchRequest) -> None:
        create = request.create_request
        refusal = await self._refusal(request)
        if refusal:
            await self._answer(
                self._response(_NOBODY, created=True, canceled=True, cancel_reason=refusal),
            )
            return
        watching = self._start(create)
        await self._answer(self._response(watching.id, created=True))
        watching.pump = asyncio.create_task(self._pump(watching), name="watch pump")
        watching.pump.add_done_callback(self._ended)
        if create.progress_notify and self._ticker is None:
            self._ticker = asyncio.create_task(self._tick(), name="watch progress")

    async def _refusal(self, request: pb.WatchRequest) -> str:
        create = request.create_request
        if create.start_revision < 0:
            return str(Compacted(0))
        try:
            await self.core.guard.check(self.call, request)
        except StoreError as error:
            # As Go prints an error of gRPC's, for that is what etcd puts here.
            return f"rpc error: code = {go_name(code_of(error))} desc = {error}"
        end = create.range_end
        if end and end != b"\0" and (create.key or b"\0") >= end:
            return "mvcc: watcher range is empty"
        if create.watch_id in self._watches and create.watch_id:
            return "mvcc: duplicate watch ID provided on the WatchStream"
        return ""

    def _start(self, create: pb.WatchCreateRequest) -> _Watching:
        source = self.core.backend.watch(
            create.key or b"\0", create.range_end, create.start_revision, prev=create.prev_kv
        )
        without = frozenset(_FILTERED[f] for f in create.filters if f in _FILTERED)
        watching = _Watching(create.watch_id or self._free_id(), source, create, without)
        self._watches[watching.id] = watching
        if self._progress_wanted:
            watching.asked = True
            source.request_progress()
        self.core.metrics.watchers.inc()
        return watching

    def _free_id(self) -> int:
        while self._next_id in self._watches:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    async def _cancel(self, watch_id: int) -> None:
        watching = self._watches.get(watch_id)
        if watching is None:
            return
        pump = watching.pump
        async with self._sending:  # not in the middle of a message
            self._drop(watching)
            if pump is not None:
                pump.cancel()
        if pump is not None:
            await asyncio.gather(pump, return_exceptions=True)
        await self._answer(self._response(watch_id, canceled=True))
        await self._tell_progress()

    def _drop(self, watching: _Watching) -> None:
        if self._watches.pop(watching.id, None) is not None:
            watching.source.close()
            self.core.metrics.watchers.dec()

    # -- events -----------------------------------------------------------------------------------------

    async def _pump(self, watching: _Watching) -> None:
        source = watching.source
        try:
            while True:
                events = await source.next()
                if events:
                    await self._deliver(watching, events)
                else:
                    await self._progressed(watching)
        except Compacted as error:
            self._drop(watching)
            await self._answer(
                pb.WatchResponse(
                    header=self.core.headers.at(0),  # as etcd: nothing was read
                    watch_id=watching.id,
                    canceled=True,
                    compact_revision=error.compact_revision,
                )
            )
            await self._tell_progress()

    def _ended(self, pump: asyncio.Task[None]) -> None:
        """Not in silence: a watch that hears nothing more looks as one that has nothing to hear."""
        error = None if pump.cancelled() else pump.exception()
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _deliver(self, watching: _Watching, events: list[Event]) -> None:
        if watching.without:
            events = [e for e in events if e.type not in watching.without]
        if not events:
            return
        watching.quiet = False
        revision = max(watching.source.progress_revision, events[-1].kv.mod_revision)
        request = watching.request
        head = pb.WatchResponse(header=self.core.headers.at(revision), watch_id=watching.id)
        bytes_max = self.core.options.request_bytes_max + GRPC_OVERHEAD_BYTES if request.fragment else 0
        self.core.metrics.events.inc(len(events))
        await self._answer(*answers(head, self.encoded.encode(events, prev=request.prev_kv), bytes_max))

    async def _answer(self, *messages: pb.WatchResponse | bytes) -> None:
        async with self._sending:
            for message in messages:
                await self.send(message)

    def _response(
        self,
        watch_id: int,
        *,
        created: bool = False,
        canceled: bool = False,
        cancel_reason: str = "",
    ) -> pb.WatchResponse:
        return pb.WatchResponse(
            header=self.core.headers.now(),
            watch_id=watch_id,
            created=created,
            canceled=canceled,
            cancel_reason=cancel_reason,
        )

    # -- progress ---------------------------------------------------------------------------------------

    def _ask_for_progress(self) -> None:
        self._progress_wanted = bool(self._watches)
        for watching in self._watches.values():
            watching.asked = True
            watching.source.request_progress()

    async def _progressed(self, watching: _Watching) -> None:
        watching.reached = watching.source.progress_revision
        if watching.notice_due:
            watching.notice_due = False
            if watching.reached >= watching.request.start_revision:
                await self._answer(self._progress(watching.id, watching.reached))
        if watching.asked:
            watching.asked = False
            await self._tell_progress()

    async def _tell_progress(self) -> None:
        """Once the last watch has told its own. One that starts in the future takes the answer away, as in etcd."""
        watches = self._watches.values()
        if not self._progress_wanted or any(w.asked for w in watches):
            return
        self._progress_wanted = False
        if watches and all(w.reached >= w.request.start_revision for w in watches):
            await self._answer(self._progress(_NOBODY, min(w.reached for w in watches)))

    def _progress(self, watch_id: int, revision: int) -> pb.WatchResponse:
        return pb.WatchResponse(header=self.core.headers.at(revision), watch_id=watch_id)

    async def _tick(self) -> None:
        """Every interval, and a little more so that not all streams tell at once."""
        interval_s = max(self.core.options.progress_interval_s, _PROGRESS_INTERVAL_S_MIN)
        interval_s *= 1 + self.core.world.random.random() * _JITTER
        while True:
            await self.core.world.clock.sleep(interval_s)
            for watching in self._watches.values():
                if not watching.request.progress_notify:
                    continue
                if watching.quiet:
                    watching.notice_due = True
                    watching.source.request_progress()
                watching.quiet = True
