"""A decision with extenders in it (schedule_one.go findNodesThatPassExtenders and prioritizeNodes,
pkg/scheduler/framework/preemption callExtenders).

Filters → each extender's filter, on what the ones before it left → scores, and each extender's → the best
             └─ nothing left → PostFilter, whose candidates each extender may cut

While an extender thinks, the node table moves on. What it is asked about and what it says goes by the names of nodes,
which are looked up again afterwards.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from pilothouse.scheduler import cycle as plain
from pilothouse.scheduler import sampling
from pilothouse.scheduler.cycle import PostFilterRound, Unschedulable
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.extenders.extender import NAME, Extender
from pilothouse.scheduler.extenders.wire import ExtenderError, Filtered, Victims
from pilothouse.scheduler.framework import Cycle, Nomination
from pilothouse.scheduler.plugins.default_preemption import PREFIX, DefaultPreemption
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.preemption import Candidate, importance

log = logging.getLogger(__name__)

NO_CANDIDATE = "no candidate node for preemption"


async def decide(cycle: Cycle, extenders: Sequence[Extender]) -> str:
    """As `cycle.decide`. Raises Unschedulable, and ExtenderError when one that may not be ignored fails."""
    table = cycle.table
    diagnosis = Diagnosis(len(table), table.valid.copy())
    left = plain.feasible(cycle, diagnosis)
    rows = np.flatnonzero(left)
    own = plain.nominated_row(cycle, left)
    if own is not None:
        passed = await _passed(cycle, [table.name(own)], extenders, Diagnosis(len(table), table.valid.copy()))
        if passed:
            return passed[0]
    rows = sampling.some(rows, len(table), cycle.profile.percentage, cycle.random)
    names = await _passed(cycle, [table.name(int(row)) for row in rows], extenders, diagnosis)
    if len(names) == 1:
        return names[0]
    return await _best(cycle, names, extenders, diagnosis)


async def _passed(
    cycle: Cycle, names: list[str], extenders: Sequence[Extender], diagnosis: Diagnosis
) -> list[str]:
    """The nodes that every extender lets through, as long as they are still there. Unschedulable when none is."""
    for extender in extenders:
        if not names or not extender.does("filter") or not extender.is_interested(cycle.info):
            continue
        nodes = [cycle.table.node(row) for row in _rows(cycle, names)]
        try:
            found = await extender.filter(cycle.info, nodes)
        except ExtenderError as error:
            if not extender.ignorable:
                raise
            log.info("extender %s is skipped: %s", extender.url, error)
            continue
        _note(cycle, names, found, diagnosis)
        names = found.passed
    names = [name for name in names if cycle.table.row(name) is not None]
    if not names:
        raise Unschedulable(diagnosis)
    return names


def _rows(cycle: Cycle, names: Sequence[str]) -> list[int]:
    rows = (cycle.table.row(name) for name in names)
    return [row for row in rows if row is not None]


def _note(cycle: Cycle, asked: Sequence[str], found: Filtered, diagnosis: Diagnosis) -> None:
    """Why an extender refused nodes; those that it says nothing about count without a reason."""
    passed = set(found.passed)
    for name in asked:
        if name in passed:
            continue
        reason = found.unresolvable.get(name) or found.failed.get(name, "")
        resolvable = name in found.failed and name not in found.unresolvable
        diagnosis.add_row(NAME, cycle.table.row(name), reason, resolvable=resolvable)


async def _best(
    cycle: Cycle, names: Sequence[str], extenders: Sequence[Extender], diagnosis: Diagnosis
) -> str:
    rows = np.array(_rows(cycle, names), dtype=np.intp)
    total = plain.scores(cycle, rows)
    names = [cycle.table.name(int(row)) for row in rows]
    nodes = [cycle.table.node(int(row)) for row in rows]
    for extender in extenders:
        if extender.does("prioritize") and extender.is_interested(cycle.info):
            try:
                more = await extender.scores(cycle.info, nodes)
            except ExtenderError as error:
                log.info("extender %s does not prioritize %s: %s", extender.url, cycle.info.key, error)
                continue
            total = total + np.array([more.get(name, 0) for name in names], dtype=np.int64)
    left = np.array([cycle.table.row(name) is not None for name in names], dtype=bool)
    if not left.any():
        raise Unschedulable(diagnosis)
    best = np.flatnonzero(left & (total == total[left].max()))
    return names[int(best[cycle.random.randrange(len(best))])]


# -- no node --------------------------------------------------------------------------------------------------


async def post_filter(cycle: Cycle, diagnosis: Diagnosis, extenders: Sequence[Extender]) -> Nomination:
    """As `cycle.post_filter`."""
    diagnosis.fit(cycle.table.size)
    round_ = PostFilterRound(diagnosis)
    for plugin in cycle.profile.post_filter:
        if isinstance(plugin, DefaultPreemption):
            found = await _preemption(plugin, cycle, diagnosis, extenders)
        else:
            found = plugin.post_filter(cycle, diagnosis)
        if round_.ends_with(found):
            break
    return round_.outcome()


async def _preemption(
    plugin: DefaultPreemption, cycle: Cycle, diagnosis: Diagnosis, extenders: Sequence[Extender]
) -> Nomination:
    candidates, otherwise = plugin.find(cycle, diagnosis)
    if not candidates:
        return otherwise
    try:
        left = await _cut(cycle, candidates, extenders)
    except ExtenderError as error:
        return Nomination(message=f"{PREFIX}{error}")
    return plugin.nominate(cycle, left) if left else Nomination(message=PREFIX + NO_CANDIDATE)


async def _cut(
    cycle: Cycle, candidates: Sequence[Candidate], extenders: Sequence[Extender]
) -> list[Candidate]:
    victims: dict[str, tuple[Sequence[PodInfo], int]] = {
        cycle.table.name(c.row): (c.victims, c.violations) for c in candidates
    }
    for extender in extenders:
        if not victims or not extender.does("preempt") or not extender.is_interested(cycle.info):
            continue
        try:
            answer = await extender.preempt(cycle.info, victims)
            victims = {node: _victims(cycle, extender, node, those) for node, those in answer.items()}
        except ExtenderError as error:
            if not extender.ignorable:
                raise
            log.info("extender %s is skipped: %s", extender.url, error)
    left = []
    for node, (pods, violations) in victims.items():
        row = cycle.table.row(node)
        if row is not None:
            left.append(Candidate(row, tuple(sorted(pods, key=importance)), violations))
    return left


def _victims(cycle: Cycle, extender: Extender, node: str, those: Victims) -> tuple[Sequence[PodInfo], int]:
    row = cycle.table.row(node)
    if row is None:
        raise ExtenderError(f'nodeinfo not found for node name "{node}"')
    there = {info.uid: info for info in cycle.table.pods_on(row)}
    for uid in those.uids:
        if uid not in there:
            raise ExtenderError(
                f"extender: {extender.url} claims to preempt pod (UID: {uid}) on node: {node}, but the pod is not "
                "found on that node"
            )
    return [there[uid] for uid in those.uids], those.violations
