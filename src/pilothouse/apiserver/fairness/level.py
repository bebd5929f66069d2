"""A priority level: so many seats, and queues for who finds none
(k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset).

    enter ──a seat is free, nobody waits──▶ runs ──leave──▶ gone
      │                                      ▲
      └──▶ waits in a queue ────dispatch─────┘      a queue that is full, or too long a wait: Refused

Fair queuing: every queue has a virtual time, which moves on by the work of what is dispatched from it; the queue whose
time is earliest comes next. A queue that was idle starts at the level's virtual time R, so that it has saved
nothing up. R grows by the seats in use, shared among the active queues.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from pilothouse.apiserver.fairness import dealing
from pilothouse.apiserver.fairness.retrying import RetryAfter
from pilothouse.kit.world import World

ESTIMATED_S = 0.003
"""How long a request is taken to run before it has run (queueset's initial guess)."""
WAIT_S_MAX = 15.0
"""A quarter of the time that a request without a deadline of its own has."""


class Refused(Exception):
    """429; why (upstream's label), and how long to wait."""

    def __init__(self, reason: str, retry_after_s: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Queuing(NamedTuple):
    """A level's limitResponse.queuing."""

    queues: int
    hand_size: int
    length_max: int


class Waiting:
    """A request in a queue. `about` is whatever its owner wants to be shown for it."""

    __slots__ = ("about", "arrived_s", "seats", "turn")

    def __init__(self, seats: int, arrived_s: float, turn: asyncio.Future[Queue], about: object) -> None:
        self.seats = seats
        self.arrived_s = arrived_s
        self.turn = turn
        self.about = about


class Queue:
    __slots__ = ("executing", "index", "load", "next_r", "seats_in_use", "waiting")

    def __init__(self, index: int) -> None:
        self.index = index
        self.waiting: deque[Waiting] = deque()
        self.executing = 0
        self.seats_in_use = 0
        self.next_r = 0.0
        self.load = 0
        """Seats of those that wait and of those that run."""


class Level:
    """`limit` None is no limit (exempt); `queuing` None refuses who finds no seat."""

    __slots__ = (
        "_active",
        "_last_s",
        "_r",
        "_world",
        "in_use",
        "limit",
        "name",
        "queues",
        "queuing",
        "retry_after",
        "uid",
        "waiting",
    )

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.uid = ""
        self.limit: int | None = None
        self.queuing: Queuing | None = None
        self.queues: list[Queue] = []
        self.in_use = 0
        """Seats."""
        self.waiting = 0
        """Requests."""
        self.retry_after = RetryAfter()
        self._world = world
        self._r = 0.0
        self._last_s = 0.0
        self._active: dict[Queue, None] = {}
        """Queues of which somebody waits or runs; the one that had its turn last is the last, so that turns go round
        among equals."""

    def configure(self, uid: str, limit: int | None, queuing: Queuing | None) -> None:
        """Who waits keeps waiting, in a queue that there still is."""
        self.uid, self.limit = uid, limit
        if queuing != self.queuing or limit is None:
            left = [w for queue in self.queues for w in queue.waiting]
            self.queuing = queuing
            self.queues = [
                Queue(i) for i in range(queuing.queues if queuing is not None else min(1, len(left)))
            ]
            for i, waiting in enumerate(left):
                kept = self.queues[i % len(self.queues)]
                kept.waiting.append(waiting)
                kept.load += waiting.seats
            self._active = {queue: None for queue in self.queues if queue.waiting}
        if self.waiting:
            self.dispatch()

    def has_room(self, seats: int) -> bool:
        """Whether a request may run at once; one that is wider than the level may when it is alone."""
        if self.limit is None:
            return True
        return not self.waiting and (self.in_use + seats <= self.limit or not self.in_use)

    async def wait(self, flow: int, seats: int, about: object, *, patient: bool = False) -> Queue:
        """Take `seats` when it is this request's turn; `flow` is its flow's hash. Returns the queue it came from, for
        `leave`. Raises Refused, but not for `patient` ones where there are queues: they wait as long as it takes."""
        now_s = self._world.clock.monotonic()
        if self.queuing is None:
            raise Refused("concurrency-limit", self.retry_after.refused(now_s))
        hand = dealing.hand(flow, len(self.queues), self.queuing.hand_size)
        queue = min((self.queues[card] for card in hand), key=lambda q: q.load)
        if len(queue.waiting) >= self.queuing.length_max and not patient:
            raise Refused("queue-full", self.retry_after.refused(now_s))
        waiting = Waiting(seats, now_s, asyncio.get_running_loop().create_future(), about)
        self._advance()
        if queue not in self._active:
            queue.next_r = self._r
            self._active[queue] = None
        queue.waiting.append(waiting)
        queue.load += seats
        self.waiting += 1
        self.dispatch()
        try:
            async with asyncio.timeout(None if patient else WAIT_S_MAX):
                return await waiting.turn
        except TimeoutError:
            self._give_up(waiting)
            raise Refused("time-out", self.retry_after.refused(self._world.clock.monotonic())) from None
        except BaseException:
            self._give_up(waiting)
            raise

    def _give_up(self, waiting: Waiting) -> None:
        """Its client went away, or it waited too long; a turn that came just then goes to another."""
        if waiting.turn.done() and not waiting.turn.cancelled():
            self.leave(waiting.seats, waiting.turn.result(), 0.0)
            return
        for queue in self._active:
            if waiting in queue.waiting:
                queue.waiting.remove(waiting)
                queue.load -= waiting.seats
                self.waiting -= 1
                self._rest(queue)
                return

    def leave(self, seats: int, queue: Queue, ran_s: float) -> None:
        """A request has ended that came from `queue`."""
        self._advance()
        queue.executing -= 1
        queue.seats_in_use -= seats
        queue.load -= seats
        queue.next_r += (ran_s - ESTIMATED_S) * seats
        self.in_use -= seats
        self._rest(queue)
        if self.waiting:
            self.dispatch()

    def _rest(self, queue: Queue) -> None:
        if not queue.waiting and not queue.executing:
            self._active.pop(queue, None)

    def dispatch(self) -> None:
        """Give free seats to those whose turn it is."""
        self._advance()
        while self.waiting:
            queue = self._next_queue()
            waiting = queue.waiting[0]
            if self.limit is not None and self.in_use and self.in_use + waiting.seats > self.limit:
                return
            queue.waiting.popleft()
            self.waiting -= 1
            del self._active[queue]
            if waiting.turn.done():
                queue.load -= waiting.seats
                if queue.waiting or queue.executing:
                    self._active[queue] = None
                continue
            self._active[queue] = None
            self.in_use += waiting.seats
            queue.executing += 1
            queue.seats_in_use += waiting.seats
            queue.next_r += ESTIMATED_S * waiting.seats
            waiting.turn.set_result(queue)

    def _next_queue(self) -> Queue:
        """The one whose next request would be done first in virtual time."""
        return min(
            (q for q in self._active if q.waiting), key=lambda q: q.next_r + ESTIMATED_S * q.waiting[0].seats
        )

    def _advance(self) -> None:
        now_s = self._world.clock.monotonic()
        active = len(self._active)
        if active:
            used = self.in_use if self.limit is None else min(self.in_use, self.limit)
            self._r += (now_s - self._last_s) * max(used, 1) / active
        self._last_s = now_s

    @property
    def r(self) -> float:
        """The virtual time."""
        return self._r
