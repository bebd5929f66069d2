"""All watches of one backend over one stream, which moves to another member when its own is lost.

    disconnected ──open, create every watch from its `next_revision`──▶ connected
          ▲                                                                 │ responses ─▶ `ClusterWatch.receive`
          └──── the stream broke, etcd has no leader, or the member ────────┘
                says nothing and does not answer to "are you alive?"

Nothing is missed, for a watch goes on at the revision after the last that it received, whole; nothing comes twice,
for what is below that is dropped. How far a watch without events has come is learned from etcd's progress answers
where they can be trusted, and else from a `Tally`.

Assumed of etcd (api/v3rpc/watch.go): responses to one watch are in order; `created` comes before its events; a
revision is split between responses only as fragments; watches are created in the order of their requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from pilothouse.etcd.cluster.client import EtcdClient, Stream
from pilothouse.etcd.cluster.tally import Tally
from pilothouse.etcd.cluster.versions import sends_progress_in_order
from pilothouse.etcd.cluster.watcher import ClusterWatch
from pilothouse.etcd.contract import Compacted, Event, StoreClosed, StoreError, StoreUnavailable
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.convert import event_of
from pilothouse.etcd.wire.errors import CODES, Refused, error_of
from pilothouse.etcd.wire.methods import KV, MAINTENANCE, WATCH
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_SILENCE_S = 0.5
"""After that long without a word the member is asked how it is."""
_REOPEN_WAIT_S = 0.1
_COMPACTED_WITHIN_S = 5.0
_ALL_WATCHES = -1
_EVERYTHING = b"\0"
_TOKEN_GONE = "etcdserver: invalid auth token"

Heard = Callable[[int, int], None]
"""A header's revision, and the compacted one if it is told."""


