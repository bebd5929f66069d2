"""InterPodAffinity: pods that want to be, or do not want to be, where certain other pods are
(pkg/scheduler/framework/plugins/interpodaffinity). What pods that are there already want counts as well.

A term is about all nodes of a topology domain at once. The plain rules, one node at a time, are `refusal` and
`attraction`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler import topology
from pilothouse.scheduler.framework import (
    SCORE_MAX,
    Cycle,
    FilterPlugin,
    PreScorePlugin,
    Rejection,
    Rows,
    ScorePlugin,
)
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, Action, Registration
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.pod_terms import Namespaces, Term, Together

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"
_HARD_WEIGHT = 1
"""hardPodAffinityWeight: what a required term of a pod that is there is worth to one that it wants near."""


class InterPodAffinity(FilterPlugin, PreScorePlugin, ScorePlugin):
    name = "InterPodAffinity"

    def __init__(
        self, namespaces: Namespaces, hard_weight: int = _HARD_WEIGHT, *, ignore_preferred: bool = False
    ) -> None:
        """`ignore_preferred`: what pods that are there prefer does not count for one that prefers nothing itself
        (ignorePreferredTermsOfExistingPods)."""
        self._namespaces = namespaces
        self._hard_weight = hard_weight
        self._ignore_preferred = ignore_preferred

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(ASSIGNED_POD, Action.ADD | Action.DELETE | Action.UPDATE_POD_LABEL),
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_LABEL),
        )

    # -- filter -----------------------------------------------------------------------------------------

    def counts_pods(self, cycle: Cycle) -> bool:
        """Where it is required of this pod, or a pod that is there avoids it."""
        if any(not term.weight for term in cycle.info.terms):
            return True
        return any(self._avoids(term, cycle.info) for term in cycle.table.carriers)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        """A node counts for the first of the three reasons."""
        if not cycle.info.terms and not cycle.table.carriers:
            return ()
        lonely = left & ~self._has_company(cycle)
        disliked = left & ~lonely & self._has_what_it_avoids(cycle)
        unwanted = left & ~lonely & ~disliked & self._is_avoided(cycle)
        return (
            Rejection(lonely, AFFINITY, resolvable=False),
            Rejection(disliked, ANTI_AFFINITY),
            Rejection(unwanted, EXISTING),
        )

    def _has_company(self, cycle: Cycle) -> Mask:
        """Domains with a pod that all required affinity terms are about. The first of a group that wants its own
        kind may go anywhere that has the keys."""
        table, terms = cycle.table, _required(cycle.info, "affinity")
        mask = table.valid.copy()
        if not terms:
            return mask
        everywhere, anywhere = mask.copy(), table.empty_mask()
        for term in terms:
            everywhere &= topology.has_key(table, term.topology_key)
            anywhere |= table.valid & topology.has_key(table, term.topology_key)
        wanted = Together(tuple(term.scope(self._namespaces) for term in terms))
        counts = table.selected(wanted)
        for term in terms:
            company = topology.sums(table, term.topology_key, counts, table.valid)
            mask &= topology.spread_out(table, term.topology_key, company) > 0
        mask &= everywhere
        nobody = not (counts * anywhere).any()
        if nobody and wanted.holds(cycle.info.namespace, cycle.info.pod["metadata"]):
            return everywhere
        return mask

    def _has_what_it_avoids(self, cycle: Cycle) -> Mask:
        table = cycle.table
        mask = table.empty_mask()
        for term in _required(cycle.info, "anti-affinity"):
            counts = table.selected(term.scope(self._namespaces))
            mask |= _domains_with(table, term, counts)
        return mask

    def _is_avoided(self, cycle: Cycle) -> Mask:
        table = cycle.table
        mask = table.empty_mask()
        for term, carriers in table.carriers.items():
            if self._avoids(term, cycle.info):
                mask |= _domains_with(table, term, carriers)
        return mask

    def _avoids(self, term: Term, info: PodInfo) -> bool:
        return term.kind == "anti-affinity" and not term.weight and self._is_about(term, info)

    def _is_about(self, term: Term, info: PodInfo) -> bool:
        return term.scope(self._namespaces).holds(info.namespace, info.pod["metadata"])

    # -- score ------------------------------------------------------------------------------------------

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        if self._ignore_preferred and not any(term.weight for term in cycle.info.terms):
            return False
        total = self._attraction(cycle)
        if total is None:
            return False
        cycle.state[self.name] = total
        return True

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """From the least attractive node, 0, to the most, 100."""
        total: Column = cycle.state[self.name][rows]
        least, most = int(total.min()), int(total.max())
        if least == most:
            return np.zeros(len(rows), dtype=np.int64)
        scaled: Column = (SCORE_MAX * ((total - least) / (most - least))).astype(np.int64)
        return scaled

    def raw_score(self, cycle: Cycle, rows: Rows) -> Column:
        total: Column = cycle.state[self.name][rows]
        return total

    def _attraction(self, cycle: Cycle) -> Column | None:
        """Weights of terms, of the pod and of those that are there, summed over each node's domains; None when no term
        has to do with any pod."""
        table = cycle.table
        total: Column | None = None
        for term, counts, weight in self._pulls(cycle):
            if total is None:
                total = np.zeros(table.size, dtype=np.int64)
            pull = topology.sums(table, term.topology_key, counts * weight, table.valid)
            total += topology.spread_out(table, term.topology_key, pull)
        return total

    def _pulls(self, cycle: Cycle) -> Iterable[tuple[Term, Column, int]]:
        table = cycle.table
        for term in cycle.info.terms:
            if term.weight:
                counts = table.selected(term.scope(self._namespaces))
                if counts.any():
                    yield term, counts, _signed(term)
        for term, carriers in table.carriers.items():
            counted = term.weight or (term.kind == "affinity" and self._hard_weight)
            if counted and self._is_about(term, cycle.info):
                yield term, carriers, _signed(term, self._hard_weight)


def _required(info: PodInfo, kind: str) -> list[Term]:
    return [term for term in info.terms if term.kind == kind and not term.weight]


def _signed(term: Term, hard_weight: int = _HARD_WEIGHT) -> int:
    return (term.weight or hard_weight) * (1 if term.kind == "affinity" else -1)


def _domains_with(table: NodeTable, term: Term, counts: Column) -> Mask:
    found = topology.sums(table, term.topology_key, counts, table.valid)
    return topology.spread_out(table, term.topology_key, found) > 0


# -- the plain rules ----------------------------------------------------------------------------------------

Lodgers = Iterable[tuple[PodInfo, Obj]]
"""Pods that are there, each with its node."""


def refusal(info: PodInfo, node: Obj, lodgers: Lodgers, namespaces: Namespaces) -> str:
    """Why a pod may not go to a node; "" when it may."""
    lodgers = list(lodgers)
    wanted = _required(info, "affinity")
    if wanted and not _company(info, wanted, node, lodgers, namespaces):
        return AFFINITY
    for term in _required(info, "anti-affinity"):
        if any(_same(node, at, term) and _about(term, other, namespaces) for other, at in lodgers):
            return ANTI_AFFINITY
    for other, at in lodgers:
        for term in _required(other, "anti-affinity"):
            if _same(node, at, term) and _about(term, info, namespaces):
                return EXISTING
    return ""


def _company(info: PodInfo, terms: list[Term], node: Obj, lodgers: Lodgers, namespaces: Namespaces) -> bool:
    if any(term.topology_key not in _labels(node) for term in terms):
        return False
    fellows = [at for other, at in lodgers if all(_about(t, other, namespaces) for t in terms)]
    if not any(term.topology_key in _labels(at) for at in fellows for term in terms):
        return all(_about(term, info, namespaces) for term in terms)
    return all(any(_same(node, at, term) for at in fellows) for term in terms)


def attraction(info: PodInfo, node: Obj, lodgers: Lodgers, namespaces: Namespaces) -> int:
    """The weights that speak for a node, less those against it."""
    total = 0
    for other, at in lodgers:
        for term in info.terms:
            if term.weight and _same(node, at, term) and _about(term, other, namespaces):
                total += _signed(term)
        for term in other.terms:
            counts = term.weight or term.kind == "affinity"
            if counts and _same(node, at, term) and _about(term, info, namespaces):
                total += _signed(term)
    return total


def _labels(node: Obj) -> Mapping[str, str]:
    return node["metadata"].get("labels") or {}


def _same(a: Obj, b: Obj, term: Term) -> bool:
    """Whether two nodes are in one domain of a term."""
    key = term.topology_key
    return key in _labels(a) and _labels(a)[key] == _labels(b).get(key)


def _about(term: Term, info: PodInfo, namespaces: Namespaces) -> bool:
    return term.scope(namespaces).holds(info.namespace, info.pod["metadata"])
