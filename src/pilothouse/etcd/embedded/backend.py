"""The embedded `Backend`: transactions in order, one writer, group commit.

Everything that waits while the disk is busy goes into the next commit together:

    txn ──apply──▶ waiting ──(writer idle)──▶ one commit for all ──▶ visible, acknowledged, watchers told
                                                   └─ refused ──▶ all of them fail, nothing was done

A refused commit (disk full, I/O error) takes back everything that was applied; reads go on, and the next
write tries the disk again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakSet

from pilothouse.etcd.contract import (
    API_VERSION,
    Compacted,
    Delete,
    DeleteResult,
    Event,
    FutureRevision,
    Hash,
    KeyValue,
    LeaseNotFound,
    LeaseStatus,
    Put,
    PutResult,
    Range,
    RangeResult,
    Status,
    StoreClosed,
    StoreUnavailable,
    Txn,
    TxnResult,
)
from pilothouse.etcd.embedded.log import Batch, Log, Sizes
from pilothouse.etcd.mvcc.leases import Leases
from pilothouse.etcd.mvcc.store import PLACE_BITS, Record, Store, Versions
from pilothouse.kit.world import World

if TYPE_CHECKING:
    from pilothouse.etcd.snapshots.stream import Copy

log = logging.getLogger(__name__)

_LEASE_CHECK_PERIOD_S = 1.0
_FORGET_KEYS = 2_000
"""How many keys a compaction treats between two writes of others."""

_SWITCH_INTERVAL_S = 1e-4
"""How long the writer asks for the interpreter's lock before it insists. CPython's 5 ms are too long: a busy loop
lets go of the lock for a moment in every poll and send, which starts the writer's wait anew each time, and a
commit that took 0.3 ms was seen to be acknowledged after 3 s."""

_EVENTS_WAITING_MAX = 10_000
"""Of one watch; what comes on top is read from the history again."""
_PAGE_EVENTS = 1_000
"""How many events of the history a watch looks at, before others have their turn."""

Settled = Callable[[bool], None]
T = TypeVar("T")
Row = tuple[KeyValue, int]
"""A version and its place in its revision."""

_ROWS_AT_ONCE = 1000


@dataclass(slots=True, eq=False)
class _Waiting:
    """Something to make durable, and whom to tell. `settled(True)` is called when it is,
    `settled(False)` when the disk refused it, whether or not anybody still waits."""

    records: list[Record]
    batch: Batch
    done: asyncio.Future[Any]
    result: Any
    settled: Settled | None
    is_over: bool = False
    """It is known what became of it."""


class _Job(NamedTuple):
    """Work on the log that is no commit."""

    work: Callable[[], None]
    done: asyncio.Future[None]


async def open_backend(world: World, durable: Log) -> EmbeddedBackend:
    """A backend that is ready: data loaded, leases running out."""
    backend = EmbeddedBackend(world, durable)
    backend.watch_leases()
    return backend


class EmbeddedBackend:
    """See `contract.Backend`. Made by `open_backend`; use from one event loop."""

    def __init__(self, world: World, durable: Log) -> None:
        self._world = world
        self._log = durable
        self._store = Store()
        self._leases = Leases()
        self._watches: dict[_Watch, None] = {}
        """In the order in which they came: a set would tell them in another order in every run."""
        self._waiting: list[_Waiting] = []
        self._writing = False
        self._closed = False
        self._fault = ""
        self._thread = _writer() if durable.in_thread else None
        self._expiry: asyncio.Task[None] | None = None
        self.on_commit: Callable[[float], object] | None = None
        """Told how many seconds each commit took."""
        self._records = durable.records()
        self._garbage: list[Row] = []
        """Rows that no read can need and that are still in the log."""
        self._jobs: deque[_Job] = deque()
        self._copies: WeakSet[Copy] = WeakSet()
        self._idle: asyncio.Event = asyncio.Event()
        self._idle.set()
        self._load()

    def _load(self) -> None:
        self._store.load(self._log.load(), self._log.compact_revision(), self._log.places)
        now = self._world.clock.monotonic()
        for lease_id, ttl_s in self._log.leases():
            self._leases.grant(lease_id, ttl_s, now)
        for kv in self._store.range(Range(b"\0", b"\0")).kvs:
            if kv.lease:
                self._leases.moved(kv.key, 0, kv.lease)

    @property
    def revision(self) -> int:
        return self._store.revision

    @property
    def compact_revision(self) -> int:
        return self._store.compact_revision

    @property
    def shared(self) -> bool:
        """The data are locked: whoever writes comes through here."""
        return False

    @property
    def history_bytes(self) -> int:
        """Memory that a compaction could free."""
        return self._store.history_bytes

    async def health(self) -> str:
        return self._fault

    # -- reading ----------------------------------------------------------------------------------------

    async def range(self, op: Range) -> RangeResult:
        if self._closed:
            raise StoreClosed
        return self._store.range(op)

    def watch(
        self, key: bytes, range_end: bytes = b"", start_revision: int = 0, *, prev: bool = False
    ) -> _Watch:
        watch = _Watch(self._world, self._store, key, range_end, self._forget)
        if self._closed:
            watch.fail(StoreClosed())
            return watch
        if start_revision and start_revision <= self._store.revision:
            try:
                watch.begin_with(start_revision)
            except Compacted as error:
                watch.fail(error)
                return watch
        watch.progress(self._store.revision)
        watch.start_revision = start_revision
        self._watches[watch] = None
        return watch

    def _forget(self, watch: _Watch) -> None:
        self._watches.pop(watch, None)

    # -- writing ----------------------------------------------------------------------------------------

    async def put(self, op: Put) -> PutResult:
        self._leases.require(op.lease)  # by itself a put is asked for its lease before its key
        result = (await self.txn(Txn((), (op,)))).results[0]
        assert isinstance(result, PutResult)
        return result

    async def delete(self, op: Delete) -> DeleteResult:
        result = (await self.txn(Txn((), (op,)))).results[0]
        assert isinstance(result, DeleteResult)
        return result

    async def txn(self, txn: Txn) -> TxnResult:
        if self._closed:
            raise StoreClosed
        applied = self._store.apply(txn, self._leases.require)
        if not applied.records:
            if self._writing:
                # What it saw may not be durable yet.
                await self._durable([], Batch())
            return applied.result
        batch = Batch(puts=[record.kv for record in applied.records])
        result: TxnResult = await self._durable(applied.records, batch, applied.result)
        return result

    async def _durable(
        self, records: list[Record], batch: Batch, result: Any = None, settled: Settled | None = None
    ) -> Any:
        """Enqueue and wait. A caller who is cancelled meanwhile withdraws nothing, so he is kept until it is known
        what became of his write: what he held for it (an address, a port) must not go to somebody else."""
        loop = asyncio.get_running_loop()
        waiting = _Waiting(records, batch, loop.create_future(), result, settled)
        self._waiting.append(waiting)
        self._start_writing()
        try:
            return await waiting.done
        except asyncio.CancelledError:
            # `done` was cancelled with him. asyncio.shield, which would keep it, is dear: every write comes by here.
            if not waiting.is_over:
                waiting.done = loop.create_future()
                await asyncio.wait((waiting.done,))
                waiting.done.exception()  # nobody else asks for it
            raise

    def _start_writing(self) -> None:
        if not self._writing:
            self._writing = True
            self._idle.clear()
            # Not at once: what else the loop has ready now comes into the same commit.
            asyncio.get_running_loop().call_soon(self._write_waiting)

    def _write_waiting(self) -> None:
        if self._jobs:
            self._run_job(self._jobs.popleft())
            return
        group, self._waiting = self._waiting, []
        if not group:
            self._writing = False
            self._idle.set()
            return
        try:
            self._log.stage(_merge(group))
            if self._thread is None:
                self._log.commit()
        except StoreUnavailable as error:
            self._written(group, error)
            return
        if self._thread is None:
            self._written(group, None)
            return
        commit = self._log.commit if self.on_commit is None else self._timed_commit
        committed = asyncio.get_running_loop().run_in_executor(self._thread, commit)
        committed.add_done_callback(lambda future: self._written(group, future.exception()))

    def _run_job(self, job: _Job) -> None:
        """Between two commits; what is written meanwhile waits."""

        def ended(future: asyncio.Future[None]) -> None:
            if not job.done.done():
                error = future.exception()
                if error is None:
                    job.done.set_result(None)
                else:
                    job.done.set_exception(error)
            self._write_waiting()

        asyncio.get_running_loop().run_in_executor(self._thread, job.work).add_done_callback(ended)

    def _timed_commit(self) -> None:
        """In the writer's thread."""
        begun_s = self._world.clock.monotonic()
        self._log.commit()
        if self.on_commit is not None:
            self.on_commit(self._world.clock.monotonic() - begun_s)

    def _written(self, group: list[_Waiting], error: BaseException | None) -> None:
        if error is None:
            if any(any(waiting.batch) for waiting in group):  # nothing fits on a full disk, too
                self._fault = ""
            self._publish(group)
        else:
            self._refuse(group, error)
        self._write_waiting()

    def _publish(self, group: list[_Waiting]) -> None:
        events: list[Event] = []
        for waiting in group:
            if waiting.records:
                events += self._store.commit(waiting.records)
                for record in waiting.records:
                    old = record.prev.lease if record.prev is not None else 0
                    if old or record.kv.lease:
                        self._leases.moved(record.kv.key, old, record.kv.lease)
        if events:
            for watch in list(self._watches):
                watch.push(events)
                watch.progress(self._store.revision)
        for waiting in group:
            waiting.is_over = True
            if waiting.settled is not None:
                waiting.settled(True)
            if not waiting.done.done():
                waiting.done.set_result(waiting.result)

    def _refuse(self, group: list[_Waiting], error: BaseException) -> None:
        """What came after was applied on top of what failed: it fails too."""
        refusal = error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error))
        if str(error) != self._fault:
            log.error("%s (%s): writes are refused until the disk takes them again", error, error.__cause__)
        self._fault = str(error)
        later, self._waiting = self._waiting, []
        self._store.rollback()
        for waiting in (*group, *later):
            waiting.is_over = True
            if waiting.settled is not None:
                waiting.settled(False)
            if not waiting.done.done():
                waiting.done.set_exception(type(refusal)(str(refusal)))

    async def compact(self, revision: int) -> None:
        if self._closed:
            raise StoreClosed
        self._store.compact(revision)
        while (dropped := self._store.forget(_FORGET_KEYS)) is not None:
            self._garbage += dropped
            await self._drop_garbage()
        await self._drop_garbage()

    async def _drop_garbage(self) -> None:
        """Rows that the disk refuses to drop now are dropped by the next compaction."""
        garbage: list[Row] = []
        if not any(copy.reads for copy in self._copies):
            garbage, self._garbage = self._garbage, []

        def settled(done: bool) -> None:
            if not done:
                self._garbage = garbage + self._garbage

        batch = Batch(drops=garbage, compact_revision=self._store.compact_revision)
        await self._durable([], batch, None, settled)

    # -- leases -----------------------------------------------------------------------------------------

    async def lease_grant(self, ttl_s: int, lease_id: int = 0) -> LeaseStatus:
        if self._closed:
            raise StoreClosed
        granted = lease_id or self._world.random.getrandbits(62) | 1 << 61
        status = self._leases.grant(granted, ttl_s, self._world.clock.monotonic())
        self.watch_leases()

        def settled(done: bool) -> None:
            if not done:
                self._leases.drop(granted)

        await self._durable([], Batch(leases_granted=[(granted, ttl_s)]), None, settled)
        return status

    async def lease_revoke(self, lease_id: int) -> None:
        """In one revision, which exists only if the lease has keys."""
        if self._closed:
            raise StoreClosed
        keys = self._leases.end(lease_id)
        keys.update(self._store.pending_keys())
        applied = self._store.apply(Txn((), [Delete(k) for k in sorted(keys) if self._holds(lease_id, k)]))

        def settled(done: bool) -> None:
            if done:
                self._leases.drop(lease_id)
            else:
                self._leases.resume(lease_id)

        batch = Batch(puts=[record.kv for record in applied.records], leases_gone=[lease_id])
        await self._durable(applied.records, batch, None, settled)

    def _holds(self, lease_id: int, key: bytes) -> bool:
        kv = self._store.newest(key)
        return kv is not None and kv.lease == lease_id

    async def lease_keep_alive(self, lease_id: int) -> LeaseStatus:
        return self._leases.keep_alive(lease_id, self._world.clock.monotonic())

    async def lease_status(self, lease_id: int) -> LeaseStatus:
        return self._leases.status(lease_id, self._world.clock.monotonic())

    async def leases(self) -> list[int]:
        return self._leases.ids()

    # -- maintenance ------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """Sizes are read between two commits: the log may not be asked while it writes."""
        sizes = Sizes(0, 0)

        def settled(done: bool) -> None:
            nonlocal sizes
            sizes = self._log.sizes()

        if self._closed:
            raise StoreClosed
        with contextlib.suppress(StoreUnavailable):  # a full disk has a size all the same
            await self._durable([], Batch(), None, settled)
        return Status(API_VERSION, sizes.total, sizes.in_use, (self._fault,) if self._fault else ())

    async def record(self, name: str) -> bytes:
        return self._records.get(name, b"")

    async def keep_record(self, name: str, value: bytes) -> None:
        if self._closed:
            raise StoreClosed

        def settled(done: bool) -> None:
            if done:
                self._records[name] = value

        await self._durable([], Batch(records=[(name, value)]), None, settled)

    async def hash_kv(self, revision: int = 0) -> Hash:
        """In a thread of its own, over a copy: a million keys take seconds."""
        if self._closed:
            raise StoreClosed
        newest, compacted = self._store.revision, self._store.compact_revision
        if revision and revision < compacted:
            raise Compacted(compacted)
        if revision > newest:
            raise FutureRevision
        # It needs protobuf, which a control plane on this store does without.
        from pilothouse.etcd.embedded.hashing import hash_versions

        revision = revision or newest
        value = await asyncio.to_thread(hash_versions, self._store.versions(), revision, compacted)
        return Hash(value, revision, compacted)

    async def defragment(self) -> None:
        if self._closed:
            raise StoreClosed
        if self._thread is None:
            return
        await self._between_commits(self._log.defragment)

    async def _between_commits(self, work: Callable[[], T]) -> T:
        """The result of work on the log, in the writer's thread."""
        if self._closed:
            raise StoreClosed
        found: list[T] = []
        job = _Job(lambda: found.append(work()), asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self._start_writing()
        await job.done
        return found[0]

    def snapshot(self) -> Copy:
        """As the store is now; what is written while it is read is not in it. Rows are read from the log, some
        between two commits. A compaction meanwhile leaves its rows to the next one."""
        if self._closed:
            raise StoreClosed
        from pilothouse.etcd.snapshots.stream import Copy  # it needs protobuf, which `up` does without

        durable = self._thread is not None
        rows = self._logged_rows(self._store.revision) if durable else _known_rows(self._store.versions())
        leases = self._leases.granted()
        copy = Copy(rows, self._store.compact_revision, leases, self._records, self._log.directory)
        if durable:
            self._copies.add(copy)
        return copy

    async def _logged_rows(self, revision: int) -> AsyncIterator[list[Row]]:
        after = 0
        while some := await self._between_commits(partial(self._log.rows, after, revision)):
            yield some
            newest, place = some[-1]
            after = newest.mod_revision << PLACE_BITS | place

    # -- leases that run out ----------------------------------------------------------------------------

    def watch_leases(self) -> None:
        """Start to revoke what runs out, once there is a lease."""
        if self._expiry is None and len(self._leases):
            self._expiry = asyncio.get_running_loop().create_task(self._expire(), name="lease expiry")

    async def _expire(self) -> None:
        while True:
            await self._world.clock.sleep(_LEASE_CHECK_PERIOD_S)
            for lease_id in self._leases.expired(self._world.clock.monotonic()):
                try:
                    await self.lease_revoke(lease_id)
                except LeaseNotFound:
                    log.debug("lease %x was revoked just before it ran out", lease_id)
                except StoreUnavailable as error:
                    log.warning("lease %x could not be revoked: %s", lease_id, error)

    async def close(self) -> None:
        """Wait for what was accepted, then stop."""
        if self._closed:
            return
        self._closed = True
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.gather(self._expiry, return_exceptions=True)
        await self._idle.wait()
        for watch in list(self._watches):
            watch.fail(StoreClosed())
        if self._thread is not None:
            self._thread.shutdown(wait=True)
        self._log.close()


async def _known_rows(versions: Versions) -> AsyncIterator[list[Row]]:
    rows = versions.in_order()
    while some := await asyncio.to_thread(lambda: list(islice(rows, _ROWS_AT_ONCE))):
        yield some


def _writer() -> ThreadPoolExecutor:
    sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_INTERVAL_S))
    return ThreadPoolExecutor(1, thread_name_prefix="store-writer")


