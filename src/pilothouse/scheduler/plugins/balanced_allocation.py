"""NodeResourcesBalancedAllocation: nodes whose resources fill up more evenly by the pod score higher
(pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.pod_requests import amounts
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import SCORE_MAX, Cycle, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.plugins.resource_scoring import counts
from pilothouse.scheduler.pod_info import PodInfo

_RESOURCES = ("cpu", "memory")


class BalancedAllocation(PreScorePlugin, ScorePlugin):
    """`resources` are those that should fill up evenly."""

    name = "NodeResourcesBalancedAllocation"

    def __init__(self, resources: Sequence[str] = _RESOURCES) -> None:
        self._resources = resources

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        """Best-effort pods would all go to the node that is most even
        (https://github.com/kubernetes/kubernetes/issues/129138)."""
        requests = cycle.info.requests
        for name in self._resources:  # noqa: SIM110 - a generator costs more than what it asks
            if requests.get(name):
                return True
        return False

    def score_key(self, cycle: Cycle) -> Hashable:
        info = cycle.info
        return tuple([(info.requests.get(name, 0), counts(info, name)) for name in self._resources])

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """By how much more even the node becomes: 75 as even as before, 100 at best, 50 at worst
        (https://github.com/kubernetes/kubernetes/pull/135573)."""
        table, requests = cycle.table, cycle.info.requests
        looked_at = [name for name in self._resources if counts(cycle.info, name)]
        capacity = [table.allocatable[name][rows] for name in looked_at]
        before = [table.requested[name][rows] for name in looked_at]
        after = [used + requests.get(name, 0) for name, used in zip(looked_at, before, strict=True)]
        half = SCORE_MAX // 2
        score: Column = half + (half + _evenness(after, capacity) - _evenness(before, capacity)) // 2
        return score

    def score_one(self, cycle: Cycle, row: int) -> int:
        table, info = cycle.table, cycle.info
        resources = [
            (table.allocatable[name].item(row), table.requested[name].item(row), info.requests.get(name, 0))
            for name in self._resources
            if counts(info, name)
        ]
        return gain(resources)


def _evenness(used: Sequence[Column], capacity: Sequence[Column]) -> Column:
    """100 less the standard deviation of the shares in use, in hundredths."""
    if len(used) == 2:
        deviation = _deviation_of_two(*(_share(u, c) for u, c in zip(used, capacity, strict=True)))
        deviation[(capacity[0] == 0) | (capacity[1] == 0)] = 0.0
    else:
        known = np.array(capacity) > 0
        shares = np.array([_share(u, c) for u, c in zip(used, capacity, strict=True)])
        deviation = _deviation(np.where(known, shares, 0.0), known)
    even: Column = ((1 - deviation) * SCORE_MAX).astype(np.int64)
    return even


def _share(used: Column, capacity: Column) -> NDArray[np.float64]:
    share: NDArray[np.float64] = np.minimum(used / np.maximum(capacity, 1), 1.0)
    return share


def _deviation_of_two(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """What nearly every configuration has, and a shorter formula."""
    deviation: NDArray[np.float64] = np.abs(one - other) / 2
    return deviation


def _deviation(shares: NDArray[np.float64], known: Mask) -> NDArray[np.float64]:
    """Per node. Two shares have a shorter formula, and upstream's rounding with it; one has no deviation."""
    count = known.sum(axis=0)
    two = np.abs(shares.max(axis=0) - _least(shares, known)) / 2
    mean = shares.sum(axis=0) / np.maximum(count, 1)
    variance = (np.where(known, shares - mean, 0.0) ** 2).sum(axis=0) / np.maximum(count, 1)
    deviation: NDArray[np.float64] = np.where(count == 2, two, np.where(count > 2, np.sqrt(variance), 0.0))
    return deviation


def _least(shares: NDArray[np.float64], known: Mask) -> NDArray[np.float64]:
    least: NDArray[np.float64] = np.where(known, shares, np.inf).min(axis=0, initial=1.0)
    return least


def balance(info: PodInfo, node: Obj, others: list[PodInfo], resources: Sequence[str] = _RESOURCES) -> int:
    """The plain score of one node (balancedResourceScorer)."""
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    return gain(
        (allocatable.get(name, 0), sum(o.requests.get(name, 0) for o in others), info.requests.get(name, 0))
        for name in resources
        if counts(info, name)
    )


def gain(resources: Iterable[tuple[int, int, int]]) -> int:
    """From each resource's capacity, what is in use of it, and what would come on top."""
    before, after = [], []
    for capacity, used, more in resources:
        if capacity:
            before.append(min(used / capacity, 1.0))
            after.append(min((used + more) / capacity, 1.0))
    half = SCORE_MAX // 2
    return half + (half + _plain_evenness(after) - _plain_evenness(before)) // 2


def _plain_evenness(shares: list[float]) -> int:
    deviation = 0.0
    if len(shares) == 2:
        deviation = abs(shares[0] - shares[1]) / 2
    elif len(shares) > 2:
        mean = sum(shares) / len(shares)
        deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    return int((1 - deviation) * SCORE_MAX)
