"""The cluster as NumPy columns: one row per node, kept up to date pod by pod (the scheduler's snapshot).

Rows are reused. CPU counts in millicores, memory and other sizes in bytes, everything else in units, all as
64-bit integers as upstream has them. What is no number is encoded:

    labels      per key that somebody asks for, the number of the node's value (-1: it has none)
    taints      the number of the node's set of taints: nodes have few different ones, so that a rule about taints
                looks at each set once instead of at each node
    ports       per protocol, number and address, how many pods take it
    images      per image that somebody asks for, which nodes have it
    pods        per selection that somebody asks for, how many of a node's pods it holds; per affinity term, how many of
                a node's pods carry it; per kind of neighbour that pods declare to be, how many of a node's pods are
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from pilothouse.api import taints
from pilothouse.api.pod_requests import ANY_ADDRESS, Port, amounts
from pilothouse.api.types import Obj
from pilothouse.scheduler.columns import Columns
from pilothouse.scheduler.images import Image, Images
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.pod_terms import Scope, Term, Together
from pilothouse.scheduler.pressure import Declared
from pilothouse.scheduler.row_cache import RowCache
from pilothouse.scheduler.volume_use import NONE, VolumeUse

Column = NDArray[np.int64]
Mask = NDArray[np.bool_]
Codes = NDArray[np.int32]

PODS = "pods"
ABSENT = -1
_ROWS_MIN = 64
_SELECTIONS_MAX = 256
_NO_LABELS: frozenset[tuple[str, str]] = frozenset()

Selection = Scope | Together


class _Alike:
    """Pods that no selection tells apart: how many are on each row, and the columns that they count in."""

    __slots__ = ("columns", "meta", "namespace", "rows", "version")

    def __init__(self, namespace: str, meta: Obj) -> None:
        self.namespace = namespace
        self.meta = meta
        """Of one of them."""
        self.rows: dict[int, int] = {}
        self.columns: list[Column] = []
        self.version = -1


class Labels:
    """One label key: the distinct values, and for every row which of them its node has."""

    __slots__ = ("_numbers", "codes", "values")

    def __init__(self, size: int) -> None:
        self.codes: Codes = np.full(size, ABSENT, dtype=np.int32)
        self.values: list[str] = []
        self._numbers: dict[str, int] = {}

    def set(self, row: int, value: str | None) -> None:
        self.codes[row] = ABSENT if value is None else self._number(value)

    def _number(self, value: str) -> int:
        found = self._numbers.get(value)
        if found is None:
            found = self._numbers[value] = len(self.values)
            self.values.append(value)
        return found

    def number(self, value: str) -> int | None:
        """None for a value that no node has ever had."""
        return self._numbers.get(value)

    def grow(self, size: int) -> None:
        more = np.full(size - len(self.codes), ABSENT, dtype=np.int32)
        self.codes = np.concatenate([self.codes, more])


class NodeTable:
    """`nodes[row]` is the node object, or None for a free row; `valid` masks the rows in use."""

    def __init__(self) -> None:
        self.nodes: list[Obj | None] = []
        self.valid: Mask = np.zeros(0, dtype=bool)
        self.unschedulable: Mask = np.zeros(0, dtype=bool)
        self.cordoned = 0
        """How many are."""
        self.allocatable = Columns(np.int64)
        self.requested = Columns(np.int64)
        self.scored = Columns(np.int64)
        """As `requested`, with a little for containers that ask for nothing."""
        self.taint_sets: list[tuple[Obj, ...]] = [()]
        self.taints: Codes = np.zeros(0, dtype=np.int32)
        """Per row the number of its set in `taint_sets`."""
        self._taint_numbers: dict[tuple[tuple[str, str, str], ...], int] = {(): 0}
        self._labels: dict[str, Labels] = {}
        self._images = Images()
        self._ports: dict[tuple[str, int], dict[str, Column]] = {}
        self.carriers: dict[Term, Column] = {}
        """Per term that any pod carries, how many pods on each row do."""
        self.declared: dict[Declared, Column] = {}
        """Per kind of neighbour that pods declare to be, how many pods on each row are."""
        self._selections: OrderedDict[Selection, Column] = OrderedDict()
        """Counted on first use, kept up to date since; the least recently used go."""
        self._selections_version = 0
        """Changes when a selection comes or goes, or its column is another."""
        self._alike: dict[tuple[str, bool, frozenset[tuple[str, str]]], _Alike] = {}
        """Pods that every selection holds alike, by namespace, whether they are leaving, and labels: those of one
        template. A new selection asks about each such group once, and a pod knows its selections from its group."""
        self.remembered = RowCache()
        """Columns that rules worked out of rows alone."""
        self.volumes = VolumeUse()
        self.rows_version = 0
        """Changes when a node takes a row, or leaves it."""
        self._rows: dict[str, int] = {}
        self._free: list[int] = []
        self._pods: list[dict[str, PodInfo]] = []
        self._row_of: dict[str, int] = {}
        self._homeless: dict[str, dict[str, PodInfo]] = {}
        """Pods whose node is not known (yet), by its name."""
        self._awaits: dict[str, str] = {}
        """Of each of them, by UID, that name: at a start all pods may come before the nodes."""

    def __len__(self) -> int:
        """How many nodes there are."""
        return len(self._rows)

    @property
    def size(self) -> int:
        """How many rows every column has."""
        return len(self.nodes)

    def row(self, name: str) -> int | None:
        return self._rows.get(name)

    def name(self, row: int) -> str:
        return str(self.node(row)["metadata"]["name"])

    def node(self, row: int) -> Obj:
        node = self.nodes[row]
        assert node is not None, f"row {row} is free"
        return node

    def empty_mask(self) -> Mask:
        return np.zeros(self.size, dtype=bool)

    # -- nodes ------------------------------------------------------------------------------------------

    def put_node(self, node: Obj) -> None:
        """A new node, or a new state of one."""
        name = node["metadata"]["name"]
        row = self._rows.get(name)
        if row is None:
            row = self._rows[name] = self._take_row()
            self.rows_version += 1
        self.remembered.changed(row)
        before = self.nodes[row]
        self._images.put(row, before, node)
        self.nodes[row] = node
        self.valid[row] = True
        self._cordon(row, bool((node.get("spec") or {}).get("unschedulable")))
        self.taints[row] = self._taint_number(taints.of_node(node))
        # Not all columns: each node may have devices that go by a name of their own.
        for resource in () if before is None else _room(before):
            self.allocatable[resource][row] = 0
        for resource, value in _room(node).items():
            self.allocatable[resource][row] = value
        labels = node["metadata"].get("labels") or {}
        for key, column in self._labels.items():
            column.set(row, labels.get(key))
        for info in list(self._homeless.get(name, {}).values()):
            self.put_pod(info)

    def remove_node(self, name: str) -> None:
        """Its pods wait for it to come back."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        self.rows_version += 1
        for info in list(self._pods[row].values()):
            self.remove_pod(info.uid)
            self._without_home(info, name)
        self.remembered.changed(row)
        self.valid[row] = False
        self._cordon(row, False)
        node, self.nodes[row] = self.node(row), None
        self.taints[row] = 0
        for table in (self.allocatable, self.requested, self.scored):
            table.clear(row)
        for labels in self._labels.values():
            labels.set(row, None)
        self._images.remove(row, node)
        self._free.append(row)

    def _cordon(self, row: int, cordoned: bool) -> None:
        self.cordoned += cordoned - bool(self.unschedulable[row])
        self.unschedulable[row] = cordoned

    def _taint_number(self, found: list[Obj]) -> int:
        if not found:
            return 0
        key = tuple((t["key"], t.get("value", ""), t.get("effect", "")) for t in found)
        number = self._taint_numbers.get(key)
        if number is None:
            number = self._taint_numbers[key] = len(self.taint_sets)
            self.taint_sets.append(tuple(found))
        return number

    def _take_row(self) -> int:
        if not self._free:
            self._grow(max(_ROWS_MIN, self.size * 2))
        return self._free.pop()

    def _grow(self, size: int) -> None:
        old = self.size
        self.remembered.resized(size)
        self.nodes += [None] * (size - old)
        self._pods += [{} for _ in range(size - old)]
        self._free = list(range(size - 1, old - 1, -1))
        self.valid = _grown(self.valid, size)
        self.unschedulable = _grown(self.unschedulable, size)
        self.taints = np.concatenate([self.taints, np.zeros(size - old, dtype=np.int32)])
        for table in (self.allocatable, self.requested, self.scored):
            table.grow(size)
        for labels in self._labels.values():
            labels.grow(size)
        self._images.grow(size)
        self.volumes.grow(size)
        more = np.zeros(size - old, dtype=np.int64)
        for addresses in self._ports.values():
            for address, column in addresses.items():
                addresses[address] = np.concatenate([column, more])
        for term, column in self.carriers.items():
            self.carriers[term] = np.concatenate([column, more])
        for declared, column in self.declared.items():
            self.declared[declared] = np.concatenate([column, more])
        for selection, column in self._selections.items():
            self._selections[selection] = np.concatenate([column, more])
        self._selections_version += 1

    # -- labels and ports -------------------------------------------------------------------------------

    def labels(self, key: str) -> Labels:
        """A label's column; kept from the first question on."""
        found = self._labels.get(key)
        if found is None:
            found = self._labels[key] = Labels(self.size)
            for row in self._rows.values():
                found.set(row, (self.node(row)["metadata"].get("labels") or {}).get(key))
        return found

    @property
    def knows_images(self) -> bool:
        """Whether any node reports one."""
        return bool(self._images.reporting)

    def image(self, name: str) -> Image:
        return self._images.of(name, self.nodes)

    def port_taken(self, port: Port) -> Mask:
        """The rows where a pod has a port that conflicts with this one."""
        address, protocol, number = port
        addresses = self._ports.get((protocol, number)) or {}
        taken = self.empty_mask()
        for other, column in addresses.items():
            if address == other or ANY_ADDRESS in (address, other):
                taken |= column > 0
        return taken

    def _count_port(self, row: int, port: Port, sign: int) -> None:
        address, protocol, number = port
        addresses = self._ports.setdefault((protocol, number), {})
        column = addresses.get(address)
        if column is None:
            column = addresses[address] = np.zeros(self.size, dtype=np.int64)
        column[row] += sign
        if sign < 0 and not column.any():
            del addresses[address]
            if not addresses:
                del self._ports[protocol, number]

    # -- other pods -------------------------------------------------------------------------------------

    def selected(self, selection: Selection) -> Column:
        """How many pods of each row a selection holds."""
        found = self._selections.get(selection)
        if found is not None:
            self._selections.move_to_end(selection)
            return found
        found = self._selections[selection] = np.zeros(self.size, dtype=np.int64)
        for alike in self._alike.values():
            if selection.holds(alike.namespace, alike.meta):
                for row, count in alike.rows.items():
                    found[row] += count
        if len(self._selections) > _SELECTIONS_MAX:
            self._selections.popitem(last=False)
        self._selections_version += 1
        return found

    def _count_term(self, row: int, term: Term, sign: int) -> None:
        column = self.carriers.get(term)
        if column is None:
            column = self.carriers[term] = np.zeros(self.size, dtype=np.int64)
        column[row] += sign
        if sign < 0 and not column.any():
            del self.carriers[term]

    def _count_declared(self, row: int, declared: Declared, sign: int) -> None:
        column = self.declared.get(declared)
        if column is None:
            column = self.declared[declared] = np.zeros(self.size, dtype=np.int64)
        column[row] += sign
        if sign < 0 and not column.any():
            del self.declared[declared]

    # -- pods -------------------------------------------------------------------------------------------

    def put_pod(self, info: PodInfo) -> None:
        """A pod that runs, or is taken to run, on its node; replaces what was known of it."""
        row = self._rows.get(info.node)
        at = self._row_of.get(info.uid)
        if at is not None and at == row and _counts_alike(self._pods[at][info.uid], info):
            self._pods[at][info.uid] = info
            return
        self.remove_pod(info.uid)
        if row is None:
            self._without_home(info, info.node)
            return
        self._place(info, row)

    def _place(self, info: PodInfo, row: int) -> None:
        self._row_of[info.uid] = row
        self._pods[row][info.uid] = info
        self._count(row, info, 1)

    def remove_pod(self, uid: str) -> PodInfo | None:
        """What was known of it; None when nothing was."""
        row = self._row_of.pop(uid, None)
        if row is not None:
            info = self._pods[row].pop(uid)
            self._count(row, info, -1)
            return info
        return self._found_home(uid)

    def _without_home(self, info: PodInfo, node: str) -> None:
        self._homeless.setdefault(node, {})[info.uid] = info
        self._awaits[info.uid] = node

    def _found_home(self, uid: str) -> PodInfo | None:
        """No more a pod without a node; None when it was none."""
        node = self._awaits.pop(uid, None)
        if node is None:
            return None
        waiting = self._homeless[node]
        info = waiting.pop(uid)
        if not waiting:
            del self._homeless[node]
        return info

    def pod(self, uid: str) -> PodInfo | None:
        """A pod on a known node."""
        row = self._row_of.get(uid)
        return None if row is None else self._pods[row][uid]

    @property
    def pod_count(self) -> int:
        """Pods on known nodes."""
        return len(self._row_of)

    def pods_on(self, row: int) -> list[PodInfo]:
        return list(self._pods[row].values())

    @contextmanager
    def without(self, infos: Iterable[PodInfo]) -> Iterator[None]:
        """As if these pods were gone, until the block ends. Others may be put back inside it."""
        taken = [info for info in infos if info.uid in self._row_of]
        with self._supposing():
            for info in taken:
                self.remove_pod(info.uid)
            try:
                yield
            finally:
                for info in taken:
                    if info.uid not in self._row_of:
                        self.put_pod(info)

    @contextmanager
    def beside(self, infos: Iterable[PodInfo]) -> Iterator[None]:
        """As if these pods were on their nodes, until the block ends."""
        added = [info for info in infos if info.uid not in self._row_of and info.node in self._rows]
        with self._supposing():
            for info in added:
                self.put_pod(info)
            try:
                yield
            finally:
                for info in added:
                    self.remove_pod(info.uid)

    @contextmanager
    def _supposing(self) -> Iterator[None]:
        """What is remembered is put aside: after the block it is true again, as the rows are what they were."""
        aside, self.remembered = self.remembered, RowCache(self.size)
        try:
            yield
        finally:
            self.remembered = aside

    def _count(self, row: int, info: PodInfo, sign: int) -> None:
        self.remembered.changed(row)
        requested, scored = self.requested, self.scored
        for name, value in info.requests.items():
            requested[name][row] += sign * value
        requested[PODS][row] += sign
        for name, value in info.scored.items():
            scored[name][row] += sign * value
        for port in info.ports:
            self._count_port(row, port, sign)
        for term in info.terms:
            self._count_term(row, term, sign)
        if info.declared is not None:
            self._count_declared(row, info.declared, sign)
        if info.volumes is not NONE:
            self.volumes.count(row, info.volumes, sign)
        self._count_alike(row, info, sign)

    def _count_alike(self, row: int, info: PodInfo, sign: int) -> None:
        meta = info.pod["metadata"]
        labels = meta.get("labels")
        namespace, leaving = info.namespace, bool(meta.get("deletionTimestamp"))
        key = (namespace, leaving, frozenset(labels.items()) if labels else _NO_LABELS)
        alike = self._alike.get(key)
        if alike is None:
            alike = self._alike[key] = _Alike(namespace, meta)
        count = alike.rows.get(row, 0) + sign
        if count:
            alike.rows[row] = count
        else:
            del alike.rows[row]
            if not alike.rows:
                del self._alike[key]
        if alike.version != self._selections_version:
            alike.version = self._selections_version
            alike.columns = [
                column for selection, column in self._selections.items() if selection.holds(namespace, meta)
            ]
        for column in alike.columns:
            column[row] += sign


def _room(node: Obj) -> dict[str, int]:
    return amounts((node.get("status") or {}).get("allocatable"))


def _counts_alike(old: PodInfo, new: PodInfo) -> bool:
    """Whether a pod's new state changes no number: it was assumed to be where it is, or only its status is new."""
    if old.requests is not new.requests and old.requests != new.requests:
        return False
    if old.scored is not new.scored and old.scored != new.scored:
        return False
    before, after = old.pod["metadata"], new.pod["metadata"]
    return (
        old.ports == new.ports
        and old.terms == new.terms
        and old.declared == new.declared
        and before.get("labels") == after.get("labels")
        and before.get("deletionTimestamp") == after.get("deletionTimestamp")
    )


def _grown(mask: Mask, size: int) -> Mask:
    return np.concatenate([mask, np.zeros(size - len(mask), dtype=bool)])
