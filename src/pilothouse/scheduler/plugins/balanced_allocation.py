"""NodeResourcesBalancedAllocation: nodes whose resources fill up evenly score higher
(pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.pod_requests import amounts
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import SCORE_MAX, Cycle, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.node_table import Column, Mask
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
        return any(cycle.info.requests.get(name) for name in self._resources)

    def score_key(self, cycle: Cycle) -> Hashable:
        return tuple(cycle.info.requests.get(name, 0) for name in self._resources)

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """100 less the standard deviation of the shares in use, in hundredths."""
        table = cycle.table
        capacity = np.array([table.allocatable[name][rows] for name in self._resources])
        used = np.array([table.requested[n][rows] + cycle.info.requests.get(n, 0) for n in self._resources])
        known = capacity > 0
        shares = np.where(known, np.minimum(used / np.maximum(capacity, 1), 1.0), 0.0)
        score: Column = ((1 - _deviation(shares, known)) * SCORE_MAX).astype(np.int64)
        return score

    def score_one(self, cycle: Cycle, row: int) -> int:
        table, own = cycle.table, cycle.info.requests
        shares = []
        for name in self._resources:
            capacity = int(table.allocatable[name][row])
            if capacity > 0:
                used = int(table.requested[name][row]) + own.get(name, 0)
                shares.append(min(used / capacity, 1.0))
        return evenness(shares)


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


def balance(info: PodInfo, node: Obj, others: list[PodInfo]) -> int:
    """The plain score of one node (balancedResourceScorer)."""
    allocatable = amounts((node.get("status") or {}).get("allocatable"))
    shares = []
    for name in _RESOURCES:
        capacity = allocatable.get(name, 0)
        if capacity:
            used = info.requests.get(name, 0) + sum(o.requests.get(name, 0) for o in others)
            shares.append(min(used / capacity, 1.0))
    return evenness(shares)


def evenness(shares: Sequence[float]) -> int:
    """100 less the standard deviation of the shares in use, in hundredths."""
    deviation = 0.0
    if len(shares) == 2:
        deviation = abs(shares[0] - shares[1]) / 2
    elif len(shares) > 2:
        mean = sum(shares) / len(shares)
        deviation = math.sqrt(sum((share - mean) ** 2 for share in shares) / len(shares))
    return int((1 - deviation) * SCORE_MAX)
