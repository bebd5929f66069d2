"""NodeAffinity: nodeSelector and node affinity, required and preferred
(pkg/scheduler/framework/plugins/nodeaffinity)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.api import node_selector
from pilothouse.api.types import Obj
from pilothouse.scheduler import selection
from pilothouse.scheduler.framework import (
    Cycle,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    PreScorePlugin,
    Rejection,
    Rows,
    ScorePlugin,
    normalized,
)
from pilothouse.scheduler.hints import NODE, Action, Event, Registration
from pilothouse.scheduler.node_table import Column, Mask
from pilothouse.scheduler.pod_info import PodInfo

REASON = "node(s) didn't match Pod's node affinity/selector"
ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
CONFLICT = "pod affinity terms conflict"


class NodeAffinity(PreFilterPlugin, FilterPlugin, PreScorePlugin, ScorePlugin):
    """`added` is a node affinity that all pods of the profile have besides their own (addedAffinity)."""

    name = "NodeAffinity"

    def __init__(self, added: Obj | None = None) -> None:
        self._enforced: Obj | None = (added or {}).get(node_selector.REQUIRED)
        self._preferred: list[Obj] = (added or {}).get(node_selector.PREFERRED) or []

    def registrations(self) -> Iterable[Registration]:
        return (Registration(NODE, Action.ADD | Action.UPDATE_NODE_LABEL, self._opens),)

    def _opens(self, info: PodInfo, event: Event) -> bool:
        """A node that matches and did not before."""
        assert event.new is not None
        return self._matches(info, event.new) and not (
            event.old is not None and self._matches(info, event.old)
        )

    def _matches(self, info: PodInfo, node: Obj) -> bool:
        if self._enforced is not None and not node_selector.selector_matches(self._enforced, node):
            return False
        return node_selector.matches(info.pod, node)

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        """A pod whose every term names nodes needs no look at any other (a DaemonSet's pod names one)."""
        names = named_nodes(cycle.info.pod)
        if names is None:
            return None
        if not names:
            return PreFilterResult(refusal=CONFLICT)
        rows = cycle.table.empty_mask()
        for name in names:
            row = cycle.table.row(name)
            if row is not None:
                rows[row] = True
        return PreFilterResult(rows)

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        pod, table = cycle.info.pod, cycle.table
        if self._enforced is not None:
            allowed = selection.any_term(table, self._enforced.get("nodeSelectorTerms") or ())
            yield Rejection(left & ~allowed, ENFORCED, resolvable=False)
            left = left & allowed
        if pod["spec"].get("nodeSelector") or node_selector.node_affinity(pod).get(node_selector.REQUIRED):
            yield Rejection(left & ~selection.matching(table, pod), REASON, resolvable=False)

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        own = node_selector.node_affinity(cycle.info.pod).get(node_selector.PREFERRED)
        return bool(own or self._preferred)

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """The weights of the preferred terms that match, scaled to the best node's."""
        total: Column = np.zeros(len(rows), dtype=np.int64)
        own = node_selector.node_affinity(cycle.info.pod).get(node_selector.PREFERRED) or ()
        for preferred in (*self._preferred, *own):
            total += preferred["weight"] * selection.one_term(cycle.table, preferred["preference"])[rows]
        return normalized(total)


def named_nodes(pod: Obj) -> set[str] | None:
    """The nodes that the required terms name by metadata.name; None when some term names none, so that any node
    may do, and an empty set when a term's names exclude each other."""
    required = node_selector.node_affinity(pod).get(node_selector.REQUIRED)
    if required is None:
        return None
    found: set[str] = set()
    for term in required.get("nodeSelectorTerms") or ():
        names = _names(term)
        if names is None:
            return None
        found |= names
    return found


def _names(term: Obj) -> set[str] | None:
    names: set[str] | None = None
    for requirement in term.get("matchFields") or ():
        if requirement["key"] == node_selector.NAME_FIELD and requirement["operator"] == "In":
            values = set(requirement.get("values") or ())
            names = values if names is None else names & values
    return names
