"""The scheduling queue (pkg/scheduler/backend/queue): pods that wait for a node.

                        ┌────────────────── back-off over, or nothing else to do ──────────────────┐
                        ▼                                                                          │
    new ──PreEnqueue──▶ active ──pop──▶ in flight ──bound──▶ gone                                  │
             │                             │ no node fits                                          │
             ▼                             ├── something that helps happened meanwhile ─────▶ backing off
           gated                           ▼                                                       ▲
                                     unschedulable ── an event that a plugin's hint takes ─────────┘
                                           └──────── five minutes ──▶ active

Active pods go in the order of the profile's QueueSort. A pod backs off for 1 s after its first attempt, twice as long
after each further one, up to 10 s. When nothing is active, a pod that backs off is tried early (KEP-5142), unless it
failed by an error. What happens while a pod is in flight is kept until its outcome is known: an event must not fall
between a decision and the pod's return to the queue.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal, NamedTuple, get_args

from pilothouse.kit.world import World
from pilothouse.scheduler.hints import OTHERS, UNSCHEDULED_POD, Action, Event, Registration, pod_changes
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.profile import Profile

_WAIT_S_MIN = 0.001
_WAIT_S_MAX = 3600.0

_Kind = tuple[Profile, frozenset[str]]
"""A profile, and the names of its plugins that refused a pod."""


class Patience(NamedTuple):
    """How long pods wait: after the first failed attempt, at most after later ones, and at most as unschedulable
    (podInitialBackoffSeconds, podMaxBackoffSeconds, --pod-max-in-unschedulable-pods-duration)."""

    backoff_s_min: float = 1.0
    backoff_s_max: float = 10.0
    unschedulable_s_max: float = 300.0


_PATIENCE = Patience()

Place = Literal["active", "backoff", "error-backoff", "unschedulable", "gated", "in-flight"]


@dataclass(eq=False, slots=True)
class Waiting:
    """A pod in the queue. Times are the clock's monotonic seconds."""

    info: PodInfo
    profile: Profile
    place: Place
    since_s: float
    """When it came into the queue (again)."""
    first_s: float
    """When it was first seen."""
    attempts: int = 0
    ready_s: float = 0.0
    """When its back-off is over."""
    rejected_by: set[str] = field(default_factory=set)
    gate: str = ""
    ticket: int = 0
    """Which heap entry is the current one; older ones are dead."""
    seen: int = 0
    """In flight: the number of the first event that it has not seen."""
    kind: _Kind | None = None
    """Unschedulable: which others an event helps or does not help just like it."""


