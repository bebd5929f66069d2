"""One pod's decision: a pure function of the node table and chance (schedule_one.go, schedulingCycle)."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Mask, NodeTable
from pilothouse.scheduler.plugins.filter import Filter, Score


class Unschedulable(Exception):
    """No node fits. The text is upstream's FitError; `rejected_by` names the plugins that said no."""

    def __init__(self, nodes: int, reasons: dict[str, int], rejected_by: set[str]) -> None:
        self.rejected_by = rejected_by
        super().__init__(fit_error(nodes, reasons))


NO_NODES = "no nodes available to schedule pods"
_NO_CLAIMS = "no new claims to deallocate"


def fit_error(nodes: int, reasons: dict[str, int]) -> str:
    """`0/3 nodes are available: 1 node(s) …, 2 Insufficient cpu. no new claims to deallocate, preemption: …`."""
    if not nodes:
        return f"0/0 nodes are available: {NO_NODES}."
    listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
    return f"0/{nodes} nodes are available: {listed}. {_NO_CLAIMS}, preemption: {preemption(nodes, reasons)}"


_HELPLESS = (
    "node(s) had untolerated taint(s)",
    "node(s) didn't match Pod's node affinity/selector",
    "node(s) were unschedulable",
    "node(s) didn't match the requested node name",
)
"""Reasons that no eviction can cure (UnschedulableAndUnresolvable)."""


def preemption(nodes: int, reasons: dict[str, int]) -> str:
    """What preemption has to say when it cannot help."""
    helpless = sum(count for reason, count in reasons.items() if reason in _HELPLESS)
    parts = []
    if nodes - helpless > 0:
        parts.append(f"{nodes - helpless} No preemption victims found for incoming pod")
    if helpless > 0:
        parts.append(f"{min(helpless, nodes)} Preemption is not helpful for scheduling")
    return f"0/{nodes} nodes are available: {', '.join(sorted(parts))}."


def decide(
    pod: Obj,
    table: NodeTable,
    filters: Sequence[Filter],
    scores: Sequence[Score],
    chance: random.Random,
) -> str:
    """The name of the best node; one of the best at random. Raises Unschedulable."""
    left = feasible(pod, table, filters)
    rows = np.flatnonzero(left)
    if len(rows) == 1:
        return table.name(int(rows[0]))
    total = np.zeros(len(left))
    for plugin in scores:
        total += plugin.weight * np.asarray(plugin.score(pod, table, left))
    best = rows[total[rows] == total[rows].max()]
    return table.name(int(best[chance.randrange(len(best))]))


def feasible(pod: Obj, table: NodeTable, filters: Sequence[Filter]) -> Mask:
    """The nodes that every filter lets through; Unschedulable when there are none."""
    left: Mask = table.valid.copy()
    reasons: dict[str, int] = {}
    rejected_by: set[str] = set()
    for plugin in filters:
        for rejection in plugin.filter(pod, table, left.copy()):
            count = int(rejection.mask.sum())
            if count:
                reasons[rejection.reason] = reasons.get(rejection.reason, 0) + count
                rejected_by.add(plugin.name)
                left &= ~rejection.mask
        if not left.any():
            break
    if not left.any():
        raise Unschedulable(len(table), reasons, rejected_by)
    return left
