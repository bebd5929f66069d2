"""Which of a pod's claims are bound, and what could be done on a node for those that wait for one
(pkg/scheduler/framework/plugins/volumebinding/binder.go, KEP-490).

    claim ── bound ───────────────▶ its volume must reach the node
       └──── waits for a pod ─────▶ the smallest free volume that reaches the node, or else a new one from its class

Everything is asked twice: of all nodes at once (`Search`), and of the one that was chosen (`on_node`), which is the
plain rule and says what is to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pilothouse.api import volumes
from pilothouse.api.types import Obj
from pilothouse.api.volumes import NO_PROVISIONER, SELECTED_NODE, annotations_of, asked
from pilothouse.client.informer import key_of
from pilothouse.scheduler import selection
from pilothouse.scheduler.framework import Rows
from pilothouse.scheduler.free_volumes import Finder
from pilothouse.scheduler.node_table import Codes, Mask, NodeTable
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.shelves import Shelf, only_requirement
from pilothouse.scheduler.storage import Storage

NODE_CONFLICT = "node(s) didn't match PersistentVolume's node affinity"
NOTHING_TO_BIND = "node(s) didn't find available persistent volumes to bind"
NO_SPACE = "node(s) did not have enough free storage"
NO_VOLUME = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
UNBOUND = "pod has unbound immediate PersistentVolumeClaims"


class Claims(NamedTuple):
    """A pod's claims. `waiting` ones are bound when the pod's node is known; smaller ones go first."""

    bound: Sequence[Obj]
    waiting: Sequence[Obj]


def sorted_out(info: PodInfo, storage: Storage) -> Claims | str:
    """A pod's claims; or why no node will do for them."""
    bound: list[Obj] = []
    waiting: list[Obj] = []
    immediate = False
    for name, is_ephemeral in dict(volumes.claim_names(info.pod)).items():
        claim = storage.claims.get(f"{info.namespace}/{name}")
        wrong = _wrong(info, name, claim, is_ephemeral)
        if wrong or claim is None:
            return wrong
        if volumes.is_fully_bound(claim):
            bound.append(claim)
        elif storage.waits_for_consumer(claim) and not claim["spec"].get("volumeName"):
            waiting.append(claim)
        else:
            immediate = True
    if immediate:
        return UNBOUND
    return Claims(bound, sorted(waiting, key=asked))


def _wrong(info: PodInfo, name: str, claim: Obj | None, is_ephemeral: bool) -> str:
    if claim is None and is_ephemeral:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
    if claim is None:
        return f'persistentvolumeclaim "{name}" not found'
    if (claim.get("status") or {}).get("phase") == "Lost":
        volume = claim["spec"].get("volumeName", "")
        return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{volume}"'
    if claim["metadata"].get("deletionTimestamp"):
        return f'persistentvolumeclaim "{name}" is being deleted'
    return volumes.not_made_for(info.pod, claim) if is_ephemeral else ""


# -- one node ---------------------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What is to be done on one node: volumes for claims, and claims for which new ones are made; or why it cannot be
    the one."""

    bindings: Sequence[tuple[Obj, Obj]] = ()
    """(volume, claim)."""
    provisions: Sequence[Obj] = ()
    reasons: Sequence[str] = ()
    pools: Mapping[str, Obj] = {}
    """The CSIStorageCapacity that has room for a new volume, by the claim's key, where the driver reports any."""


def on_node(claims: Claims, node: Obj, storage: Storage) -> Plan:
    reasons = [reason for reason in (_bound_here(claims.bound, node, storage),) if reason]
    chosen = [annotations_of(claim).get(SELECTED_NODE) for claim in claims.waiting]
    if any(name is not None and name != node["metadata"]["name"] for name in chosen):
        return Plan(reasons=[*reasons, NOTHING_TO_BIND])
    provisions = [claim for claim, name in zip(claims.waiting, chosen, strict=True) if name is not None]
    rest = [claim for claim, name in zip(claims.waiting, chosen, strict=True) if name is None]
    bindings: list[tuple[Obj, Obj]] = []
    for claim, volume in zip(rest, _matched(_wishes(rest, storage), node), strict=True):
        if volume is None:
            provisions.append(claim)
        else:
            bindings.append((volume, claim))
    pools: dict[str, Obj] = {}
    for claim in provisions:
        problem, pool = _provision(claim, node, storage)
        if problem:
            reasons.append(problem)
            break
        if pool is not None:
            pools[key_of(claim)] = pool
    return Plan(bindings, provisions, reasons, pools)


class _Wish(NamedTuple):
    """One claim's: the volume that is reserved for it, or where to look for the smallest that will do."""

    kept: Obj | None
    finder: Finder


def _wishes(claims: Iterable[Obj], storage: Storage) -> list[_Wish]:
    return [_Wish(storage.reserved_for(claim), storage.free.finder(claim)) for claim in claims]


