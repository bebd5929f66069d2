"""How many of the nodes that fit are scored (schedule_one.go numFeasibleNodesToFind;
https://kubernetes.io/docs/concepts/scheduling-eviction/scheduler-perf-tuning/).

Columns make all of them cheap, so that all are scored unless a configuration asks for fewer.
"""

from __future__ import annotations

import random

import numpy as np

from pilothouse.scheduler.framework import Rows

_NODES_MIN = 100
_PERCENT_MIN = 5


def enough(nodes: int, percentage: int) -> int:
    """Of so many nodes; 0 % is a share that shrinks from 50 % to 5 % as clusters grow."""
    if nodes < _NODES_MIN:
        return nodes
    if percentage == 0:
        percentage = max(50 - nodes // 125, _PERCENT_MIN)
    return max(nodes * percentage // 100, _NODES_MIN)


def some(rows: Rows, nodes: int, percentage: int, chance: random.Random) -> Rows:
    """As many of the rows that fit as are enough, from a random one on: every node gets its turn."""
    if percentage == 100:
        return rows
    limit = enough(nodes, percentage)
    if len(rows) <= limit:
        return rows
    return np.sort(np.roll(rows, -chance.randrange(len(rows)))[:limit])