def _merge(group: list[_Waiting]) -> Batch:
    if len(group) == 1:
        return group[0].batch
    batches = [w.batch for w in group]
    return Batch(
        [kv for b in batches for kv in b.puts],
        [row for b in batches for row in b.drops],
        max(b.compact_revision for b in batches),
        [g for b in batches for g in b.leases_granted],
        [g for b in batches for g in b.leases_gone],
        [r for b in batches for r in b.records],
    )


class _Watch:
    """See `contract.Watch`. Batches are whole commits: all events of a revision come together.

        behind (reads pages of the store's history) ──all read──▶ live (gets each commit's events)
           ▲                                                         │
           └──────────── too many events that nobody fetched ────────┘

    So a watch whose reader is slow costs no memory, and ends with Compacted if history went faster than he.
    """

    def __init__(
        self, world: World, store: Store, key: bytes, range_end: bytes, forget: Callable[[_Watch], None]
    ) -> None:
        self._world = world
        self._store = store
        self._key = key
        self._end = range_end or key + b"\0"
        self._forget = forget
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._progress = 0
        self._progress_asked = False
        self._behind = 0
        """The revision to read on from; 0 when live."""
        self.start_revision = 0

    @property
    def progress_revision(self) -> int:
        if self._events:
            return self._events[0].kv.mod_revision - 1
        return self._behind - 1 if self._behind else self._progress

    def begin_with(self, revision: int) -> None:
        """Deliver history from `revision` on first. Compacted."""
        self._events.extend(self._page(revision))

    def progress(self, revision: int) -> None:
        self._progress = revision

    def request_progress(self) -> None:
        self._progress_asked = True
        self._wake()

    def push(self, events: list[Event]) -> None:
        """A commit's events."""
        if self._behind:
            return
        wanted = self._wanted(events)
        if self.start_revision > self._progress:
            wanted = [e for e in wanted if e.kv.mod_revision >= self.start_revision]
        if wanted:
            self._events.extend(wanted)
            self._wake()
            if len(self._events) > _EVENTS_WAITING_MAX:
                self._behind = self._events[0].kv.mod_revision
                self._events.clear()

    def _wanted(self, events: list[Event]) -> list[Event]:
        first, end = self._key, self._end
        if end == b"\0":
            return [e for e in events if e.kv.key >= first]
        return [e for e in events if first <= e.kv.key < end]

    def fail(self, error: Exception) -> None:
        """Ends the stream, after what was already pushed."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> list[Event]:
        while not self._events:
            if self._behind:
                batch = self._next_page()
                if batch or not self._behind:
                    return batch
                await self._world.clock.sleep(
                    0
                )  # others come in between pages that have nothing for this watch
                continue
            if self._error is not None:
                raise self._error
            if self._progress_asked:
                self._progress_asked = False
                return []
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        batch = list(self._events)
        self._events.clear()
        return batch

    def _next_page(self) -> list[Event]:
        try:
            return self._page(self._behind)
        except Compacted as error:
            self._behind = 0
            self._forget(self)
            self.fail(error)
            raise

    def _page(self, revision: int) -> list[Event]:
        events, following = self._store.events_page(revision, _PAGE_EVENTS)
        self._behind = following if following <= self._store.revision else 0
        return self._wanted(events)

    def close(self) -> None:
        self._forget(self)
        self._behind = 0
        self._events.clear()
        self.fail(StoreClosed())
