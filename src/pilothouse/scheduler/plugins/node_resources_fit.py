"""NodeResourcesFit: a node must have what a pod asks for; emptier nodes score higher, or as a strategy says
(pkg/scheduler/framework/plugins/noderesources, `resource_scoring`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import NamedTuple

from pilothouse.api.pod_requests import amounts
from pilothouse.api.types import Obj
from pilothouse.api.validation.pods.resources import is_extended
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection, Rows, ScorePlugin
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, UNSCHEDULED_POD, Action, Event, Registration
from pilothouse.scheduler.node_table import PODS, Column, Mask
from pilothouse.scheduler.plugins import resource_scoring
from pilothouse.scheduler.plugins.resource_scoring import Strategy
from pilothouse.scheduler.pod_info import PodInfo, pod_info

TOO_MANY = "Too many pods"


Delegated = Callable[[str], bool]
"""Whether a DeviceClass stands in for an extended resource on nodes that do not have it as such (KEP-5004)."""


def nobody(resource: str) -> bool:
    return False


def insufficient(resource: str) -> str:
    return f"Insufficient {resource}"


class Ignored(NamedTuple):
    """Extended resources that the filter does not look at, by name or by what stands before the slash. The score
    does."""

    names: Collection[str] = ()
    groups: Collection[str] = ()

    def __contains__(self, resource: object) -> bool:
        if not isinstance(resource, str) or not is_extended(resource):
            return False
        return resource in self.names or resource.partition("/")[0] in self.groups


class NodeResourcesFit(FilterPlugin, ScorePlugin):
    name = "NodeResourcesFit"

    def __init__(
        self,
        strategy: Strategy | None = None,
        ignored: Ignored | None = None,
        delegated: Delegated = nobody,
    ) -> None:
        self._delegated = delegated
        self._strategy = strategy or resource_scoring.least_allocated()
        self._ignored = ignored or Ignored()
        self._ignores = bool(self._ignored.names or self._ignored.groups)

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(ASSIGNED_POD, Action.DELETE | Action.UPDATE_POD_SCALE_DOWN, _frees),
            Registration(UNSCHEDULED_POD, Action.UPDATE_POD_SCALE_DOWN),
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_ALLOCATABLE, self._grows),
        )

    def asks(self, cycle: Cycle) -> Mapping[str, int] | None:
        """Where devices may stand in for a resource, amounts do not tell all."""
        asked = dict(self._asked(cycle))
        if any(self._delegated(name) for name in asked):
            return None
        return {PODS: 1, **asked}

    def lacks(self, resource: str) -> str:
        return TOO_MANY if resource == PODS else insufficient(resource)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        """What no eviction could cure, as the node is too small even when empty, is unresolvable."""
        table = cycle.table
        yield Rejection(table.requested[PODS] + 1 > table.allocatable[PODS], TOO_MANY)
        for name, asked in self._asked(cycle):
            allocatable = table.allocatable[name]
            short = (asked > allocatable - table.requested[name]) & left
            if self._delegated(name):
                short &= allocatable > 0
            if short.any():
                too_small = short & (asked > allocatable)
                yield Rejection(too_small, insufficient(name), resolvable=False)
                yield Rejection(short & ~too_small, insufficient(name))

    def filter_key(self, cycle: Cycle) -> Hashable:
        return tuple([(name, asked, self._delegated(name)) for name, asked in self._asked(cycle)])

    def passes(self, cycle: Cycle, rows: Rows) -> Mask:
        table = cycle.table
        fine: Mask = table.requested[PODS][rows] < table.allocatable[PODS][rows]
        for name, asked in self._asked(cycle):
            there = table.allocatable[name][rows]
            enough = asked <= there - table.requested[name][rows]
            fine &= enough | (there == 0) if self._delegated(name) else enough
        return fine

    def passes_one(self, cycle: Cycle, row: int) -> bool:
        table = cycle.table
        if table.requested[PODS][row] >= table.allocatable[PODS][row]:
            return False
        for name, asked in self._asked(cycle):
            there = table.allocatable[name][row]
            if asked > there - table.requested[name][row] and (there or not self._delegated(name)):
                return False
        return True

    def _asked(self, cycle: Cycle) -> Iterable[tuple[str, int]]:
        """What the filter looks at."""
        requests = cycle.info.requests.items()
        return [item for item in requests if item[0] not in self._ignored] if self._ignores else requests

    def _grows(self, info: PodInfo, event: Event) -> bool:
        """A node that could hold the pod when empty, and after an update has more of something than before."""
        assert event.new is not None
        if fits(info, event.new, [], self._delegated):
            return False
        if event.old is None:
            return True
        before = amounts((event.old.get("status") or {}).get("allocatable"))
        after = amounts((event.new.get("status") or {}).get("allocatable"))
        return any(after.get(name, 0) > before.get(name, 0) for name in (PODS, *info.requests))

    def score_key(self, cycle: Cycle) -> Hashable:
        scored = cycle.info.scored
        return tuple([scored.get(name, 0) for name in self._strategy.resources])

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        return resource_scoring.scores(self._strategy, cycle.table, cycle.info, rows)

    def score_one(self, cycle: Cycle, row: int) -> int:
        return resource_scoring.score_one(self._strategy, cycle.table, cycle.info, row)


def fits(info: PodInfo, node: Obj, others: list[PodInfo], delegated: Delegated = nobody) -> list[str]:
    """The plain rule: the reasons why a pod does not fit beside others."""
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    reasons = []
    if len(others) + 1 > allocatable.get(PODS, 0):
        reasons.append(TOO_MANY)
    for name, asked in info.requests.items():
        used = sum(other.requests.get(name, 0) for other in others)
        stands_in = delegated(name) and not allocatable.get(name)
        if asked > allocatable.get(name, 0) - used and not stands_in:
            reasons.append(insufficient(name))
    return reasons


def _frees(info: PodInfo, event: Event) -> bool:
    """A pod that gave back something the waiting one asks for; its place alone counts when it is gone."""
    assert event.old is not None
    if event.new is None:
        return True
    before, after = pod_info(event.old).requests, pod_info(event.new).requests
    return any(after.get(name, 0) < before.get(name, 0) for name in info.requests)
