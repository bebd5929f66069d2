"""Interference: keeps pods that disturb each other on different nodes (new here; the rules stand in
`scheduler.pressure` and `scheduler.slowdowns`).

The cost of a node is the slowdown that the new pod would suffer from each pod there, plus the one that it would do to
each of them, in thousandths. For a pair of classes that was measured it is the learned one, else the declared one.
The cheapest node scores 100, the dearest 0. Where no pod declares anything the plugin is left out.

Measured slowdowns come in by the annotation scheduling.pilothouse.dev/slowdown of running pods, which an agent keeps
up to date (1.35: the same work takes 1.35 times as long as alone), or from a program that embeds the scheduler, by
`slowdowns.observe`.

Arguments: `capacity` by kind for nodes without a label, `learningRate`, and `slowdowns`, what is known beforehand:
[{class: web, beside: batch, slowdown: 1.35}].
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler
from pilothouse.scheduler.annotated import DOMAIN, InvalidAnnotation, annotations_of, unknown_args
from pilothouse.scheduler.framework import Cycle, PreScorePlugin, Rows, ScorePlugin, normalized
from pilothouse.scheduler.gangs import has_ended
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.node_table import Column, NodeTable
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.pressure import (
    CAPACITIES,
    CAPACITY,
    CLASS,
    CPU,
    KINDS,
    PAIR_MAX,
    Declared,
    amount,
    read,
    suffering,
)
from pilothouse.scheduler.slowdowns import RATE, Slowdowns
from pilothouse.scheduler.teller import INVALID, Teller

log = logging.getLogger(__name__)

SLOWDOWN = f"{DOMAIN}/slowdown"


class Interference(PreScorePlugin, ScorePlugin):
    name = "Interference"

    def __init__(self, args: Obj, handle: Handle) -> None:
        """ValueError for arguments that it does not have, or that make no sense."""
        unknown_args(args, ("capacity", "learningRate", "slowdowns"))
        self._capacities = _capacities(args.get("capacity") or {})
        self.slowdowns = _slowdowns(args)
        self._teller = Teller(handle)
        handle.informers.informer(PODS).add_handler(_Watcher(self.slowdowns))

    def pre_score(self, cycle: Cycle, rows: Rows) -> bool:
        own, table = cycle.info.declared, cycle.table
        if own is None:
            self._tell(cycle.info)
            return False
        if not table.declared:
            return False
        costs = self.costs(own, table)[rows]
        cycle.state[self.name] = costs
        return bool(costs.any())

    def score(self, cycle: Cycle, rows: Rows) -> Column:
        costs: Column = cycle.state[self.name]
        return normalized(costs, reverse=True)

    def costs(self, own: Declared, table: NodeTable) -> Column:
        """For each row, in thousandths."""
        capacity = [capacity_column(table, kind, self._capacities) for kind in KINDS]
        total: Column = np.zeros(table.size, dtype=np.int64)
        for other, count in table.declared.items():
            total += count * (self._by(own, other, capacity) + self._by(other, own, capacity))
        return total

    def _by(self, one: Declared, other: Declared, capacity: Sequence[Column]) -> Column | int:
        """How much the one suffers from the other on each row."""
        known = self.slowdowns.estimate(one.class_name, other.class_name)
        if known is not None:
            return known
        lost: Column = np.zeros(len(capacity[0]), dtype=np.int64)
        for sensitivity, pressure, column in zip(one.sensitivity, other.pressure, capacity, strict=True):
            if sensitivity and pressure:
                lost += sensitivity * pressure // column
        clipped: Column = np.minimum(lost, PAIR_MAX)
        return clipped

    def _tell(self, info: PodInfo) -> None:
        """Of annotations that could not be read, which is why nothing is declared."""
        if info.pod["metadata"].get("annotations"):
            try:
                read(annotations_of(info.pod))
            except InvalidAnnotation as error:
                self._teller.tell(info, INVALID, str(error))


def capacity_column(table: NodeTable, kind: str, defaults: dict[str, int]) -> Column:
    """What every node has of a kind: by label, else the default; of CPU what it has to allot. At least 1."""
    labels = table.labels(CAPACITY + kind)
    read_once = np.array([*(_label_amount(kind, value) for value in labels.values), 0], dtype=np.int64)
    found: Column = read_once[labels.codes]
    rest = table.allocatable[CPU] if kind == CPU and CPU not in defaults else defaults[kind]
    filled: Column = np.maximum(np.where(found > 0, found, rest), 1)
    return filled


def _label_amount(kind: str, text: str) -> int:
    """0, which is no capacity, for what cannot be read."""
    try:
        return amount(kind, text)
    except ValueError:
        return 0


def _capacities(given: Obj) -> dict[str, int]:
    found = {kind: amount(kind, text) for kind, text in CAPACITIES.items()}
    for kind, text in given.items():
        if kind not in KINDS:
            raise ValueError(f'unknown kind "{kind}" of capacity: use {", ".join(KINDS)}')
        try:
            found[kind] = amount(kind, str(text))
        except ValueError as error:
            raise ValueError(f"capacity of {kind}: {error}") from None
    return found


def _slowdowns(args: Obj) -> Slowdowns:
    rate = args.get("learningRate", RATE)
    if not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise ValueError(f"learningRate must be more than 0 and at most 1, not {rate}")
    made = Slowdowns(rate)
    for entry in args.get("slowdowns") or ():
        try:
            share = float(entry["slowdown"]) - 1.0
            made.set(entry["class"], entry["beside"], max(share, 0.0))
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"slowdowns: an entry is {{class: web, beside: batch, slowdown: 1.35}}, not {entry}"
            ) from None
    return made


class _Watcher(Handler):
    """Keeps who runs beside whom, of the pods that say of which class they are, and learns from what is measured."""

    def __init__(self, slowdowns: Slowdowns) -> None:
        self._slowdowns = slowdowns
        self._on: dict[str, dict[str, str]] = {}
        """By node and UID: the class."""

    def on_add(self, obj: Obj) -> None:
        """What is measured already is not learned from: not all its neighbours may be known yet."""
        self._note(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._note(new)
        measured = annotations_of(new).get(SLOWDOWN)
        if measured and measured != annotations_of(old).get(SLOWDOWN):
            self._learn(new, measured)

    def on_delete(self, obj: Obj) -> None:
        node = obj["spec"].get("nodeName")
        if node in self._on:
            self._on[node].pop(obj["metadata"]["uid"], None)
            if not self._on[node]:
                del self._on[node]

    def _note(self, pod: Obj) -> None:
        class_name = annotations_of(pod).get(CLASS)
        node = pod["spec"].get("nodeName")
        if not node or not (class_name or node in self._on):
            return
        if class_name and not has_ended(pod):
            self._on.setdefault(node, {})[pod["metadata"]["uid"]] = class_name
        else:
            self.on_delete(pod)

    def _learn(self, pod: Obj, measured: str) -> None:
        class_name = annotations_of(pod).get(CLASS)
        there = self._on.get(pod["spec"].get("nodeName", ""), {})
        try:
            slowdown = float(measured)
        except ValueError:
            slowdown = 0.0
        if not 0 < slowdown < math.inf:
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            log.warning(
                'annotation %s of %s must be a number such as 1.35, not "%s"', SLOWDOWN, name, measured
            )
        elif class_name:
            uid = pod["metadata"]["uid"]
            beside = Counter(name for other, name in there.items() if other != uid)
            self._slowdowns.observe(class_name, beside, slowdown)


def cost(
    info: PodInfo, node: Obj, there: Iterable[PodInfo], slowdowns: Slowdowns, capacities: dict[str, int]
) -> int:
    """The plain rule: the cost of one node for one pod, neighbour by neighbour."""
    own = info.declared
    assert own is not None
    capacity = tuple(_capacity(node, kind, capacities) for kind in KINDS)
    total = 0
    for other in (p.declared for p in there):
        if other is not None:
            for one, beside in ((own, other), (other, own)):
                known = slowdowns.estimate(one.class_name, beside.class_name)
                total += suffering(one, beside, capacity) if known is None else known
    return total


def _capacity(node: Obj, kind: str, capacities: dict[str, int]) -> int:
    text = (node["metadata"].get("labels") or {}).get(CAPACITY + kind)
    found = 0 if text is None else _label_amount(kind, text)
    if found:
        return found
    if kind == CPU and CPU not in capacities:
        given = ((node.get("status") or {}).get("allocatable") or {}).get("cpu", "0")
        return max(amount(CPU, given), 1)
    return max(capacities[kind], 1)