def _matched(wishes: Iterable[_Wish], node: Obj) -> list[Obj | None]:
    """A volume for each claim, no volume for two."""
    found: list[Obj | None] = []
    taken: set[str] = set()
    for kept, finder in wishes:
        volume = finder.smallest(node, taken) if kept is None else kept
        if kept is not None and not volumes.reaches(kept, node):
            volume = None
        if volume is not None:
            taken.add(volume["metadata"]["name"])
        found.append(volume)
    return found


def _bound_here(bound: Iterable[Obj], node: Obj, storage: Storage) -> str:
    for claim in bound:
        volume = storage.volumes.get(claim["spec"]["volumeName"])
        if volume is None:
            return NO_VOLUME
        if not volumes.reaches(volume, node):
            return NODE_CONFLICT
    return ""


def _provision(claim: Obj, node: Obj, storage: Storage) -> tuple[str, Obj | None]:
    """Why no volume can be made for a claim on a node; and the pool that has room for it, where pools count."""
    storage_class = _provisioning_class(claim, storage)
    if storage_class is None or not volumes.allows_topology(storage_class, node):
        return NOTHING_TO_BIND, None
    if not _asks_for_room(claim, storage_class, storage):
        return "", None
    pool = storage.pools.with_room(storage_class["metadata"]["name"], asked(claim), node)
    return ("" if pool is not None else NO_SPACE), pool


def _provisioning_class(claim: Obj, storage: Storage) -> Obj | None:
    """A class that makes volumes."""
    found = storage.storage_class(claim)
    if found is None or found.get("provisioner") in (None, "", NO_PROVISIONER):
        return None
    return found


def _asks_for_room(claim: Obj, storage_class: Obj, storage: Storage) -> bool:
    """Whether the driver says how much room there is, and the claim how much it needs."""
    driver = storage.drivers.get(storage_class["provisioner"])
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return driver is not None and bool(driver["spec"].get("storageCapacity")) and "storage" in requests


# -- all nodes at once ------------------------------------------------------------------------------------


