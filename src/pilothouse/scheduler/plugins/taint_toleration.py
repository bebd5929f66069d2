"""TaintToleration: nodes keep pods away that do not tolerate their taints; nodes with fewer soft taints score
higher (pkg/scheduler/framework/plugins/tainttoleration)."""

from __future__ import annotations

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.plugins.filter import Rejection

REASON = "node(s) had untolerated taint(s)"
_HARD = ("NoSchedule", "NoExecute")


class TaintToleration:
    name = "TaintToleration"
    weight = 3

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]:
        out = np.zeros(len(left), dtype=bool)
        for row in np.flatnonzero(left & table.tainted):
            node = table.nodes[row]
            if node is not None and not fits(pod, node):
                out[row] = True
        return [Rejection(out, REASON)] if out.any() else []

    def score(self, pod: Obj, table: NodeTable, left: Mask) -> Column:
        """100 for the node with the fewest soft taints that are not tolerated, 0 for the one with the most."""
        counts = np.zeros(len(left))
        for row in np.flatnonzero(left & table.tainted):
            node = table.nodes[row]
            if node is not None:
                counts[row] = soft_taints(pod, node)
        most = counts[left].max(initial=0)
        if most == 0:
            return np.full(len(left), 100.0)
        scores: Column = 100 - np.floor(counts * 100 / most)
        return scores


def fits(pod: Obj, node: Obj) -> bool:
    taints = (node.get("spec") or {}).get("taints") or ()
    return all(tolerated(pod, t) for t in taints if t["effect"] in _HARD)


def soft_taints(pod: Obj, node: Obj) -> int:
    taints = (node.get("spec") or {}).get("taints") or ()
    return sum(1 for t in taints if t["effect"] == "PreferNoSchedule" and not tolerated(pod, t))


def tolerated(pod: Obj, taint: Obj) -> bool:
    """Whether any toleration matches (Toleration.ToleratesTaint)."""
    return any(_matches(t, taint) for t in pod["spec"].get("tolerations") or ())


def _matches(toleration: Obj, taint: Obj) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(operator == "Equal" and toleration.get("value", "") == taint.get("value", ""))
