"""The queue between informers and controllers: k8s.io/client-go/util/workqueue.

A key is handled by one worker at a time and never waits twice, however often it is added:

    add ──▶ dirty ─┬─ not processing ──▶ queue ──get──▶ processing (no longer dirty) ──done──▶ gone
                   └─ processing: waits for done, then ──▶ queue

Priorities are not here. Not thread-safe: one event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from prometheus_client import CollectorRegistry

from pilothouse.kit.metrics import QueueMetrics
from pilothouse.kit.world import World

K = TypeVar("K", bound=Hashable)

BASE_DELAY_S = 0.005
MAX_DELAY_S = 1000.0
BUCKET_QPS = 10.0
BUCKET_BURST = 100


class ShutDown(Exception):
    """The queue was shut down and is empty."""


class Statistics(NamedTuple):
    depth: int
    processing: int
    delayed: int
    """Keys that wait for their time (add_after, add_rate_limited)."""
    failing: int
    """Keys with failures that were not forgotten."""
    waiting_workers: int


class ExponentialLimiter(Generic[K]):
    """Per key: `base_s` doubled with every failure, `max_s` at most."""

    def __init__(self, base_s: float = BASE_DELAY_S, max_s: float = MAX_DELAY_S) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        return len(self._failures)

    def delay_s(self, key: K) -> float:
        """Counts a failure and says how long to wait for it."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # Past 2**63 the power is far beyond any maximum, and too big for a float in the end.
        return min(self._base_s * 2.0 ** min(failures, 63), self._max_s)

    def failures(self, key: K) -> int:
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        self._failures.pop(key, None)


class Bucket:
    """A token bucket that lends: every call takes a token, and says when it will be there
    (golang.org/x/time/rate Reserve)."""

    def __init__(self, qps: float = BUCKET_QPS, burst: int = BUCKET_BURST) -> None:
        self._qps = qps
        self._burst = burst
        self._tokens = float(burst)
        self._last_s: float | None = None

    def delay_s(self, now_s: float) -> float:
        """`now_s` is monotonic time."""
        if self._last_s is not None:
            self._tokens = min(self._tokens + (now_s - self._last_s) * self._qps, self._burst)
        self._last_s = now_s
        self._tokens -= 1
        return -self._tokens / self._qps if self._tokens < 0 else 0.0


