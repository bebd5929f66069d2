"""NodeResourcesFit: a node must have what a pod asks for; emptier nodes score higher (LeastAllocated)
(pkg/scheduler/framework/plugins/noderesources)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import numpy as np

from pilothouse.api.pod_requests import amounts
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import SCORE_MAX, Cycle, FilterPlugin, Rejection, Rows, ScorePlugin
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, UNSCHEDULED_POD, Action, Event, Registration
from pilothouse.scheduler.node_table import PODS, Column, Mask
from pilothouse.scheduler.pod_info import PodInfo, pod_info

TOO_MANY = "Too many pods"
_SCORED = {"cpu": 1, "memory": 1}


def insufficient(resource: str) -> str:
    return f"Insufficient {resource}"


class NodeResourcesFit(FilterPlugin, ScorePlugin):
    """`weights` are the resources that the score looks at."""

    name = "NodeResourcesFit"

    def __init__(self, weights: Mapping[str, int] = _SCORED) -> None:
        self._weights = weights

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(ASSIGNED_POD, Action.DELETE | Action.UPDATE_POD_SCALE_DOWN, _frees),
            Registration(UNSCHEDULED_POD, Action.UPDATE_POD_SCALE_DOWN),
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_ALLOCATABLE, _grows),
        )

    def asks(self, cycle: Cycle) -> Mapping[str, int]:
        return {PODS: 1, **cycle.info.requests}

    def lacks(self, resource: str) -> str:
        return TOO_MANY if resource == PODS else insufficient(resource)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        """What no eviction could cure, as the node is too small even when empty, is unresolvable."""
        table = cycle.table
        yield Rejection(table.requested[PODS] + 1 > table.allocatable[PODS], TOO_MANY)
        for name, asked in cycle.info.requests.items():
            allocatable = table.allocatable[name]
            short = (asked > allocatable - table.requested[name]) & left
            if short.any():
                too_small = short & (asked > allocatable)
                yield Rejection(too_small, insufficient(name), resolvable=False)
                yield Rejection(short & ~too_small, insufficient(name))

    def filter_key(self, cycle: Cycle) -> Hashable:
        return tuple(cycle.info.requests.items())

    def passes(self, cycle: Cycle, rows: Rows) -> Mask:
        table = cycle.table
        fine: Mask = table.requested[PODS][rows] < table.allocatable[PODS][rows]
        for name, asked in cycle.info.requests.items():
            fine &= asked <= table.allocatable[name][rows] - table.requested[name][rows]
        return fine

    def passes_one(self, cycle: Cycle, row: int) -> bool:
        table = cycle.table
        if table.requested[PODS][row] >= table.allocatable[PODS][row]:
            return False
        return all(
            asked <= table.allocatable[name][row] - table.requested[name][row]
            for name, asked in cycle.info.requests.items()
        )

    def score_key(self, cycle: Cycle) -> Hashable:
        return tuple(cycle.info.scored.get(name, 0) for name in self._weights)

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """The share that would be free, averaged over the resources that the node has."""
        table = cycle.table
        total: Column = np.zeros(len(rows), dtype=np.int64)
        weights: Column = np.zeros(len(rows), dtype=np.int64)
        for name, weight in self._weights.items():
            capacity = table.allocatable[name][rows]
            free = capacity - table.scored[name][rows] - cycle.info.scored.get(name, 0)
            share = np.maximum(free, 0) * SCORE_MAX // np.maximum(capacity, 1)
            total += share * weight
            weights += (capacity > 0) * weight
        return total // np.maximum(weights, 1)

    def score_one(self, cycle: Cycle, row: int) -> int:
        table, own = cycle.table, cycle.info.scored
        return least_requested(
            (weight, int(table.allocatable[name][row]), int(table.scored[name][row]) + own.get(name, 0))
            for name, weight in self._weights.items()
        )


def fits(info: PodInfo, node: Obj, others: list[PodInfo]) -> list[str]:
    """The plain rule: the reasons why a pod does not fit beside others."""
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    reasons = []
    if len(others) + 1 > allocatable.get(PODS, 0):
        reasons.append(TOO_MANY)
    for name, asked in info.requests.items():
        used = sum(other.requests.get(name, 0) for other in others)
        if asked > allocatable.get(name, 0) - used:
            reasons.append(insufficient(name))
    return reasons


def least_allocated(info: PodInfo, node: Obj, others: list[PodInfo]) -> int:
    """The plain score of one node (leastResourceScorer)."""
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    return least_requested(
        (
            weight,
            allocatable.get(name, 0),
            info.scored.get(name, 0) + sum(other.scored.get(name, 0) for other in others),
        )
        for name, weight in _SCORED.items()
    )


def least_requested(resources: Iterable[tuple[int, int, int]]) -> int:
    """From each resource's weight, capacity and what would be in use of it."""
    total = weights = 0
    for weight, capacity, used in resources:
        if capacity:
            total += weight * (max(capacity - used, 0) * SCORE_MAX // capacity)
            weights += weight
    return total // weights if weights else 0


def _frees(info: PodInfo, event: Event) -> bool:
    """A pod that gave back something the waiting one asks for; its place alone counts when it is gone."""
    assert event.old is not None
    if event.new is None:
        return True
    before, after = pod_info(event.old).requests, pod_info(event.new).requests
    return any(after.get(name, 0) < before.get(name, 0) for name in info.requests)


def _grows(info: PodInfo, event: Event) -> bool:
    """A node that could hold the pod when empty, and after an update has more of something than before."""
    assert event.new is not None
    if fits(info, event.new, []):
        return False
    if event.old is None:
        return True
    before = amounts((event.old.get("status") or {}).get("allocatable"))
    after = amounts((event.new.get("status") or {}).get("allocatable"))
    return any(after.get(name, 0) > before.get(name, 0) for name in (PODS, *info.requests))
