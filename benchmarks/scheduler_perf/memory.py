"""What the scheduler's node table holds in memory: its columns, indexes and notes about pods, but not the nodes and
pods themselves, which it shares with the informers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.profile import Profile

_SHARED = (type, ModuleType, FunctionType, Plugin, Profile)


def per_node_and_pod(table: NodeTable) -> tuple[float, float]:
    """Bytes that one more node, and one more pod, costs in the table."""
    infos = [info for row in range(table.size) for info in table.pods_on(row)]
    shared = [node for node in table.nodes if node is not None] + [info.pod for info in infos]
    seen = {id(None), *_ids(shared)}
    pods = _size([table.__dict__.get("_pods"), table.__dict__.get("_row_of")], seen)
    nodes = _size([table], seen)
    return nodes / max(len(table), 1), pods / max(len(infos), 1)


def _ids(roots: Iterable[Any]) -> set[int]:
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        obj = waiting.pop()
        if id(obj) in found or isinstance(obj, _SHARED):
            continue
        found.add(id(obj))
        if isinstance(obj, dict):
            waiting += obj.keys()
            waiting += obj.values()
        elif isinstance(obj, list):
            waiting += obj
    return found


def _size(roots: Iterable[Any], seen: set[int]) -> int:
    """Of everything that is reached for the first time; `seen` grows."""
    total, waiting = 0, list(roots)
    while waiting:
        obj = waiting.pop()
        if id(obj) in seen or isinstance(obj, _SHARED):
            continue
        seen.add(id(obj))
        total += obj.nbytes if isinstance(obj, np.ndarray) else sys.getsizeof(obj)
        waiting += gc.get_referents(obj)
    return total