class Search:
    """The same for every row of a table."""

    def __init__(self, table: NodeTable, storage: Storage) -> None:
        self._table = table
        self._storage = storage
        self._reasons: dict[str, Mask] = {}
        self._by_value: dict[str, tuple[Rows, Codes]] = {}
        """By label key, rows in the order of their values, and those values."""

    def reasons(self, claims: Claims, rows: Mask) -> Mapping[str, Mask]:
        """Which rows are out for what."""
        self._reasons = {}
        self._check_bound(claims.bound, rows)
        if claims.waiting:
            self._find(claims.waiting, rows)
        return self._reasons

    def plans(self, claims: Claims, rows: Rows) -> tuple[list[Plan], Rows]:
        """The plans of some rows that will do, and the number of each row's."""
        waiting = claims.waiting
        pools = (self._storage.pools.of_class(volumes.class_of(claim)) for claim in waiting)
        shelves = [*self._shelves(waiting), *(shelf for shelf in pools if shelf is not None)]
        firsts, groups = self._alike(waiting, shelves, rows)
        nodes = (self._table.node(int(rows[first])) for first in firsts)
        return [on_node(claims, node, self._storage) for node in nodes], groups

    def _out(self, reason: str, rows: Mask) -> None:
        if rows.any():
            before = self._reasons.get(reason)
            self._reasons[reason] = rows if before is None else before | rows

    def _check_bound(self, bound: Iterable[Obj], rows: Mask) -> None:
        left = rows
        for claim in bound:
            volume = self._storage.volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                self._out(NO_VOLUME, left)
                return
            reached = self._reached(volumes.on_nodes(volume))
            if reached is not None:
                here = self._table.empty_mask()
                here[reached] = True
                self._out(NODE_CONFLICT, left & ~here)
                left = left & here

    def _reached(self, selector: Obj | None) -> Rows | None:
        """None for everywhere. Local volumes name one value of one label: their rows are looked up."""
        if selector is None:
            return None
        terms = selector.get("nodeSelectorTerms") or []
        only = only_requirement(terms)
        if only is None:
            return np.flatnonzero(selection.any_term(self._table, terms))
        key, values = only
        found = [self._rows_with(key, value) for value in sorted(set(values))]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _rows_with(self, key: str, value: str) -> Rows:
        labels = self._table.labels(key)
        number = labels.number(value)
        if key not in self._by_value:
            order = np.argsort(labels.codes, kind="stable")
            self._by_value[key] = order, labels.codes[order]
        order, codes = self._by_value[key]
        if number is None:
            return order[:0]
        return order[np.searchsorted(codes, number, "left") : np.searchsorted(codes, number, "right")]

    def _find(self, waiting: Iterable[Obj], rows: Mask) -> None:
        chosen = [claim for claim in waiting if SELECTED_NODE in annotations_of(claim)]
        left = rows
        for claim in chosen:
            here = self._table.empty_mask()
            row = self._table.row(annotations_of(claim)[SELECTED_NODE])
            if row is not None:
                here[row] = True
            left = left & here
        self._out(NOTHING_TO_BIND, rows & ~left)
        to_make = [(claim, left) for claim in chosen]
        rest = [claim for claim in waiting if SELECTED_NODE not in annotations_of(claim)]
        missing: dict[str, Mask] = {}
        for claims in _that_compete(rest):
            if len(claims) == 1 and not claims[0]["spec"].get("selector"):
                missing[key_of(claims[0])] = left & ~self._with_volume(claims[0])
            else:
                missing |= self._without_volumes(claims, left)
        to_make += [(claim, missing[key_of(claim)]) for claim in rest]
        for claim, where in to_make:
            left = left & ~self._not_provisioned(claim, where & left)

    def _with_volume(self, claim: Obj) -> Mask:
        """The rows with a volume for a claim."""
        kept = self._storage.reserved_for(claim)
        if kept is not None:
            return self._mask(volumes.on_nodes(kept))
        found = self._table.empty_mask()
        for shelf in self._storage.free.shelves(claim):
            found |= self._having(shelf, asked(claim))
        return found

    def _having(self, shelf: Shelf, size: int) -> Mask:
        """The rows that something of at least this size reaches."""
        found = self._table.empty_mask()
        for key in shelf.labelled:
            found |= shelf.largest(key, self._table.labels(key)) >= size
        for selector, sizes in shelf.elsewhere.values():
            if sizes[-1][0] >= size:
                found |= self._mask(selector)
        return found

    def _without_volumes(self, claims: Sequence[Obj], rows: Mask) -> dict[str, Mask]:
        """For claims that may want the same volumes, by their keys, the rows with none left for each. Rows that the
        same volumes reach are looked at once."""
        at = np.flatnonzero(rows)
        missing = {key_of(claim): self._table.empty_mask() for claim in claims}
        if not len(at):
            return missing
        firsts, groups = self._alike(claims, self._shelves(claims), at)
        wishes = _wishes(claims, self._storage)
        found = [_matched(wishes, self._table.node(int(at[first]))) for first in firsts]
        for number, mask in enumerate(missing.values()):
            lacks = np.array([matched[number] is None for matched in found], dtype=bool)
            mask[at] = lacks[groups]
        return missing

    def _shelves(self, claims: Iterable[Obj]) -> list[Shelf]:
        return [shelf for claim in claims for shelf in self._storage.free.shelves(claim)]

    def _alike(self, claims: Iterable[Obj], shelves: Iterable[Shelf], at: Rows) -> tuple[Rows, Rows]:
        """The same things of these shelves, and the same volumes that are set aside for claims, reach all rows of a
        group. Where in `at` the first row of each group stands, and the number of each row's group."""
        columns = [column[at] for column in self._places(claims, shelves)] or [self._table.valid[at]]
        _, firsts, groups = np.unique(
            np.column_stack(columns), axis=0, return_index=True, return_inverse=True
        )
        return firsts, groups.reshape(-1)

    def _places(self, claims: Iterable[Obj], shelves: Iterable[Shelf]) -> Iterable[Codes | Mask]:
        """Columns that tell apart which places rows are in."""
        distinct = {id(shelf): shelf for shelf in shelves}.values()
        for key in dict.fromkeys(key for shelf in distinct for key in shelf.labelled):
            yield self._table.labels(key).codes
        for shelf in distinct:
            for selector, _ in shelf.elsewhere.values():
                yield self._mask(selector)
        for claim in claims:
            kept = self._storage.reserved_for(claim)
            if kept is not None:
                yield self._mask(volumes.on_nodes(kept))

    def _mask(self, selector: Obj | None) -> Mask:
        reached = self._reached(selector)
        if reached is None:
            return self._table.valid
        here = self._table.empty_mask()
        here[reached] = True
        return here

    def _not_provisioned(self, claim: Obj, rows: Mask) -> Mask:
        if not rows.any():
            return rows
        storage_class = _provisioning_class(claim, self._storage)
        if storage_class is None:
            self._out(NOTHING_TO_BIND, rows)
            return rows
        allowed = self._topology(storage_class)
        out = rows & ~allowed
        self._out(NOTHING_TO_BIND, out)
        if _asks_for_room(claim, storage_class, self._storage):
            shelf = self._storage.pools.of_class(storage_class["metadata"]["name"])
            here = self._having(shelf, asked(claim)) if shelf is not None else self._table.empty_mask()
            full = rows & allowed & ~here
            self._out(NO_SPACE, full)
            out = out | full
        return out

    def _topology(self, storage_class: Obj) -> Mask:
        terms = storage_class.get("allowedTopologies") or ()
        if not terms:
            return self._table.valid
        return selection.any_term(self._table, [_as_node_selector_term(term) for term in terms])


def _that_compete(claims: Iterable[Obj]) -> list[list[Obj]]:
    """Claims of one class may want the same volume."""
    found: dict[str, list[Obj]] = {}
    for claim in claims:
        found.setdefault(volumes.class_of(claim), []).append(claim)
    return list(found.values())


def _as_node_selector_term(term: Obj) -> Obj:
    return {
        "matchExpressions": [
            {"key": e["key"], "operator": "In", "values": e.get("values") or []}
            for e in term.get("matchLabelExpressions") or ()
        ]
    }