class SchedulingQueue:
    """Pods by UID; use from one event loop."""

    def __init__(self, world: World, patience: Patience = _PATIENCE) -> None:
        self._world = world
        self._patience = patience
        self._entries: dict[str, Waiting] = {}
        self._at: dict[Place, dict[str, Waiting]] = {place: {} for place in get_args(Place)}
        """By place, in the order in which they came there."""
        self._refused: dict[_Kind, dict[str, Waiting]] = {}
        """The unschedulable ones by profile and by who refused them: most events help none of a kind."""
        self._active: list[tuple[tuple[float, ...], int, Waiting]] = []
        self._backoff: list[tuple[float, int, Waiting]] = []
        self._tickets = count(1)
        self._wake = asyncio.Event()
        self._events: deque[Event] = deque()
        self._events_from = 0
        """The number of the first event in `_events`."""
        self.incoming: dict[tuple[Place, str], int] = {}
        """How many pods went where for which reason (scheduler_queue_incoming_pods_total)."""

    def sizes(self) -> dict[Place, int]:
        """Pods by place (scheduler_pending_pods)."""
        return {place: len(entries) for place, entries in self._at.items()}

    def refused(self) -> dict[tuple[str, str], int]:
        """Pods by plugin that refused them, and profile (scheduler_unschedulable_pods)."""
        found: dict[tuple[str, str], int] = {}
        for place in ("unschedulable", "gated"):
            for entry in self._at[place].values():
                for plugin in entry.rejected_by | ({entry.gate} - {""}):
                    key = (plugin, entry.profile.name)
                    found[key] = found.get(key, 0) + 1
        return found

    def get(self, uid: str) -> Waiting | None:
        return self._entries.get(uid)

    # -- what informers say -----------------------------------------------------------------------------

    def put(self, info: PodInfo, profile: Profile) -> None:
        """A new pod without a node, or a new state of one that waits."""
        entry = self._entries.get(info.uid)
        if entry is None:
            now = self._world.clock.monotonic()
            entry = self._entries[info.uid] = Waiting(info, profile, "gated", now, now)
            self._enqueue(entry, "PodAdd")
            return
        old, entry.info = entry.info, info
        if entry.place == "active":
            self._activate(entry)
        elif entry.place == "gated":
            self._enqueue(entry, "PodUpdate")
        else:
            self.happened(Event(UNSCHEDULED_POD, pod_changes(old, info), old.pod, info.pod))

    def remove(self, uid: str) -> None:
        """It has a node, or is gone."""
        entry = self._entries.pop(uid, None)
        if entry is not None:
            self._take(entry)
            entry.ticket = 0
            self._forget_events()

    def happened(self, event: Event) -> None:
        """Something changed: pods that it may help try again."""
        if event.action == Action.NONE:
            return
        if self._at["in-flight"]:
            self._events.append(event)
        for kind, entries in list(self._refused.items()):
            wanted = _registrations(kind, event)
            if wanted:
                self._wake_those(entries, wanted, event)
        if event.resource in OTHERS:
            self._open_gates(event)

    def _open_gates(self, event: Event) -> None:
        """What a gate waits for may have come. An object that was made for one pod concerns only that one."""
        owner = _owner(event)
        entry = self._entries.get(owner)
        gated = self._at["gated"].values() if not owner else [entry] if entry is not None else []
        for entry in list(gated):
            wanted = entry.profile.registrations.get(entry.gate, ())
            if entry.place == "gated" and any(r.wakes(entry.info, event) for r in wanted):
                self._enqueue(entry, event.resource)

    def _wake_those(self, entries: dict[str, Waiting], wanted: Sequence[Registration], event: Event) -> None:
        for entry in list(entries.values()):
            if any(registration.wakes(entry.info, event) for registration in wanted):
                self._retry(entry, event.resource)

    # -- what the scheduler does ------------------------------------------------------------------------

    def pop(self) -> Waiting | None:
        """The next pod to try; None when there is none now."""
        self._flush()
        entry = self._pop_active() or self._pop_backing_off()
        return None if entry is None else self._to_flight(entry)

    def _to_flight(self, entry: Waiting) -> Waiting:
        self._move(entry, "in-flight")
        entry.attempts += 1
        entry.seen = self._events_from + len(self._events)
        return entry

    def _pop_active(self) -> Waiting | None:
        while self._active:
            _, ticket, entry = heapq.heappop(self._active)
            if ticket == entry.ticket:
                return entry
        return None

    def _pop_backing_off(self) -> Waiting | None:
        """The pod whose back-off ends first. Errors wait theirs out: trying sooner would only repeat them."""
        while True:
            entry = min(self._at["backoff"].values(), key=lambda entry: entry.ready_s, default=None)
            if entry is None or not self._is_gated(entry):
                return entry
            self._move(entry, "gated")
            self._note(entry, "BackoffComplete")

    def pull(self, uid: str) -> Waiting | None:
        """One pod out of its turn, to be tried with another one; None when it does not wait, or is gated."""
        entry = self._entries.get(uid)
        if entry is None or entry.place in ("in-flight", "gated"):
            return None
        return self._to_flight(entry)

    def reconsider(self, uid: str, plugin: str) -> None:
        """What held a pod back for `plugin` may be over: it is asked again."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        if entry.place == "gated" and entry.gate == plugin:
            self._enqueue(entry, plugin)
        elif entry.place == "unschedulable" and plugin in entry.rejected_by:
            self._retry(entry, plugin)

    def retry(self, uid: str) -> None:
        """What a pod that was refused waits for will not happen: it tries again after its back-off (Activate)."""
        entry = self._entries.get(uid)
        if entry is not None and entry.place == "unschedulable":
            self._retry(entry, "ForceActivate")

    def put_back(self, entry: Waiting, rejected_by: set[str]) -> None:
        """A pod that got no node: refused by some plugins, or (none) by an error."""
        if self._entries.get(entry.info.uid) is not entry:
            return
        now = self._world.clock.monotonic()
        entry.rejected_by = rejected_by
        entry.since_s = now
        entry.ready_s = now + self._backoff_s(entry.attempts)
        helped = any(_helps(entry, event) for event in self._missed(entry))
        if helped or not rejected_by:
            self._retry(entry, "ScheduleAttemptFailure")
        else:
            self._move(entry, "unschedulable")
            self._note(entry, "ScheduleAttemptFailure")
        self._forget_events()

    def _backoff_s(self, attempts: int) -> float:
        patience = self._patience
        return min(patience.backoff_s_min * 2.0 ** min(attempts - 1, 30), patience.backoff_s_max)

    def _missed(self, entry: Waiting) -> list[Event]:
        return [event for at, event in enumerate(self._events, self._events_from) if at >= entry.seen]

    def _forget_events(self) -> None:
        """Keep only what some pod in flight has not seen; the one that flies longest has seen least."""
        if not self._events:
            return
        longest = next(iter(self._at["in-flight"].values()), None)
        keep_from = longest.seen if longest is not None else self._events_from + len(self._events)
        while self._events and self._events_from < keep_from:
            self._events.popleft()
            self._events_from += 1

    async def wait(self) -> None:
        """Until there may be a pod to pop."""
        while True:
            self._flush()
            if self._at["active"] or self._at["backoff"]:
                return
            self._wake.clear()
            try:
                await self._world.within(self._next_s(), self._wake.wait())
            except TimeoutError:
                continue

    def _next_s(self) -> float:
        """Seconds until time alone may bring a pod back."""
        times = [entry.ready_s for entry in self._at["error-backoff"].values()]
        oldest = next(iter(self._at["unschedulable"].values()), None)
        if oldest is not None:
            times.append(oldest.since_s + self._patience.unschedulable_s_max)
        wait_s = min(times, default=math.inf) - self._world.clock.monotonic()
        return min(max(wait_s, _WAIT_S_MIN), _WAIT_S_MAX)

    # -- moving -----------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """What time alone brings back."""
        now = self._world.clock.monotonic()
        while self._backoff and (self._backoff[0][0] <= now or not _current(self._backoff[0])):
            item = heapq.heappop(self._backoff)
            if _current(item):
                self._enqueue(item[2], "BackoffComplete")
        for entry in list(self._at["unschedulable"].values()):
            if now - entry.since_s < self._patience.unschedulable_s_max:
                break
            self._enqueue(entry, "UnschedulableTimeout")

    def _retry(self, entry: Waiting, why: str) -> None:
        if entry.ready_s <= self._world.clock.monotonic():
            self._enqueue(entry, why)
            return
        self._move(entry, "backoff" if entry.rejected_by else "error-backoff")
        heapq.heappush(self._backoff, (entry.ready_s, entry.ticket, entry))
        self._note(entry, why)
        self._wake.set()

    def _enqueue(self, entry: Waiting, why: str) -> None:
        """Into the active queue, or to the gated ones when a PreEnqueue plugin says so."""
        if self._is_gated(entry):
            self._move(entry, "gated")
        else:
            self._activate(entry)
        self._note(entry, why)

    def _is_gated(self, entry: Waiting) -> bool:
        entry.gate = next((p.name for p in entry.profile.pre_enqueue if p.pre_enqueue(entry.info)), "")
        return bool(entry.gate)

    def _activate(self, entry: Waiting) -> None:
        self._move(entry, "active")
        key = entry.profile.queue_sort.sort_key(entry.info, entry.since_s)
        heapq.heappush(self._active, (key, entry.ticket, entry))
        self._wake.set()

    def _move(self, entry: Waiting, place: Place) -> None:
        """To another place; what heaps know of it is dead from now on."""
        uid = entry.info.uid
        self._take(entry)
        entry.place = place
        entry.ticket = next(self._tickets)
        self._at[place][uid] = entry
        if place == "unschedulable":
            entry.kind = (entry.profile, frozenset(entry.rejected_by))
            self._refused.setdefault(entry.kind, {})[uid] = entry

    def _take(self, entry: Waiting) -> None:
        """Out of the place where it is."""
        uid = entry.info.uid
        self._at[entry.place].pop(uid, None)
        if entry.place == "unschedulable" and entry.kind is not None:
            of_its_kind = self._refused[entry.kind]
            del of_its_kind[uid]
            if not of_its_kind:
                del self._refused[entry.kind]
            entry.kind = None

    def _note(self, entry: Waiting, why: str) -> None:
        key = (entry.place, why)
        self.incoming[key] = self.incoming.get(key, 0) + 1


def _current(item: tuple[float, int, Waiting]) -> bool:
    return item[1] == item[2].ticket


def _owner(event: Event) -> str:
    """The UID of the pod that an object was made for; "" when it is nobody's."""
    meta = (event.new or event.old or {}).get("metadata") or {}
    for ref in meta.get("ownerReferences") or ():
        if ref.get("controller") and ref.get("kind") == "Pod":
            return str(ref["uid"])
    return ""


def _helps(entry: Waiting, event: Event) -> bool:
    """Whether a plugin that refused a pod takes an event as a reason to try again."""
    wanted = _registrations((entry.profile, frozenset(entry.rejected_by)), event)
    return any(registration.wakes(entry.info, event) for registration in wanted)


def _registrations(kind: _Kind, event: Event) -> list[Registration]:
    """What those who refused pods of a kind have to say of such an event."""
    profile, plugins = kind
    return [
        registration
        for plugin in plugins
        for registration in profile.registrations.get(plugin, ())
        if registration.resource == event.resource and registration.actions & event.action
    ]
