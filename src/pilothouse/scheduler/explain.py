"""Why a pod goes where it goes, or nowhere: every node, every rule.

The same plugins are asked as for a decision, on the same node table, so that what is said is what would be done; only
nothing is decided, and nothing changes. A pod that has a node is looked at as if it had none.

    filters    for each node the first that refuses it, with all its reasons, as the scheduler counts them, and which
               others would refuse it too
    scores     for each node that is left, and each plugin: raw, normalized to 0..100, times the weight
    preemption which pods would have to go, and where; or why that would not help
    queue      where the pod waits, for how long, and what the last attempt said

Extenders are other people's programs and are not asked; where they would be, `extenders` names them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from pilothouse.api.types import Obj
from pilothouse.kit.world import World, timestamp
from pilothouse.scheduler import cycle as rules
from pilothouse.scheduler import preemption
from pilothouse.scheduler.cycle import Unschedulable
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.framework import Cycle, PreScorePlugin, Rows, ScorePlugin
from pilothouse.scheduler.node_table import Mask, NodeTable
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.queue import Waiting

SAMPLED = 100


class Refusal(msgspec.Struct, frozen=True, rename="camel"):
    """`resolvable`: evicting pods may change it."""

    plugin: str
    reason: str
    resolvable: bool


class Score(msgspec.Struct, frozen=True, rename="camel"):
    """`raw` is what the plugin counted, `normalized` that from 0 to 100, `weighted` that times `weight`."""

    plugin: str
    raw: int
    normalized: int
    weight: int
    weighted: int


class NodeReport(msgspec.Struct, frozen=True, rename="camel"):
    """One node. `refusals` are of the first plugin that refuses it, `also` those of others that would, had it come to
    them. `scores` and `total` are there where nothing refuses it."""

    node: str
    fits: bool
    refusals: tuple[Refusal, ...] = ()
    also: tuple[Refusal, ...] = ()
    scores: tuple[Score, ...] = ()
    total: int | None = None


class Victim(msgspec.Struct, frozen=True, rename="camel"):
    namespace: str
    name: str
    priority: int


class Candidate(msgspec.Struct, frozen=True, rename="camel"):
    """A node where room could be made. `violations` of the victims have a PodDisruptionBudget against it."""

    node: str
    victims: tuple[Victim, ...]
    violations: int


class Preemption(msgspec.Struct, frozen=True, rename="camel"):
    """`node` is the one that would be nominated, "" for none; `message` says then why."""

    node: str
    message: str
    candidates: tuple[Candidate, ...]


class QueueState(msgspec.Struct, frozen=True, rename="camel"):
    """`place`: scheduled, active, backoff, error-backoff, unschedulable, gated, in-flight, ended, or elsewhere (not in
    this scheduler's queue). `since` is an RFC 3339 time, "" where nobody knows.
    `message` is the last attempt's, as the pod's condition has it; `gate` the plugin that holds it back; `rejected_by`
    those whose events it waits for; `backoff_s` how many seconds it still backs off."""

    place: str
    since: str = ""
    message: str = ""
    gate: str = ""
    rejected_by: tuple[str, ...] = ()
    attempts: int | None = None
    backoff_s: float | None = None


class Explanation(msgspec.Struct, frozen=True, rename="camel"):
    """`node` is where the pod is, "" for nowhere; `best` are the nodes of the highest score, of which one is taken by
    chance, or the nominated one. `message` is what the pod would be told where nothing fits. `nodes` are sorted: those
    that fit, the best first, then the others by name."""

    namespace: str
    name: str
    uid: str
    scheduler: str
    node: str
    nominated: str
    queue: QueueState
    best: tuple[str, ...]
    message: str
    preemption: Preemption | None
    nodes: tuple[NodeReport, ...]
    skipped: tuple[str, ...] = ()
    """Score plugins that would not tell the nodes apart."""
    extenders: tuple[str, ...] = ()
    """URLs of extenders that would have a say and were not asked."""
    percentage: int = SAMPLED
    """percentageOfNodesToScore; below 100 the scheduler looks at some of the nodes that fit only."""


def explain(
    pod: Obj,
    table: NodeTable,
    profile: Profile,
    queue: QueueState,
    *,
    guests: Sequence[PodInfo] = (),
    nominated: str = "",
    extenders: Iterable[str] = (),
) -> Explanation:
    """One pod on a node table, which is as before when this returns. PluginFailed when a plugin of somebody else's
    raises."""
    info = unbound(pod)
    there = table.pod(info.uid)
    with table.without([there] if there is not None else []):
        # Chance of its own: explaining must not change what the scheduler draws next.
        cycle = Cycle(info, profile, table, random.Random(0), guests)
        found = _Found(table, nominated or info.nominated)
        diagnosis = _Recorder(len(table), table.valid.copy())
        try:
            left = rules.feasible(cycle, diagnosis)
        except Unschedulable:
            left = table.empty_mask()
            found.preemption = _preemption(cycle, diagnosis)
            found.message = diagnosis.text()
        else:
            found.score(cycle, np.flatnonzero(left))
        others = _others(cycle, table.valid & ~left) if not diagnosis.pre_filter_message else []
        nodes = [found.report(int(row), bool(left[row]), diagnosis, others) for row in _used(table)]
    return Explanation(
        info.namespace,
        info.name,
        info.uid,
        profile.name,
        str(pod["spec"].get("nodeName", "")),
        found.nominated,
        queue,
        found.best(nodes),
        found.message,
        found.preemption,
        tuple(sorted(nodes, key=_order)),
        tuple(found.skipped),
        tuple(extenders),
        profile.percentage,
    )


def unbound(pod: Obj) -> PodInfo:
    """A pod as it was before it had a node."""
    if not pod["spec"].get("nodeName"):
        return pod_info(pod)
    return pod_info({**pod, "spec": {k: v for k, v in pod["spec"].items() if k != "nodeName"}})


def _used(table: NodeTable) -> list[int]:
    return [int(row) for row in np.flatnonzero(table.valid)]


def _order(report: NodeReport) -> tuple[bool, int, str]:
    return not report.fits, -(report.total or 0), report.node


@dataclass(eq=False, slots=True)
class _Said:
    """What one plugin said of some rows."""

    plugin: str
    mask: Mask
    reason: str
    resolvable: bool

    def of(self, row: int) -> Refusal | None:
        return Refusal(self.plugin, self.reason, self.resolvable) if self.mask[row] else None


@dataclass(eq=False, slots=True)
class _Recorder(Diagnosis):
    """A diagnosis that also remembers which row was refused by whom."""

    said: list[_Said] = field(default_factory=list)

    def add(self, plugin: str, mask: Mask, reason: str, *, resolvable: bool) -> None:
        if mask.any():
            self.said.append(_Said(plugin, mask.copy(), reason, resolvable))
        Diagnosis.add(self, plugin, mask, reason, resolvable=resolvable)

    def refuse_all(self, plugin: str, message: str) -> None:
        self.said.append(_Said(plugin, np.ones(len(self.resolvable), dtype=bool), message, False))
        Diagnosis.refuse_all(self, plugin, message)


def _others(cycle: Cycle, refused: Mask) -> list[_Said]:
    """What every filter says of the rows that are out, asked alone."""
    if not refused.any():
        return []
    return [
        _Said(plugin.name, rejection.mask & refused, rejection.reason, rejection.resolvable)
        for plugin in cycle.profile.filter
        for rejection in plugin.filter(cycle, refused)
    ]


class _Found:
    """What comes together of one pod."""

    def __init__(self, table: NodeTable, nominated: str) -> None:
        self._table = table
        self.nominated = nominated
        self.message = ""
        self.preemption: Preemption | None = None
        self.skipped: list[str] = []
        self._scores: dict[int, list[Score]] = {}

    def score(self, cycle: Cycle, rows: Rows) -> None:
        self._scores = {int(row): [] for row in rows}
        for plugin in cycle.profile.score:
            if isinstance(plugin, PreScorePlugin) and not plugin.pre_score(cycle, rows):
                self.skipped.append(plugin.name)
            else:
                self._add(cycle, rows, plugin)

    def _add(self, cycle: Cycle, rows: Rows, plugin: ScorePlugin) -> None:
        weight = cycle.profile.weight(plugin)
        raw, normalized = plugin.raw_score(cycle, rows), plugin.score(cycle, rows)
        for row, before, after in zip(rows.tolist(), raw.tolist(), normalized.tolist(), strict=True):
            self._scores[row].append(Score(plugin.name, int(before), int(after), weight, int(after) * weight))

    def report(self, row: int, fits: bool, diagnosis: _Recorder, others: Sequence[_Said]) -> NodeReport:
        name = self._table.name(row)
        if fits:
            scores = tuple(self._scores[row])
            return NodeReport(name, True, scores=scores, total=sum(score.weighted for score in scores))
        refusals = _of(diagnosis.said, row)
        first = {refusal.plugin for refusal in refusals}
        also = tuple(refusal for refusal in _of(others, row) if refusal.plugin not in first)
        return NodeReport(name, False, refusals, also)

    def best(self, nodes: Sequence[NodeReport]) -> tuple[str, ...]:
        fitting = [report for report in nodes if report.fits]
        if any(report.node == self.nominated for report in fitting):
            return (self.nominated,)
        most = max((report.total or 0 for report in fitting), default=0)
        return tuple(sorted(report.node for report in fitting if report.total == most))


def _of(said: Iterable[_Said], row: int) -> tuple[Refusal, ...]:
    found = (each.of(row) for each in said)
    return tuple(dict.fromkeys(refusal for refusal in found if refusal is not None))


def _preemption(cycle: Cycle, diagnosis: Diagnosis) -> Preemption | None:
    """What PostFilter would find; None in a profile without it."""
    if not cycle.profile.post_filter:
        return None
    node = rules.post_filter(cycle, diagnosis).node
    if not node:
        return Preemption("", diagnosis.post_filter_message, ())
    found = [
        candidate
        for plugin in cycle.profile.post_filter
        if isinstance(plugin, DefaultPreemption)
        for candidate in plugin.find(cycle, diagnosis)[0]
    ]
    name = cycle.table.name
    candidates = [Candidate(name(c.row), _victims(c), c.violations) for c in found]
    return Preemption(node, "", tuple(sorted(candidates, key=lambda c: _cost(c, node))))


def _victims(candidate: preemption.Candidate) -> tuple[Victim, ...]:
    return tuple(Victim(info.namespace, info.name, info.priority) for info in candidate.victims)


def _cost(candidate: Candidate, chosen: str) -> tuple[bool, int, int, str]:
    """The chosen one first."""
    return candidate.node != chosen, candidate.violations, len(candidate.victims), candidate.node


def queue_state(pod: Obj, entry: Waiting | None, world: World) -> QueueState:
    """Where a pod waits: what its own status says, and what the queue knows (None: nothing)."""
    condition = _condition(pod)
    message = str(condition.get("message", "")) if condition.get("status") == "False" else ""
    state = QueueState(_place(pod), _since(pod), message)
    if entry is None:
        return state
    now_s = world.clock.monotonic()
    backs_off = entry.place in ("backoff", "error-backoff")
    return msgspec.structs.replace(
        state,
        place=entry.place,
        since=timestamp(world.now() - (now_s - entry.since_s)),
        gate=entry.gate,
        rejected_by=tuple(sorted(entry.rejected_by)),
        attempts=entry.attempts,
        backoff_s=round(max(entry.ready_s - now_s, 0.0), 3) if backs_off else None,
    )


def _place(pod: Obj) -> str:
    """Of a pod that no queue knows."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return "ended"
    return "scheduled" if pod["spec"].get("nodeName") else "elsewhere"


def _since(pod: Obj) -> str:
    since = _condition(pod).get("lastTransitionTime") or pod["metadata"].get("creationTimestamp")
    return str(since or "")


def _condition(pod: Obj) -> Obj:
    conditions: list[Obj] = (pod.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == "PodScheduled"), {})
