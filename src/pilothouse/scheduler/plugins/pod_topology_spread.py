"""PodTopologySpread: pods of a group evenly over zones, nodes or other domains
(https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/;
pkg/scheduler/framework/plugins/podtopologyspread). The plain rule is `refusal`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pilothouse.api import labels, node_selector, taints
from pilothouse.api.types import Obj
from pilothouse.scheduler import selection, topology
from pilothouse.scheduler.framework import (
    SCORE_MAX,
    Cycle,
    FilterPlugin,
    PreScorePlugin,
    Rejection,
    Rows,
    ScorePlugin,
)
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, Action, Event, Registration
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.pod_terms import Scope

SKEW = "node(s) didn't match pod topology spread constraints"
MISSING = f"{SKEW} (missing required label)"
_HOSTNAME = "kubernetes.io/hostname"

_SYSTEM_DEFAULTS: Sequence[Obj] = (
    {"topologyKey": _HOSTNAME, "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
    {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 5, "whenUnsatisfiable": "ScheduleAnyway"},
)

GroupOf = Callable[[PodInfo], labels.Selector]
"""The pods that count as a pod's group where it has no constraint: those of its services and its owner."""


class Constraint(NamedTuple):
    """One topologySpreadConstraint, with defaults."""

    key: str
    max_skew: int
    scope: Scope
    min_domains: int
    honors_affinity: bool
    honors_taints: bool


def constraints_of(info: PodInfo, action: str) -> list[Constraint]:
    """Those of a pod with one `whenUnsatisfiable`."""
    given = info.pod["spec"].get("topologySpreadConstraints") or ()
    return [_constraint(info, c, _selector(info, c)) for c in given if c["whenUnsatisfiable"] == action]


def _selector(info: PodInfo, given: Obj) -> labels.Selector:
    """The API server has made matchLabelKeys part of the selector already, but older ones did not (KEP-3243)."""
    selector = labels.from_label_selector(given.get("labelSelector"))
    own = info.pod["metadata"].get("labels") or {}
    keys = [key for key in given.get("matchLabelKeys") or () if key in own]
    if not keys or selector.nothing:
        return selector
    more = labels.from_label_selector({"matchLabels": {key: own[key] for key in keys}})
    return labels.Selector((*selector.requirements, *more.requirements))