class RateLimitedQueue(Generic[K]):
    """`name` labels its metrics in `registry` (None: no metrics)."""

    def __init__(
        self,
        name: str,
        world: World,
        registry: CollectorRegistry | None = None,
        *,
        limiter: ExponentialLimiter[K] | None = None,
        bucket: Bucket | None = None,
    ) -> None:
        self.name = name
        self._clock = world.clock
        # Not `or`: a limiter that has counted nothing is empty, and so false.
        self._limiter: ExponentialLimiter[K] = limiter if limiter is not None else ExponentialLimiter()
        self._bucket = bucket or Bucket()
        self._queue: deque[K] = deque()
        self._dirty: dict[K, float] = {}
        """When each was added, by monotonic time."""
        self._processing: dict[K, float] = {}
        """Since when each is in work."""
        self._timers: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._workers: deque[asyncio.Future[None]] = deque()
        self._drained: asyncio.Event | None = None
        self._shut_down = False
        self._metrics = QueueMetrics(registry, name) if registry is not None else None
        if self._metrics is not None:
            self._metrics.depth.set_function(self.__len__)
            self._metrics.unfinished_seconds.set_function(self._unfinished_s)
            self._metrics.longest_running_seconds.set_function(self._longest_s)

    def __len__(self) -> int:
        return len(self._queue)

    def statistics(self) -> Statistics:
        return Statistics(
            len(self._queue), len(self._processing), len(self._timers), len(self._limiter), len(self._workers)
        )

    # -- adding -----------------------------------------------------------------------------------------

    def add(self, key: K) -> None:
        """Have `key` handled, as soon as somebody is free and nobody has it in work."""
        if self._shut_down or key in self._dirty:
            return
        self._dirty[key] = self._clock.monotonic()
        if self._metrics is not None:
            self._metrics.adds.inc()
        if key not in self._processing:
            self._push(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Add after a while. Of several times the earliest counts."""
        if self._shut_down:
            return
        if self._metrics is not None:
            self._metrics.retries.inc()
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        due_s = loop.time() + delay_s
        waiting = self._timers.get(key)
        if waiting is not None:
            if waiting[0] <= due_s:
                return
            waiting[1].cancel()
        self._timers[key] = (due_s, loop.call_at(due_s, self._due, key))

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def add_rate_limited(self, key: K) -> None:
        """Add after the longer of the key's own back-off and the whole queue's bucket."""
        own_s = self._limiter.delay_s(key)
        self.add_after(key, max(own_s, self._bucket.delay_s(self._clock.monotonic())))

    def forget(self, key: K) -> None:
        """It went well: the next failure is the first."""
        self._limiter.forget(key)

    def failures(self, key: K) -> int:
        """How often `key` was added rate-limited since it was forgotten (NumRequeues)."""
        return self._limiter.failures(key)

    # -- working ----------------------------------------------------------------------------------------

    async def get(self) -> K:
        """The next key, to be given back with `done`. ShutDown when there will be none."""
        while not self._queue:
            if self._shut_down:
                raise ShutDown
            await self._wait()
        key = self._queue.popleft()
        now_s = self._clock.monotonic()
        added_s = self._dirty.pop(key)
        self._processing[key] = now_s
        if self._metrics is not None:
            self._metrics.queue_seconds.observe(now_s - added_s)
        return key

    def done(self, key: K) -> None:
        """`key` is no longer in work; if it was added meanwhile, it is queued now."""
        since_s = self._processing.pop(key, None)
        if since_s is not None and self._metrics is not None:
            self._metrics.work_seconds.observe(self._clock.monotonic() - since_s)
        if key in self._dirty and since_s is not None:
            self._push(key)
        if not self._processing and self._drained is not None:
            self._drained.set()

    def shut_down(self) -> None:
        """Take no more; `get` hands out what is queued, then raises ShutDown."""
        self._shut_down = True
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        while self._workers:
            self._wake_one()

    async def shut_down_with_drain(self) -> None:
        """As `shut_down`, and wait until nothing is in work any more."""
        self.shut_down()
        while self._processing:
            self._drained = asyncio.Event()
            await self._drained.wait()

    def _push(self, key: K) -> None:
        self._queue.append(key)
        self._wake_one()

    def _wake_one(self) -> None:
        while self._workers:
            worker = self._workers.popleft()
            if not worker.done():
                worker.set_result(None)
                return

    async def _wait(self) -> None:
        worker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._workers.append(worker)
        try:
            await worker
        except asyncio.CancelledError:
            if worker.done() and not worker.cancelled():
                # It was called for a key it will not take: somebody else must.
                self._wake_one()
            elif worker in self._workers:
                self._workers.remove(worker)
            raise

    def _unfinished_s(self) -> float:
        now_s = self._clock.monotonic()
        return sum(now_s - since_s for since_s in self._processing.values())

    def _longest_s(self) -> float:
        now_s = self._clock.monotonic()
        return max((now_s - since_s for since_s in self._processing.values()), default=0.0)


async def work(
    queue: RateLimitedQueue[K], handle: Callable[[K], Awaitable[None]], *, workers: int, name: str
) -> None:
    """Until cancelled, or until the queue is shut down and empty: take a key, handle it, give it back, several at
    once. `handle` decides what becomes of a failure; what it raises ends all workers."""

    async def one() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            try:
                await handle(key)
            finally:
                queue.done(key)

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(one(), name=f"{name} {number}") for number in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        queue.shut_down()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
