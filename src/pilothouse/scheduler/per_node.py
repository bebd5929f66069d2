"""Out-of-tree plugins as plain functions of one pod and one node, as one would write them for upstream's framework.

They are called for every node that is left, in Python: fine for hundreds of nodes, slow for thousands. There a plugin
on columns (`framework`) asks about all nodes at once. docs/scheduler-plugins.md has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import (
    SCORE_MAX,
    Cycle,
    FilterPlugin,
    Plugin,
    PluginFailed,
    Rejection,
    Rows,
    ScorePlugin,
)
from pilothouse.scheduler.node_table import Column, Mask

T = TypeVar("T")

Filter = Callable[[Obj, Obj], str | None]
"""Why a pod may not go to a node; None or "" when it may."""
Score = Callable[[Obj, Obj], int]
"""From 0 to 100."""


def per_node(name: str, *, filter: Filter | None = None, score: Score | None = None) -> Plugin:
    """A plugin of one or two functions. Pods and nodes are the API's objects and shared: never change them. A refusal
    counts as one that evicting pods cannot cure."""
    if filter is not None and score is not None:
        return _Both(name, filter, score)
    if filter is not None:
        return _Filter(name, filter)
    if score is not None:
        return _Score(name, score)
    raise ValueError(f"plugin {name} does nothing: give it a filter or a score")


def _asked(plugin: str, point: str, function: Callable[[Obj, Obj], T], pod: Obj, node: Obj) -> T:
    try:
        return function(pod, node)
    except Exception as error:
        where = f"on node {node['metadata']['name']}"
        raise PluginFailed(f'running {point} plugin "{plugin}" {where}: {error!r}') from error


class _Named(Plugin):
    def __init__(self, name: str) -> None:
        self.name = name  # type: ignore[misc]


class _Filter(_Named, FilterPlugin):
    def __init__(self, name: str, function: Filter) -> None:
        _Named.__init__(self, name)
        self._filter = function

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        masks: dict[str, Mask] = {}
        for row in np.flatnonzero(left):
            reason = _asked(self.name, "Filter", self._filter, cycle.info.pod, cycle.table.node(int(row)))
            if reason:
                masks.setdefault(reason, cycle.table.empty_mask())[row] = True
        return [Rejection(mask, reason, resolvable=False) for reason, mask in masks.items()]


class _Score(_Named, ScorePlugin):
    def __init__(self, name: str, function: Score) -> None:
        _Named.__init__(self, name)
        self._score = function

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        pod, table = cycle.info.pod, cycle.table
        found = [_asked(self.name, "Score", self._score, pod, table.node(int(row))) for row in rows]
        for value in found:
            if not isinstance(value, int) or not 0 <= value <= SCORE_MAX:
                raise PluginFailed(
                    f'plugin "{self.name}" returns an invalid score {value}, it should in the range of [0, 100]'
                )
        return np.array(found, dtype=np.int64)


class _Both(_Filter, _Score):
    def __init__(self, name: str, filter: Filter, score: Score) -> None:
        _Filter.__init__(self, name, filter)
        self._score = score
