"""TaintToleration: nodes keep pods away that do not tolerate their taints; nodes with fewer soft taints score
higher (pkg/scheduler/framework/plugins/tainttoleration)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import numpy as np

from pilothouse.api import taints
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import (
    SCORE_MAX,
    Cycle,
    FilterPlugin,
    Rejection,
    Rows,
    ScorePlugin,
    normalized,
)
from pilothouse.scheduler.hints import NODE, UNSCHEDULED_POD, Action, Event, Registration
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.pod_info import PodInfo

REASON = "node(s) had untolerated taint(s)"


class TaintToleration(FilterPlugin, ScorePlugin):
    """Decides once for each distinct set of taints, then looks the answer up for every row."""

    name = "TaintToleration"

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_TAINT, _opens),
            Registration(UNSCHEDULED_POD, Action.UPDATE_POD_TOLERATIONS),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        table = cycle.table
        if len(table.taint_sets) == 1:
            return ()  # the empty one
        verdicts = [taints.untolerated(cycle.info.pod, found) is not None for found in table.taint_sets]
        if not any(verdicts):
            return ()
        return (Rejection(np.array(verdicts, dtype=bool)[table.taints] & left, REASON, resolvable=False),)

    def score_key(self, cycle: Cycle) -> Hashable | None:
        """Without soft taints anywhere all nodes have the same score."""
        sets = cycle.table.taint_sets
        soft = len(sets) > 1 and any(_is_soft(taint) for found in sets for taint in found)
        return None if soft else ()

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """100 for nodes without a soft taint that is not tolerated, 0 for those with the most."""
        return normalized(self.raw_score(cycle, rows), reverse=True)

    def raw_score(self, cycle: Cycle, rows: Rows) -> Column:
        """How many soft taints are not tolerated."""
        counts = [soft_taints(cycle.info.pod, found) for found in cycle.table.taint_sets]
        column: Column = np.array(counts, dtype=np.int64)[cycle.table.taints[rows]]
        return column

    def score_one(self, cycle: Cycle, row: int) -> int:
        """Asked only without soft taints."""
        return SCORE_MAX


def fits(pod: Obj, node: Obj) -> bool:
    return taints.untolerated(pod, taints.of_node(node)) is None


def soft_taints(pod: Obj, found: Iterable[Obj]) -> int:
    """How many PreferNoSchedule taints no toleration covers; only tolerations for that effect, or for all, count."""
    return sum(1 for taint in filter(_is_soft, found) if not taints.tolerated(pod, taint))


def _is_soft(taint: Obj) -> bool:
    return bool(taint.get("effect") == taints.PREFER_NO_SCHEDULE)


def _opens(info: PodInfo, event: Event) -> bool:
    """A node whose taints the pod tolerates and did not before."""
    assert event.new is not None
    was_open = event.old is not None and fits(info.pod, event.old)
    return fits(info.pod, event.new) and not was_open
