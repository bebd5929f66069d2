"""Which nodes would have to be added so that pods that fit nowhere find a place, as a cluster autoscaler asks it
(https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md#how-does-scale-up-work).

    pods that are left ──▶ for each template: which of them fit a node like it, and how few of those take them all?
             ▲                        │
             │                        ▼  the cheapest a pod
             └──────────────── its nodes are there ──▶ none helps any more: is one of all too many?

Pods that have a place keep it; only the others see the new nodes. Every question is put to the scheduler itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from pilothouse.api.resources import DAEMON_SETS, NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.controllers import daemonset_rules
from pilothouse.kit.world import World, simulated_world
from pilothouse.whatif.kinds import BadObject, kinds
from pilothouse.whatif.snapshot import Snapshot
from pilothouse.whatif.stage import Outcome, Setting, Stage
from pilothouse.whatif.workloads import daemon

COST = "pilothouse.dev/cost"
NODES_MAX = "pilothouse.dev/max-nodes"
HOSTNAME = "kubernetes.io/hostname"
_LIMIT = 10_000
_NOT_READY = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/unschedulable",
)


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of node that can be had. `cost` is of one, in any unit; at most `most` can be added."""

    name: str
    node: Obj
    cost: float = 1.0
    most: int = _LIMIT

    @staticmethod
    def of(node: Obj) -> Template:
        """From a Node object. Annotations say what it costs (pilothouse.dev/cost, 1 by default) and how many there may
        be at most (pilothouse.dev/max-nodes). BadObject for what is no node, or no number."""
        if node.get("kind") != "Node":
            raise BadObject(f"{node.get('kind')} is no template of nodes: a Node is")
        made = kinds().complete(node)
        meta, status = made["metadata"], made.get("status") or {}
        annotations = meta.get("annotations") or {}
        if not (status.get("allocatable") or status.get("capacity")):
            raise BadObject(f"Node {meta['name']}: status.allocatable says how large it is, and is missing")
        try:
            cost, most = float(annotations.get(COST, 1)), int(annotations.get(NODES_MAX, _LIMIT))
        except ValueError:
            raise BadObject(f"Node {meta['name']}: {COST} or {NODES_MAX} is no number") from None
        return Template(meta["name"], made, cost, most)

    def nodes(self, count: int, taken: Callable[[str], bool]) -> list[Obj]:
        """So many of them, under names that are not taken."""
        found: list[Obj] = []
        number = 0
        while len(found) < count:
            number += 1
            if not taken(f"{self.name}-{number}"):
                found.append(self._node(f"{self.name}-{number}"))
        return found

    def _node(self, name: str) -> Obj:
        """Ready, and nobody's yet."""
        meta, status = self.node["metadata"], dict(self.node.get("status") or {})
        status["allocatable"] = status.get("allocatable") or status["capacity"]
        status["conditions"] = [{"type": "Ready", "status": "True"}]
        spec = {
            k: v for k, v in (self.node.get("spec") or {}).items() if k not in ("unschedulable", "providerID")
        }
        spec["taints"] = [t for t in spec.get("taints") or () if t["key"] not in _NOT_READY]
        labels = {**(meta.get("labels") or {}), HOSTNAME: name}
        kept = {k: v for k, v in meta.items() if k in ("annotations",)}
        return copy.deepcopy(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {**kept, "name": name, "labels": labels},
                "spec": spec,
                "status": status,
            }
        )


class Added(msgspec.Struct, frozen=True, rename="camel"):
    """So many nodes of one template, and what they cost together."""

    template: str
    count: int
    cost: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grown:
    outcome: Outcome
    added: tuple[Added, ...] = ()
    deleted: tuple[Obj, ...] = ()
    nodes: frozenset[str] = frozenset()


def grow(outcome: Outcome, setting: Setting, templates: Sequence[Template]) -> Grown:
    """Add nodes until none would help a pod that is left; then take away what is not needed."""
    search = _Search(outcome, setting, templates)
    counts = [0] * len(templates)
    while search.left(counts):
        better = search.cheapest(counts)
        if better is None:
            break
        counts = better
    return search.grown(search.trimmed(counts))


