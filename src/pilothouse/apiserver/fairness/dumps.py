"""/debug/api_priority_and_fairness/: what waits and runs, as tables for people
(k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilothouse.apiserver.fairness.level import Level
from pilothouse.apiserver.fairness.traffic import About, Traffic
from pilothouse.apiserver.request import Request, Response
from pilothouse.kit.world import World, micro_timestamp

PREFIX = "/debug/api_priority_and_fairness/"
_NONE = "<none>"
_LEVELS = (
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
)
_QUEUES = (
    "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR",
    "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
)  # fmt: skip
_REQUESTS = (
    "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime",
    "InitialSeats", "FinalSeats", "AdditionalLatency",
)  # fmt: skip
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")
_TEXT = {"Content-Type": "text/plain; charset=utf-8"}


class Dumps:
    def __init__(self, traffic: Traffic, world: World) -> None:
        self._traffic = traffic
        self._world = world

    async def handle(self, request: Request) -> Response:
        name = request.path.removeprefix(PREFIX)
        levels = self._traffic.levels.values()
        if name == "dump_priority_levels":
            rows = [_LEVELS, *(self._level(level) for level in levels)]
        elif name == "dump_queues":
            rows = [_QUEUES, *(row for level in levels for row in _queues(level))]
        elif name == "dump_requests":
            details = bool(request.param("includeRequestDetails"))
            heads = (*_REQUESTS, *_DETAILS) if details else _REQUESTS
            rows = [heads, *(row for level in levels for row in self._requests(level, details))]
        else:
            return Response(404, b"404 page not found\n", dict(_TEXT))
        return Response(200, table(rows).encode(), dict(_TEXT))

    def _level(self, level: Level) -> Sequence[str]:
        active = sum(1 for queue in level.queues if queue.waiting)
        idle = str(not level.in_use and not level.waiting).lower()
        executing = sum(s.counts.executing for s in self._traffic.schemes if s.level is level)
        return level.name, str(active), idle, "false", str(level.waiting), str(executing)

    def _requests(self, level: Level, details: bool) -> Iterable[Sequence[str]]:
        shift_s = self._world.now() - self._world.clock.monotonic()
        for queue in level.queues:
            for index, waiting in enumerate(queue.waiting):
                about = waiting.about
                assert isinstance(about, About)
                arrived = micro_timestamp(waiting.arrived_s + shift_s)
                row: tuple[str, ...] = (
                    level.name,
                    about.schema,
                    str(queue.index),
                    str(index),
                    about.distinguisher,
                    arrived,
                )
                row += (str(waiting.seats), "0", "0s")
                if details:
                    info = about.info
                    version = f"{info.group}/{info.version}" if info.group else info.version
                    row += (about.user.name, info.verb, info.path, info.namespace, info.name, version)
                    row += (info.resource, info.subresource)
                yield row


def _queues(level: Level) -> Iterable[Sequence[str]]:
    if not level.queues:
        yield (level.name, *(_NONE,) * (len(_QUEUES) - 1))
    for q in level.queues:
        waiting = sum(w.seats for w in q.waiting)
        yield (
            level.name,
            str(q.index),
            str(len(q.waiting)),
            str(q.executing),
            str(q.seats_in_use),
            f"{q.next_r:.8f}ss",
            str(waiting),
            str(waiting),
            f"{waiting * 0.003:.8f}ss",
        )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of at least eight characters, one blank between; the last one as wide as it is."""
    cells = [[f"{cell}," for cell in row[:-1]] + [row[-1]] for row in rows]
    widths = [
        max(8, *(len(row[i]) + 1 for row in cells if i < len(row))) for i in range(max(map(len, cells)))
    ]
    lines = []
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(padded) + row[-1] + "\n")
    return "".join(lines)