class WatchHub:
    """Opens its stream with the first watch. Use from one event loop."""

    def __init__(self, world: World, client: EtcdClient, heard: Heard) -> None:
        self._world = world
        self._client = client
        self._heard = heard
        self._watches: set[ClusterWatch] = set()
        self._connection: _Connection | None = None
        self._running: asyncio.Task[None] | None = None
        self._closed = False

    def watch(
        self, key: bytes, range_end: bytes, first_revision: int, progress: int, *, prev: bool
    ) -> ClusterWatch:
        """`progress`: the last revision before which this watch has nothing to tell."""
        watch = ClusterWatch(
            key,
            range_end,
            first_revision,
            progress,
            prev=prev,
            progress_wanted=self._progress_wanted,
            drained=self._drained,
            closed=self._forget,
        )
        if self._closed:
            watch.fail(StoreClosed())
            return watch
        self._watches.add(watch)
        if self._connection is not None:
            self._connection.create(watch)
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run(), name="etcd watches")
            self._running.add_done_callback(self._crashed)
        return watch

    def _progress_wanted(self, watch: ClusterWatch) -> None:
        """When there is no connection, the next one asks."""
        if self._connection is not None:
            self._connection.ask_progress(watch)

    def _drained(self, watch: ClusterWatch) -> None:
        if self._connection is not None and watch in self._watches:
            self._connection.create(watch)

    def _forget(self, watch: ClusterWatch) -> None:
        self._watches.discard(watch)
        if self._connection is not None:
            self._connection.cancel(watch)

    def _crashed(self, running: asyncio.Task[None]) -> None:
        """Nobody waits for events that nobody reads any more."""
        if not running.cancelled() and (error := running.exception()) is not None:
            log.error("the watches of etcd crashed", exc_info=error)
            self._closed = True
            self._fail_all(StoreError(f"the watches of etcd crashed: {error}"))

    async def _run(self) -> None:
        while not self._closed:
            try:
                await self._connect_and_serve()
            except StoreUnavailable as error:
                log.info("etcd's watches move to another member: %s", error)
            except StoreError as error:
                if str(error) == _TOKEN_GONE:
                    self._client.renew_token()
                else:
                    self._fail_all(error)
            await self._pause()

    async def _pause(self) -> None:
        await self._world.clock.sleep(_REOPEN_WAIT_S)

    async def _connect_and_serve(self) -> None:
        stream = await self._client.stream(WATCH["Watch"])
        try:
            in_order = await self._trusts(stream.endpoint)
            connection = _Connection(
                stream, self._watches, self._heard, self._newest, self._pause, in_order=in_order
            )
            self._connection = connection
            helpers = (
                asyncio.ensure_future(connection.write()),
                asyncio.ensure_future(connection.find_progress()),
                asyncio.ensure_future(self._listen_for_silence(connection)),
            )
            try:
                await connection.read()
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
        except StoreUnavailable:
            self._client.leave(stream.endpoint)
            raise
        finally:
            self._connection = None
            stream.cancel()

    async def _trusts(self, endpoint: str) -> bool:
        """A server that does not say which version it is has all watches counted."""
        try:
            status = await self._client.call(MAINTENANCE["Status"], pb.StatusRequest(), endpoint=endpoint)
        except Refused as error:
            log.debug("%s does not say which etcd it is: %s", endpoint, error)
            return False
        return sends_progress_in_order(status.version)

    async def _listen_for_silence(self, connection: _Connection) -> None:
        """A paused member keeps its connections; only its answers stop. One that is cut off from the others answers,
        and ends its watches itself only three election times after it has lost its leader."""
        while True:
            heard = connection.heard
            await self._world.clock.sleep(_SILENCE_S)
            if connection.heard != heard:
                continue
            vital = await self._client.vital(connection.endpoint)
            if vital is None or not vital.leader:
                what = "does not answer" if vital is None else "knows no leader"
                log.info("the etcd member at %s %s: its watches leave it", connection.endpoint, what)
                connection.break_off()
                return

    async def _newest(self) -> int:
        """By a linearizable read."""
        request = pb.RangeRequest(key=_EVERYTHING, count_only=True)
        try:
            response = await self._client.call(KV["Range"], request)
        except Refused:
            return 0  # who may not read this is told how far he is, whatever that is
        self._heard(response.header.revision, 0)
        return int(response.header.revision)

    async def compacted_at(self) -> int:
        """The compacted revision, which etcd tells a watch from the first revision; 0 if nothing was compacted."""
        stream = await self._client.stream(WATCH["Watch"])
        try:
            return await self._world.within(_COMPACTED_WITHIN_S, _first_word(stream))
        except TimeoutError:
            return 0
        finally:
            stream.cancel()

    def _fail_all(self, error: StoreError) -> None:
        watches, self._watches = self._watches, set()
        for watch in watches:
            watch.fail(error)

    async def close(self) -> None:
        self._closed = True
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._fail_all(StoreClosed())