def _constraint(info: PodInfo, given: Obj, selector: labels.Selector) -> Constraint:
    return Constraint(
        given["topologyKey"],
        given["maxSkew"],
        Scope(frozenset((info.namespace,)), selector, living=True),
        given.get("minDomains") or 1,
        given.get("nodeAffinityPolicy", "Honor") == "Honor",
        given.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


class PodTopologySpread(FilterPlugin, PreScorePlugin, ScorePlugin):
    """`defaults` are constraints for pods that have none and belong to a group: a list of the configuration's, or None
    for Kubernetes' own, which are weaker in one thing: a node without the topology key is scored too."""

    name = "PodTopologySpread"

    def __init__(self, group_of: GroupOf, defaults: Sequence[Obj] | None = None) -> None:
        self._group_of = group_of
        self._system = defaults is None
        self._defaults: dict[str, list[Obj]] = {}
        for constraint in _SYSTEM_DEFAULTS if defaults is None else defaults:
            self._defaults.setdefault(constraint["whenUnsatisfiable"], []).append(constraint)

    def registrations(self) -> Iterable[Registration]:
        pods = Action.ADD | Action.DELETE | Action.UPDATE_POD_LABEL
        nodes = Action.ADD | Action.DELETE | Action.UPDATE_NODE_LABEL | Action.UPDATE_NODE_TAINT
        return Registration(ASSIGNED_POD, pods, self._counts), Registration(NODE, nodes)

    def _counts(self, info: PodInfo, event: Event) -> bool:
        """A pod that one of the constraints counts came, went or changed its labels."""
        objects = [obj for obj in (event.old, event.new) if obj is not None]
        return any(
            c.scope.namespaces is not None
            and obj["metadata"].get("namespace") in c.scope.namespaces
            and c.scope.selector.matches(obj["metadata"].get("labels") or {})
            for c in self._constraints(info, "DoNotSchedule")
            for obj in objects
        )

    def _constraints(self, info: PodInfo, action: str) -> list[Constraint]:
        """A pod's own, or the default ones where it has none at all."""
        if info.pod["spec"].get("topologySpreadConstraints"):
            return constraints_of(info, action)
        given = self._defaults.get(action)
        if not given:
            return []
        group = self._group_of(info)
        if group.empty or group.nothing:
            return []
        return [_constraint(info, c, group) for c in given]

    # -- filter -----------------------------------------------------------------------------------------

    def counts_pods(self, cycle: Cycle) -> bool:
        return bool(self._constraints(cycle.info, "DoNotSchedule"))

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        constraints = self._constraints(cycle.info, "DoNotSchedule")
        return self._rejections(cycle, left, constraints) if constraints else ()

    def _rejections(self, cycle: Cycle, left: Mask, constraints: Sequence[Constraint]) -> Iterable[Rejection]:
        table = cycle.table
        counted = _with_all_keys(table, constraints)
        out = table.empty_mask()
        for constraint in constraints:
            missing = left & ~out & ~topology.has_key(table, constraint.key)
            yield Rejection(missing, MISSING, resolvable=False)
            out |= missing
            skewed = left & ~out & _skewed(cycle, constraint, counted)
            yield Rejection(skewed, SKEW)
            out |= skewed

    # -- score ------------------------------------------------------------------------------------------

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        constraints = self._constraints(cycle.info, "ScheduleAnyway")
        if constraints:
            own = bool(cycle.info.pod["spec"].get("topologySpreadConstraints"))
            cycle.state[self.name] = constraints, own or not self._system
        return bool(constraints)

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        """100 where the fewest of the group are, weighed by how many domains there are."""
        return _flipped(*self._totals(cycle, rows))

    def raw_score(self, cycle: Cycle, rows: Rows) -> Column:
        """How many of the group are there, so weighed."""
        return self._totals(cycle, rows)[0]

    def _totals(self, cycle: Cycle, rows: Rows) -> tuple[Column, NDArray[np.bool_]]:
        """The sums, and which of the rows count."""
        constraints, needs_all_keys = cycle.state[self.name]
        table = cycle.table
        scored = np.ones(len(rows), dtype=bool)
        counted = table.valid
        if needs_all_keys:
            counted = _with_all_keys(table, constraints)
            scored = counted[rows]
        total = np.zeros(len(rows))
        for constraint in constraints:
            total += self._share(cycle, constraint, rows, scored, counted)
        return np.rint(total).astype(np.int64), scored

    def _share(
        self, cycle: Cycle, constraint: Constraint, rows: Rows, scored: NDArray[Any], counted: Mask
    ) -> NDArray[np.float64]:
        table = cycle.table
        among = table.empty_mask()
        among[rows[scored]] = True
        has_key = topology.has_key(table, constraint.key)[rows]
        counts = table.selected(constraint.scope)
        if constraint.key == _HOSTNAME:
            domains = int(scored.sum())
            there = counts[rows]
        else:
            here = topology.present(table, constraint.key, among)
            domains = int(here.sum())
            sums = topology.sums(table, constraint.key, counts, counted & _included(cycle, constraint))
            there = topology.spread_out(table, constraint.key, sums * here)[rows]
        weight = math.log(domains + 2)
        share: NDArray[np.float64] = np.where(has_key, there * weight + (constraint.max_skew - 1), 0.0)
        return share


def _with_all_keys(table: NodeTable, constraints: Sequence[Constraint]) -> Mask:
    mask = table.valid.copy()
    for constraint in constraints:
        mask &= topology.has_key(table, constraint.key)
    return mask


def _included(cycle: Cycle, constraint: Constraint) -> Mask:
    """The nodes that count for a constraint (KEP-3094)."""
    table, pod = cycle.table, cycle.info.pod
    mask = table.valid.copy()
    if constraint.honors_affinity:
        mask &= selection.matching(table, pod)
    if constraint.honors_taints:
        refused = [taints.untolerated(pod, found) is not None for found in table.taint_sets]
        mask &= ~np.array(refused, dtype=bool)[table.taints]
    return mask


def _skewed(cycle: Cycle, constraint: Constraint, counted: Mask) -> Mask:
    """Where one more pod would make the domain too full, next to the emptiest one."""
    table = cycle.table
    among = counted & _included(cycle, constraint)
    sums = topology.sums(table, constraint.key, table.selected(constraint.scope), among)
    there = topology.present(table, constraint.key, among)
    if not there.any():
        return table.empty_mask()
    least = int(sums[there].min()) if int(there.sum()) >= constraint.min_domains else 0
    own = int(constraint.scope.holds(cycle.info.namespace, cycle.info.pod["metadata"]))
    skew = topology.spread_out(table, constraint.key, sums * there) + own - least
    return skew > constraint.max_skew


def _flipped(total: Column, scored: NDArray[np.bool_]) -> Column:
    """Fewer is better; nodes that are not scored get nothing."""
    if not scored.any():
        return np.zeros(len(total), dtype=np.int64)
    least, most = int(total[scored].min()), int(total[scored].max())
    if most == 0:
        return np.where(scored, SCORE_MAX, 0)
    return np.where(scored, SCORE_MAX * (most + least - total) // most, 0)


# -- the plain rule -----------------------------------------------------------------------------------------


def refusal(info: PodInfo, node: Obj, nodes: Sequence[Obj], lodgers: Sequence[tuple[PodInfo, Obj]]) -> str:
    """Why a pod may not go to a node; "" when it may. `lodgers` are pods, each with its node."""
    constraints = constraints_of(info, "DoNotSchedule")
    for c in constraints:
        if c.key not in _labels_of(node):
            return MISSING
        counted = [
            n for n in nodes if all(k.key in _labels_of(n) for k in constraints) and _is_included(info, n, c)
        ]
        sums = {_labels_of(n)[c.key]: 0 for n in counted}
        names = {n["metadata"]["name"] for n in counted}
        for other, at in lodgers:
            if at["metadata"]["name"] in names and c.scope.holds(other.namespace, other.pod["metadata"]):
                sums[_labels_of(at)[c.key]] += 1
        least = min(sums.values(), default=0) if len(sums) >= c.min_domains else 0
        own = int(c.scope.holds(info.namespace, info.pod["metadata"]))
        if sums and sums.get(_labels_of(node)[c.key], 0) + own - least > c.max_skew:
            return SKEW
    return ""


def _is_included(info: PodInfo, node: Obj, constraint: Constraint) -> bool:
    if constraint.honors_affinity and not node_selector.matches(info.pod, node):
        return False
    return not constraint.honors_taints or taints.untolerated(info.pod, taints.of_node(node)) is None


def _labels_of(node: Obj) -> dict[str, str]:
    return node["metadata"].get("labels") or {}
