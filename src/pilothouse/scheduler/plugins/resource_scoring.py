"""How full a node would be, as a score: LeastAllocated, MostAllocated, RequestedToCapacityRatio
(pkg/scheduler/framework/plugins/noderesources; https://kubernetes.io/docs/concepts/scheduling-eviction/resource-bin-packing/).

A strategy scores each resource from 0 to 100 by what would be requested of what there is, and takes the mean, weighed.
Resources that a node does not have are left out, and so are extended ones that the pod does not ask for. Beside the
columns stands the plain rule, `plain_score`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import SCORE_MAX, Rows
from pilothouse.scheduler.node_table import Column, NodeTable
from pilothouse.scheduler.pod_info import PodInfo

_NATIVE = frozenset(("cpu", "memory", "ephemeral-storage"))
_CUSTOM_SCORE_MAX = 10
"""The highest score of a shape's point."""

Resources = Mapping[str, int]
"""Weights by resource."""
CPU_AND_MEMORY: Resources = {"cpu": 1, "memory": 1}


class Strategy(NamedTuple):
    """`score` of what is requested and of the capacity (above 0), `plain` the same for one node. `only_positive`, as
    RequestedToCapacityRatio: a resource that scores 0 is left out of the mean, and the mean is rounded, not cut."""

    score: Callable[[Column, Column], Column]
    plain: Callable[[int, int], int]
    resources: Resources = CPU_AND_MEMORY
    only_positive: bool = False


def counts(info: PodInfo, resource: str) -> bool:
    """Whether a resource has to do with a pod at all."""
    return resource in _NATIVE or bool(info.scored.get(resource))


def scores(strategy: Strategy, table: NodeTable, info: PodInfo, rows: Rows) -> Column:
    total: Column = np.zeros(len(rows), dtype=np.int64)
    weights: Column = np.zeros(len(rows), dtype=np.int64)
    for name, weight in strategy.resources.items():
        if not counts(info, name):
            continue
        capacity = table.allocatable[name][rows]
        requested = table.scored[name][rows] + info.scored.get(name, 0)
        part = strategy.score(requested, np.maximum(capacity, 1))
        counted = (capacity > 0) & (part > 0) if strategy.only_positive else capacity > 0
        total += part * weight * counted
        weights += counted * weight
    if strategy.only_positive:
        return np.floor(total / np.maximum(weights, 1) + 0.5).astype(np.int64)
    return total // np.maximum(weights, 1)


def score_one(strategy: Strategy, table: NodeTable, info: PodInfo, row: int) -> int:
    """The same for one row."""
    return _mean(
        strategy,
        [
            (weight, table.allocatable[n].item(row), table.scored[n].item(row) + info.scored.get(n, 0))
            for n, weight in strategy.resources.items()
            if counts(info, n)
        ],
    )


def plain_score(
    strategy: Strategy, info: PodInfo, allocatable: Mapping[str, int], others: Sequence[PodInfo]
) -> int:
    """Of one node, beside the pods that are there."""
    return _mean(
        strategy,
        (
            (weight, allocatable.get(n, 0), info.scored.get(n, 0) + sum(o.scored.get(n, 0) for o in others))
            for n, weight in strategy.resources.items()
            if counts(info, n)
        ),
    )


def _mean(strategy: Strategy, resources: Iterable[tuple[int, int, int]]) -> int:
    """From each resource's weight, capacity and what would be requested."""
    total = weights = 0
    for weight, capacity, requested in resources:
        if not capacity:
            continue
        part = strategy.plain(requested, capacity)
        if part or not strategy.only_positive:
            total += part * weight
            weights += weight
    if not weights:
        return 0
    return math.floor(total / weights + 0.5) if strategy.only_positive else total // weights


# -- the three --------------------------------------------------------------------------------------------------


def _least(requested: Column, capacity: Column) -> Column:
    free: Column = np.maximum(capacity - requested, 0) * SCORE_MAX // capacity
    return free


def _plain_least(requested: int, capacity: int) -> int:
    return 0 if requested > capacity else (capacity - requested) * SCORE_MAX // capacity


def _most(requested: Column, capacity: Column) -> Column:
    """Pods without requests count with a little, so that more may be requested than there is."""
    taken: Column = np.minimum(requested, capacity) * SCORE_MAX // capacity
    return taken


def _plain_most(requested: int, capacity: int) -> int:
    return min(requested, capacity) * SCORE_MAX // capacity


def least_allocated(resources: Resources = CPU_AND_MEMORY) -> Strategy:
    return Strategy(_least, _plain_least, resources)


def most_allocated(resources: Resources = CPU_AND_MEMORY) -> Strategy:
    return Strategy(_most, _plain_most, resources)


class _Point(NamedTuple):
    used: int
    score: int


def by_ratio(shape: Sequence[Obj], resources: Resources = CPU_AND_MEMORY) -> Strategy:
    """A score by the share in use, in percent, linear between the points of `shape`."""
    scale = SCORE_MAX // _CUSTOM_SCORE_MAX
    points = [_Point(point["utilization"], point["score"] * scale) for point in shape]

    def plain(requested: int, capacity: int) -> int:
        return _plain_broken_line(points, min(requested * 100 // capacity, 100))

    def score(requested: Column, capacity: Column) -> Column:
        return _broken_line(points, np.minimum(requested * 100 // capacity, 100))

    return Strategy(score, plain, resources, only_positive=True)


def _broken_line(points: Sequence[_Point], used: Column) -> Column:
    out: Column = np.full(len(used), points[-1].score, dtype=np.int64)
    for left, right in reversed(list(pairwise(points))):
        rise = (right.score - left.score) * (used - left.used)
        step = np.sign(rise) * (np.abs(rise) // (right.used - left.used))
        out = np.where(used <= right.used, left.score + step, out)
    return np.where(used <= points[0].used, points[0].score, out)


def _plain_broken_line(points: Sequence[_Point], used: int) -> int:
    """Go's division cuts towards zero, falling lines too (buildBrokenLinearFunction)."""
    if used <= points[0].used:
        return points[0].score
    for left, right in pairwise(points):
        if used <= right.used:
            return left.score + int(
                (right.score - left.score) * (used - left.used) / (right.used - left.used)
            )
    return points[-1].score


_BY_TYPE: Mapping[str, Callable[[Resources], Strategy]] = {
    "LeastAllocated": least_allocated,
    "MostAllocated": most_allocated,
}


def from_args(strategy: Obj) -> Strategy:
    """Of a `scoringStrategy`."""
    resources = {resource["name"]: resource["weight"] for resource in strategy["resources"]}
    if strategy["type"] in _BY_TYPE:
        return _BY_TYPE[strategy["type"]](resources)
    return by_ratio(strategy["requestedToCapacityRatio"]["shape"], resources)
