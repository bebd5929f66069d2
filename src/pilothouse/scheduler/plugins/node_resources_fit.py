"""NodeResourcesFit: a node must have what a pod asks for; emptier nodes score higher (LeastAllocated)
(pkg/scheduler/framework/plugins/noderesources)."""

from __future__ import annotations

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import PODS, Column, Mask, NodeTable, pod_requests, scoring_requests
from pilothouse.scheduler.plugins.filter import Rejection

_SCORED = ("cpu", "memory")


class NodeResourcesFit:
    name = "NodeResourcesFit"
    weight = 1

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]:
        found = []
        full = left & (table.column(table.requested, PODS) + 1 > table.column(table.allocatable, PODS))
        if full.any():
            found.append(Rejection(full, "Too many pods"))
        for name, asked in pod_requests(pod).items():
            if asked <= 0:
                continue
            free = table.column(table.allocatable, name) - table.column(table.requested, name)
            short = left & (asked > free)
            if short.any():
                found.append(Rejection(short, f"Insufficient {name}"))
        return found

    def score(self, pod: Obj, table: NodeTable, left: Mask) -> Column:
        asked = scoring_requests(pod)
        total = np.zeros(len(table.nodes))
        weight = np.zeros(len(table.nodes))
        for name in _SCORED:
            capacity = table.column(table.allocatable, name)
            used = table.column(table.scored, name) + asked.get(name, 0.0)
            known = capacity > 0
            share = np.where(known & (used <= capacity), (capacity - used) * 100 / np.maximum(capacity, 1), 0)
            total += np.floor(share) * known
            weight += known
        return np.floor(total / np.maximum(weight, 1))


def fits(pod: Obj, node: Obj, others: list[Obj]) -> list[str]:
    """The plain rule: the reasons why a pod does not fit beside others."""
    from pilothouse.scheduler.node_table import amount

    allocatable = {k: amount(k, v) for k, v in ((node.get("status") or {}).get("allocatable") or {}).items()}
    reasons = []
    if len(others) + 1 > allocatable.get(PODS, 0):
        reasons.append("Too many pods")
    for name, asked in pod_requests(pod).items():
        used = sum(pod_requests(o).get(name, 0.0) for o in others)
        if asked > 0 and asked > allocatable.get(name, 0.0) - used:
            reasons.append(f"Insufficient {name}")
    return reasons
