"""NodeAffinity: nodeSelector and node affinity, required and preferred
(pkg/scheduler/framework/plugins/nodeaffinity)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.plugins.filter import Rejection

REASON = "node(s) didn't match Pod's node affinity/selector"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def _affinity(pod: Obj) -> Obj:
    found: Obj = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    return found


class NodeAffinity:
    name = "NodeAffinity"
    weight = 2

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]:
        if not pod["spec"].get("nodeSelector") and not _affinity(pod).get(_REQUIRED):
            return []
        out = np.zeros(len(left), dtype=bool)
        for row in np.flatnonzero(left):
            node = table.nodes[row]
            if node is not None and not fits(pod, node):
                out[row] = True
        return [Rejection(out, REASON)] if out.any() else []

    def score(self, pod: Obj, table: NodeTable, left: Mask) -> Column:
        preferred = _affinity(pod).get(_PREFERRED) or ()
        scores: Column = np.zeros(len(left))
        if not preferred:
            return scores
        for row in np.flatnonzero(left):
            node = table.nodes[row]
            if node is not None:
                scores[row] = preference(pod, node)
        best = scores[left].max(initial=0)
        if best > 0:
            scores = np.floor(scores * 100 / best)
        return scores


def fits(pod: Obj, node: Obj) -> bool:
    labels = node["metadata"].get("labels") or {}
    selector = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(k) != v for k, v in selector.items()):
        return False
    required = _affinity(pod).get(_REQUIRED)
    if not required:
        return True
    return any(term_matches(t, node) for t in required.get("nodeSelectorTerms") or ())


def preference(pod: Obj, node: Obj) -> int:
    """The sum of the weights of the preferred terms that match."""
    preferred = _affinity(pod).get(_PREFERRED) or ()
    return sum(p["weight"] for p in preferred if term_matches(p["preference"], node))


def term_matches(term: Obj, node: Obj) -> bool:
    """A NodeSelectorTerm; an empty one matches nothing."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    labels = node["metadata"].get("labels") or {}
    named: dict[str, str] = {"metadata.name": node["metadata"]["name"]}
    return all(_requirement(e, labels) for e in expressions) and all(_requirement(e, named) for e in fields)


def _requirement(e: Obj, values: Mapping[str, str]) -> bool:
    key, operator, wanted = e["key"], e["operator"], e.get("values") or []
    if operator == "Exists":
        return key in values
    if operator == "DoesNotExist":
        return key not in values
    if operator == "In":
        return key in values and values[key] in wanted
    if operator == "NotIn":
        return key not in values or values[key] not in wanted
    try:
        actual, bound = int(values[key]), int(wanted[0])
    except (KeyError, ValueError, IndexError):
        return False
    return actual > bound if operator == "Gt" else actual < bound