class _Connection:
    """One stream: which watch has which id on it, what is to be sent, what came in parts."""

    def __init__(
        self,
        stream: Stream,
        watches: set[ClusterWatch],
        heard: Heard,
        newest: Callable[[], Awaitable[int]],
        pause: Callable[[], Awaitable[None]],
        *,
        in_order: bool,
    ) -> None:
        self.endpoint = stream.endpoint
        self.heard = 0
        """Counts responses."""
        self._stream = stream
        self._watches = watches
        self._tell = heard
        self._in_order = in_order
        self._ids: dict[int, ClusterWatch] = {}
        self._created: set[int] = set()
        self._uncreated: deque[int] = deque()
        self._parts: dict[int, list[Any]] = {}
        self._next_id = 1
        self._requests: deque[pb.WatchRequest] = deque()
        self._wanted = asyncio.Event()
        self._tally: Tally | None = None
        self._tally_id = 0
        self._may_tally = True
        self._newest = newest
        self._pause = pause
        self._asked: set[ClusterWatch] = set()
        self._due: dict[ClusterWatch, int] = {}
        """Who waits to be told that he is as far as this revision."""
        self._wanted_progress = asyncio.Event()
        for watch in sorted(watches, key=lambda watch: watch.progress):
            self.create(watch)
            self.ask_progress(watch)

    # -- requests ---------------------------------------------------------------------------------------

    def create(self, watch: ClusterWatch) -> None:
        """From where it is; one that is full waits until it is drained."""
        if watch.ended or watch.full:
            return
        if not self._in_order and self._may_tally and self._follow(watch):
            return
        self._ids[self._create(watch.key, watch.range_end, watch.next_revision, prev=watch.prev)] = watch

    def _create(self, key: bytes, range_end: bytes, first: int, *, prev: bool) -> int:
        watch_id, self._next_id = self._next_id, self._next_id + 1
        self._uncreated.append(watch_id)
        create = pb.WatchCreateRequest(
            key=key,
            range_end=range_end,
            start_revision=first,
            progress_notify=True,
            prev_kv=prev,
            watch_id=watch_id,
            fragment=True,
        )
        self._send(pb.WatchRequest(create_request=create))
        return watch_id

    def _follow(self, watch: ClusterWatch) -> bool:
        """Have the tally see what this watch may see; True if it is served by it."""
        if self._tally is None or not self._tally.reaches(watch):
            self._begin_tally(watch.progress + 1)
        assert self._tally is not None
        return self._tally.admit(watch)

    def _begin_tally(self, first: int) -> None:
        """Those that the old one served are where it was, and the new one serves them when it comes there."""
        if self._tally_id:
            self._send_cancel(self._tally_id)
        served = self._tally.served if self._tally is not None else set()
        prev = any(watch.prev for watch in self._watches)
        self._tally = Tally(first, prev=prev)
        self._tally.served = {watch for watch in served if prev or not watch.prev}
        for watch in self._watches:
            watch.expected = 0
        self._tally_id = self._create(_EVERYTHING, _EVERYTHING, first, prev=prev)

    def cancel(self, watch: ClusterWatch) -> None:
        if self._tally is not None:
            self._tally.served.discard(watch)
        self._due.pop(watch, None)
        self._asked.discard(watch)
        self._cancel_own(watch)

    def _cancel_own(self, watch: ClusterWatch) -> None:
        for watch_id in [i for i, known in self._ids.items() if known is watch]:
            self._drop(watch_id)
            self._send_cancel(watch_id)

    def _drop(self, watch_id: int) -> None:
        self._ids.pop(watch_id, None)
        self._created.discard(watch_id)
        self._parts.pop(watch_id, None)

    def _send_cancel(self, watch_id: int) -> None:
        self._send(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch_id)))

    def ask_progress(self, watch: ClusterWatch) -> None:
        if self._in_order:
            self._send(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        else:
            self._asked.add(watch)
            self._wanted_progress.set()

    async def find_progress(self) -> None:
        """Where etcd's answers are not trusted: what the newest revision is by a read, one for all who asked."""
        while True:
            await self._wanted_progress.wait()
            self._wanted_progress.clear()
            asked, self._asked = self._asked, set()
            try:
                newest = await self._newest()
            except StoreError as error:
                log.debug("how far etcd is cannot be read now: %s", error)
                self._asked |= asked
                self._wanted_progress.set()
                await self._pause()
                continue
            self._due.update(dict.fromkeys(asked, newest))
            self._answer_due()

    def _answer_due(self) -> None:
        """Those who are as far as etcd was when they asked; all, if there is no tally to tell."""
        for watch, newest in list(self._due.items()):
            if watch.progress >= newest or self._tally is None:
                del self._due[watch]
                watch.answer_progress()

    def _send(self, request: pb.WatchRequest) -> None:
        self._requests.append(request)
        self._wanted.set()

    async def write(self) -> None:
        try:
            while True:
                while self._requests:
                    await self._stream.write(self._requests.popleft())
                self._wanted.clear()
                await self._wanted.wait()
        except StoreError as error:
            log.debug("the watch stream to %s takes no more: %s", self.endpoint, error)
            self.break_off()

    def break_off(self) -> None:
        self._stream.cancel()

    # -- responses --------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Until the stream ends, which is always an error."""
        while (response := await self._stream.read()) is not None:
            self.heard += 1
            self._take(response)
        raise StoreUnavailable(f"the watch stream to {self.endpoint} has ended")

    def _take(self, m: pb.WatchResponse) -> None:
        self._tell(m.header.revision, m.compact_revision)
        watch_id = m.watch_id
        if m.created:
            expected_id = self._uncreated.popleft() if self._uncreated else watch_id
            if watch_id == _ALL_WATCHES:
                watch_id = expected_id  # a creation that was refused
            self._created.add(watch_id)
        if m.canceled or m.compact_revision:
            self._canceled(watch_id, m)
        elif m.events:
            self._take_events(watch_id, m)
        elif not m.created:
            self._progress(watch_id, m.header.revision)

    def _take_events(self, watch_id: int, m: pb.WatchResponse) -> None:
        parts = self._parts.setdefault(watch_id, [])
        parts.extend(m.events)
        if m.fragment:
            return
        del self._parts[watch_id]
        events = [event_of(event) for event in parts]
        if watch_id == self._tally_id:
            self._count(events)
        elif (watch := self._ids.get(watch_id)) is not None:
            watch.receive(events)
            if self._tally is not None and self._tally.settle(watch):
                self._cancel_own(watch)
            elif watch.full:
                self.cancel(watch)
            self._answer_due()

    def _count(self, events: list[Event]) -> None:
        tally = self._tally
        assert tally is not None
        tally.see(events, self._watches)
        for watch in tally.settle_all(self._watches):
            self._cancel_own(watch)
        for watch in [watch for watch in tally.served if watch.full]:
            tally.served.discard(watch)
        self._answer_due()

    def _progress(self, watch_id: int, revision: int) -> None:
        """To all watches, if they can trust it, or to the one that was due for a notice."""
        if watch_id == _ALL_WATCHES:
            told = [self._ids[i] for i in self._created if i in self._ids] if self._in_order else []
        else:
            told = [self._ids[watch_id]] if watch_id in self._ids else []
        for watch in told:
            watch.advance(revision)
            watch.answer_progress()

    def _canceled(self, watch_id: int, m: pb.WatchResponse) -> None:
        if watch_id == self._tally_id:
            self._tally_canceled(m)
            return
        watch = self._ids.get(watch_id)
        self._drop(watch_id)
        if watch is None:
            return
        self._watches.discard(watch)
        if m.compact_revision:
            watch.fail(Compacted(m.compact_revision))
        else:
            watch.fail(_reason(m.cancel_reason))

    def _tally_canceled(self, m: pb.WatchResponse) -> None:
        assert self._tally is not None
        self._tally_id = 0
        if m.compact_revision:
            for watch in [w for w in self._tally.served if w.next_revision < m.compact_revision]:
                self._tally.served.discard(watch)
                self._watches.discard(watch)
                watch.fail(Compacted(m.compact_revision))
            self._begin_tally(m.compact_revision)
            return
        served, self._tally, self._may_tally = self._tally.served, None, False
        for watch in served:
            self.create(watch)
        log.warning(
            "etcd at %s is older than 3.4.31 or 3.5.13 and this user may not watch all keys (%s): watches without "
            "events will not know how far they are; use a newer etcd",
            self.endpoint,
            m.cancel_reason,
        )


async def _first_word(stream: Stream) -> int:
    """That history was compacted, or what it begins with."""
    create = pb.WatchCreateRequest(key=_EVERYTHING, range_end=_EVERYTHING, start_revision=1)
    await stream.write(pb.WatchRequest(create_request=create))
    while (response := await stream.read()) is not None:
        if response.compact_revision or response.events or response.header.revision <= 1:
            return int(response.compact_revision)
    raise StoreUnavailable(f"the etcd member at {stream.endpoint} ended a watch without a word")


def _reason(text: str) -> StoreError:
    """Why etcd canceled a watch, with or without gRPC's words around it."""
    message = text.rpartition("desc = ")[2]
    if message in CODES:
        return error_of(CODES[message], message)
    return StoreUnavailable(f"etcd ended the watch: {text or 'without a reason'}")