class _Search:
    """Trials by how many nodes of each template there are."""

    def __init__(self, outcome: Outcome, setting: Setting, templates: Sequence[Template]) -> None:
        self._outcome = outcome
        self._setting = setting
        self._templates = templates
        self._tried: dict[tuple[int, ...], Outcome] = {(0,) * len(templates): outcome}

    def left(self, counts: Sequence[int]) -> list[Obj]:
        """Pods that fit nowhere, with so many nodes."""
        found = self._try(counts)
        return [pod for pod in found.snapshot.list(PODS) if _is_left(pod, found)]

    def cheapest(self, counts: Sequence[int]) -> list[int] | None:
        """More of one template, of that which helps the pods for the least cost each; None when none helps."""
        found: list[tuple[float, float, int, list[int]]] = []
        left = self.left(counts)
        for number, template in enumerate(self._templates):
            helped = self._helped(counts, left, number)
            count = self._fewest(counts, number, len(left) - helped, helped) if helped else 0
            if count:
                more = [*counts]
                more[number] += count
                gain = len(left) - len(self.left(more))
                cost = template.cost * count
                found.append((cost / gain, cost, number, more))
        return min(found)[3] if found else None

    def _helped(self, counts: Sequence[int], left: Sequence[Obj], number: int) -> int:
        """How many pods nodes like this could take at all: those that go to one when it is theirs alone, and those
        that go together (gangs, pods that want each other's company). The others are a lost cause here."""
        template = self._templates[number]
        verdicts: dict[str, bool] = {}
        for pod in left:
            key = _alike(pod)
            if key not in verdicts:
                verdicts[key] = self._fits_alone(pod, template)
        alone = sum(verdicts[_alike(pod)] for pod in left)
        if alone == len(left):
            return alone
        many = [*counts]
        many[number] += min(template.most - counts[number], len(left))
        still = {pod["metadata"]["uid"] for pod in self.left(many)}
        return sum(verdicts[_alike(pod)] or pod["metadata"]["uid"] not in still for pod in left)

    def _fits_alone(self, pod: Obj, template: Template) -> bool:
        trial = self._outcome.snapshot.copy()
        for other in list(trial.list(PODS)):
            if waits(other):
                trial.remove(PODS, other["metadata"]["name"], other["metadata"]["namespace"])
        trial.put(PODS, pod)
        _put_nodes(trial, template, 1)
        after = Stage(trial, self._setting).until_quiet().snapshot
        found = after.get(PODS, pod["metadata"]["name"], pod["metadata"]["namespace"])
        return found is not None and bool(found["spec"].get("nodeName"))

    def _fewest(self, counts: Sequence[int], number: int, hopeless: int, helped: int) -> int:
        """How many more of a template leave only those that it cannot help; if that is never reached, as many as
        leave the fewest. 0: none helps."""
        most = min(self._templates[number].most - counts[number], helped)

        def left(count: int) -> int:
            trial = [*counts]
            trial[number] += count
            return len(self.left(trial))

        before, count = left(0), 1
        while count < most and left(count) > hopeless:
            count *= 2
        count = min(count, most)
        if count < 1 or left(count) >= before:
            return 0
        return _least(lambda some: left(some) <= left(count), count)

    def trimmed(self, counts: Sequence[int]) -> list[int]:
        """Without nodes that later ones have made needless, the dearest first."""
        least, left = [*counts], len(self.left(counts))
        for number in sorted(range(len(least)), key=lambda number: -self._templates[number].cost):
            while least[number]:
                fewer = [*least]
                fewer[number] -= 1
                if len(self.left(fewer)) > left:
                    break
                least = fewer
        return least

    def grown(self, counts: Sequence[int]) -> Grown:
        found = self._try(counts)
        added = []
        for template, count in zip(self._templates, counts, strict=True):
            if count:
                names = tuple(node["metadata"]["name"] for node in template.nodes(count, self._is_taken))
                added.append(Added(template.name, count, template.cost * count, names))
        nodes = frozenset(name for each in added for name in each.nodes)
        return Grown(found, tuple(added), found.deleted if found is not self._outcome else (), nodes)

    def _is_taken(self, name: str) -> bool:
        return self._outcome.snapshot.get(NODES, name) is not None

    def _try(self, counts: Sequence[int]) -> Outcome:
        key = tuple(counts)
        if key not in self._tried:
            trial = self._outcome.snapshot.copy()
            for template, count in zip(self._templates, counts, strict=True):
                _put_nodes(trial, template, count)
            self._tried[key] = Stage(trial, self._setting).until_quiet()
        return self._tried[key]


def _least(holds: Callable[[int], bool], most: int) -> int:
    """The smallest number from 1 to `most` that holds, when those above it do; `most` does."""
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _put_nodes(trial: Snapshot, template: Template, count: int) -> None:
    """New nodes, and on each the daemons that run on nodes like it."""
    world = simulated_world(0)
    daemon_sets = list(trial.list(DAEMON_SETS))
    for node in template.nodes(count, lambda name: trial.get(NODES, name) is not None):
        _put_daemons(trial, trial.put(NODES, kinds().complete(node)), daemon_sets, world)


def _put_daemons(trial: Snapshot, node: Obj, daemon_sets: Iterable[Obj], world: World) -> None:
    for ds in daemon_sets:
        if daemonset_rules.fit(ds, node).runs:
            pod = kinds().complete(daemon(ds, node))
            pod["spec"]["nodeName"] = node["metadata"]["name"]
            pod["metadata"] |= {
                "name": f"{pod['metadata']['generateName']}{world.suffix()}",
                "uid": world.uid(),
            }
            trial.put(PODS, pod)


def _is_left(pod: Obj, outcome: Outcome) -> bool:
    """It waits, and for nothing but room."""
    if pod["spec"].get("schedulerName", "") not in outcome.names:
        return False
    return waits(pod) and pod["metadata"]["uid"] not in outcome.gates


def waits(pod: Obj) -> bool:
    """It has no node, and may get one."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return not (ended or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"))


def _alike(pod: Obj) -> str:
    """The same for pods that the scheduler cannot tell apart, but by name."""
    meta = pod["metadata"]
    return msgspec.json.encode(
        [meta["namespace"], meta.get("labels"), pod["spec"]], order="deterministic"
    ).decode()
