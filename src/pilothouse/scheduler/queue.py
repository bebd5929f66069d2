"""The scheduling queue (pkg/scheduler/backend/queue): pods that wait for a node.

    active ──pop──▶ in work ──bound──▶ gone
      ▲                │ no node fits
      │                ▼
      ├──back-off over── backing off ◀──something changed── unschedulable ──five minutes──▶ active

Active pods go by priority, then by age. A pod that did not fit waits until something changes that may help
it, and then out its back-off: 1 s, doubling to 10 s.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass, field
from itertools import count

from pilothouse.api.types import Obj
from pilothouse.kit.world import World

BACKOFF_S_MIN = 1.0
BACKOFF_S_MAX = 10.0
UNSCHEDULABLE_S_MAX = 300.0
_FLUSH_PERIOD_S = 1.0


@dataclass(slots=True)
class Waiting:
    """A pod and how often it was tried."""

    pod: Obj
    attempts: int = 0
    ready_s: float = 0.0
    since_s: float = 0.0
    rejected_by: set[str] = field(default_factory=set)


def priority_of(pod: Obj) -> int:
    value: int = pod["spec"].get("priority") or 0
    return value


class SchedulingQueue:
    """Pods by UID. Use from one event loop."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._entries: dict[str, Waiting] = {}
        self._active: list[tuple[int, float, int, str]] = []
        self._in_active: set[str] = set()
        self._backoff: list[tuple[float, int, str]] = []
        self._in_backoff: set[str] = set()
        self._unschedulable: set[str] = set()
        self._number = count()
        self._wake = asyncio.Event()
        self._moves = 0

    def sizes(self) -> dict[str, int]:
        """Pods per queue, for the metric scheduler_pending_pods."""
        return {
            "active": len(self._in_active),
            "backoff": len(self._in_backoff),
            "unschedulable": len(self._unschedulable),
        }

    @property
    def moves(self) -> int:
        """Rises whenever something changed that may help unschedulable pods."""
        return self._moves

    def add(self, pod: Obj) -> None:
        """A new pod, or a new state of one that waits."""
        uid = pod["metadata"]["uid"]
        entry = self._entries.get(uid)
        if entry is None:
            entry = self._entries[uid] = Waiting(pod, since_s=self._world.clock.monotonic())
        entry.pod = pod
        if uid not in self._in_backoff and uid not in self._in_active:
            self._activate(uid)

    def update(self, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        entry = self._entries.get(uid)
        if entry is None:
            self.add(pod)
            return
        changed = entry.pod["spec"] != pod["spec"] or entry.pod["metadata"].get("labels") != pod[
            "metadata"
        ].get("labels")
        entry.pod = pod
        if changed and uid in self._unschedulable:
            self._back_off(uid)

    def remove(self, uid: str) -> None:
        self._entries.pop(uid, None)
        self._in_active.discard(uid)
        self._in_backoff.discard(uid)
        self._unschedulable.discard(uid)

    def pop(self) -> Waiting | None:
        """The next pod to try, None when none is active now."""
        while self._active:
            _, _, _, uid = heapq.heappop(self._active)
            if uid not in self._in_active:
                continue
            self._in_active.discard(uid)
            entry = self._entries.get(uid)
            if entry is not None:
                entry.attempts += 1
                return entry
        return None

    def put_back(self, entry: Waiting, rejected_by: set[str], moves: int) -> None:
        """A pod that got no node. If something changed while it was tried it only waits out its back-off."""
        uid = entry.pod["metadata"]["uid"]
        if uid not in self._entries:
            return
        entry.rejected_by = rejected_by
        now = self._world.clock.monotonic()
        entry.ready_s = now + min(BACKOFF_S_MIN * 2.0 ** (entry.attempts - 1), BACKOFF_S_MAX)
        entry.since_s = now
        if moves != self._moves:
            self._back_off(uid)
        else:
            self._unschedulable.add(uid)

    def move_all(self) -> None:
        """Something changed that may help: everything unschedulable may try again."""
        self._moves += 1
        for uid in list(self._unschedulable):
            self._back_off(uid)

    async def wait(self) -> None:
        """Until there may be an active pod."""
        while not self._in_active:
            self._wake.clear()
            self._flush()
            if self._in_active:
                return
            try:
                await asyncio.wait_for(self._wake.wait(), _FLUSH_PERIOD_S)
            except TimeoutError:
                self._flush()

    def _flush(self) -> None:
        now = self._world.clock.monotonic()
        while self._backoff and self._backoff[0][0] <= now:
            _, _, uid = heapq.heappop(self._backoff)
            if uid in self._in_backoff:
                self._in_backoff.discard(uid)
                self._activate(uid)
        for uid in list(self._unschedulable):
            if now - self._entries[uid].since_s > UNSCHEDULABLE_S_MAX:
                self._unschedulable.discard(uid)
                self._activate(uid)

    def _back_off(self, uid: str) -> None:
        self._unschedulable.discard(uid)
        entry = self._entries[uid]
        if entry.ready_s <= self._world.clock.monotonic():
            self._activate(uid)
            return
        self._in_backoff.add(uid)
        heapq.heappush(self._backoff, (entry.ready_s, next(self._number), uid))

    def _activate(self, uid: str) -> None:
        self._unschedulable.discard(uid)
        if uid in self._in_active:
            return
        entry = self._entries[uid]
        self._in_active.add(uid)
        item = (-priority_of(entry.pod), entry.since_s, next(self._number), uid)
        heapq.heappush(self._active, item)
        self._wake.set()
