"""What the pipeline asks: a request's flow, and a seat for it.

A flow is found once for each user, verb, resource and namespace, and remembered while the FlowSchemas stay as they are:
on a request's way stand one look-up and a few additions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.apiserver.fairness import classify, dealing
from pilothouse.apiserver.fairness.level import Level, Queue, Refused
from pilothouse.apiserver.limits import InFlight, Places, is_long_running, is_mutating
from pilothouse.apiserver.request import Request, RequestInfo, UserInfo
from pilothouse.kit.world import World

_REMEMBERED_MAX = 8192
_SEATS_MAX = 10
"""Of a list."""
_LEVEL_PART_MAX = 0.15
"""Of a level's seats, for one request."""
_BYTES_PER_SEAT = 100_000
_LIST_BYTES_MAX = 1_000_000
"""A list out of the cache goes out in pieces: it holds no more memory than this at once."""

WAIT_BUCKETS_S = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)

Stored = Callable[[str, str], tuple[int, int]]
"""How many objects a group's resource has, and their bytes."""


class Counts:
    """Of one FlowSchema at one level."""

    __slots__ = (
        "dispatched",
        "executing",
        "level",
        "refused",
        "schema",
        "seats",
        "waited_s",
        "waiting",
        "waits",
    )

    def __init__(self, level: str, schema: str) -> None:
        self.level = level
        self.schema = schema
        self.dispatched = 0
        self.executing = 0
        self.seats = 0
        self.waiting = 0
        self.refused: dict[str, int] = {}
        self.waits = [0] * (len(WAIT_BUCKETS_S) + 1)
        """How many of those that waited did so for how long; the last bucket has no bound."""
        self.waited_s = 0.0


class Scheme(NamedTuple):
    """A FlowSchema and its level."""

    obj: Obj
    level: Level
    counts: Counts


class Flow:
    """How requests of one kind and one user are treated. `level` None: they do not take part."""

    __slots__ = ("counts", "distinguisher", "hash", "is_list", "level", "places", "uids")

    def __init__(self, places: Places) -> None:
        self.places = places
        self.level: Level | None = None
        self.counts = Counts("", "")
        self.distinguisher = ""
        self.hash = 0
        self.is_list = False
        self.uids: tuple[str, str] | None = None
        """Of the FlowSchema and of the priority level."""


class About(NamedTuple):
    """A waiting request, for the dump."""

    schema: str
    distinguisher: str
    user: UserInfo
    info: RequestInfo


class Traffic:
    """`stored` tells sizes. Until it is configured nothing is limited but by what `in_flight` says."""

    def __init__(self, world: World, in_flight: InFlight, stored: Stored) -> None:
        self._world = world
        self._stored = stored
        self._flows: dict[tuple[object, ...], Flow] = {}
        self.in_flight = in_flight
        self.schemes: Sequence[Scheme] = ()
        self.levels: dict[str, Level] = {}

    def configure(self, schemes: Sequence[Scheme], levels: dict[str, Level]) -> None:
        """`schemes` in the order in which they are tried."""
        self.schemes, self.levels = schemes, levels
        self._flows.clear()

    def flow(self, request: Request, user: UserInfo) -> Flow:
        info = request.info
        key: tuple[object, ...]
        if info.is_resource:
            key = (
                info.verb,
                info.resource,
                info.namespace,
                user.name,
                user.groups,
                info.group,
                info.subresource,
            )
        else:
            key = (info.verb, info.path, user.name, user.groups)
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= _REMEMBERED_MAX:
                self._flows.clear()
            found = self._flows[key] = self._find(request, user)
        return found

    def _find(self, request: Request, user: UserInfo) -> Flow:
        info, lasts = request.info, is_long_running(request)
        if lasts:
            flow = Flow(self.in_flight.long_running)
        else:
            flow = Flow(self.in_flight.mutating if is_mutating(info) else self.in_flight.read_only)
        if not self.schemes or (lasts and info.verb != "watch"):
            return flow
        for scheme in self.schemes:
            if classify.matches(scheme.obj, user, info):
                break
        else:
            return flow
        name = scheme.obj["metadata"]["name"]
        flow.level, flow.counts = scheme.level, scheme.counts
        flow.distinguisher = classify.distinguisher(scheme.obj, user, info)
        flow.hash = dealing.flow_hash(name, flow.distinguisher)
        flow.is_list = info.is_resource and info.verb == "list" and not info.name
        flow.uids = (scheme.obj["metadata"].get("uid", ""), scheme.level.uid)
        return flow

    def seats(self, request: Request, level: Level) -> int:
        """Of a list, by the memory it may take; a part of its level's at most."""
        count, size = self._stored(request.info.group, request.info.resource)
        limit = request.param("limit")
        if limit.isdecimal() and 0 < int(limit) < count:
            size = size * int(limit) // count
        wanted = ceil(min(size, _LIST_BYTES_MAX) / _BYTES_PER_SEAT)
        most = _SEATS_MAX if level.limit is None else min(ceil(level.limit * _LEVEL_PART_MAX), _SEATS_MAX)
        return max(1, min(wanted, most))

    async def wait(self, flow: Flow, request: Request, user: UserInfo, seats: int) -> Queue:
        """Until a seat is free; the queue it waited in. Raises Refused."""
        level, counts = flow.level, flow.counts
        assert level is not None
        counts.waiting += 1
        began_s = self._world.clock.monotonic()
        try:
            about = About(counts.schema, flow.distinguisher, user, request.info)
            # Clients of other processes throttle themselves (--kube-api-qps); those of this one come all at once.
            return await level.wait(flow.hash, seats, about, patient=request.in_process)
        except Refused as refusal:
            counts.refused[refusal.reason] = counts.refused.get(refusal.reason, 0) + 1
            raise
        finally:
            counts.waiting -= 1
            waited_s = self._world.clock.monotonic() - began_s
            counts.waited_s += waited_s
            counts.waits[bisect_left(WAIT_BUCKETS_S, waited_s)] += 1
