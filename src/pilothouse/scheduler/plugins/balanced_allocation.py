"""NodeResourcesBalancedAllocation: nodes whose CPU and memory fill up evenly score higher
(pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go)."""

from __future__ import annotations

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Column, Mask, NodeTable, pod_requests


class BalancedAllocation:
    name = "NodeResourcesBalancedAllocation"
    weight = 1

    def score(self, pod: Obj, table: NodeTable, left: Mask) -> Column:
        asked = pod_requests(pod)
        shares = []
        for name in ("cpu", "memory"):
            capacity = table.column(table.allocatable, name)
            used = table.column(table.requested, name) + asked.get(name, 0.0)
            shares.append(np.minimum(used / np.maximum(capacity, 1), 1.0))
        spread = np.abs(shares[0] - shares[1]) / 2
        balanced: Column = np.floor((1 - spread) * 100)
        return balanced
