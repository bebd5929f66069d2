"""Which of a pod's claims are bound, and what could be done on a node for those that wait for one
(pkg/scheduler/framework/plugins/volumebinding/binder.go, KEP-490).

    claim ── bound ───────────────▶ its volume must reach the node
       └──── waits for a pod ─────▶ the smallest free volume that reaches the node, or else a new one from its class

Everything is asked twice: of all nodes at once (`Search`), and of the one that was chosen (`on_node`), which is the
plain rule and says what is to be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pilothouse.api import labels, volumes
from pilothouse.api.types import Obj
from pilothouse.api.volumes import NO_PROVISIONER, SELECTED_NODE, annotations_of, asked
from pilothouse.scheduler import selection
from pilothouse.scheduler.framework import Rows
from pilothouse.scheduler.node_table import Codes, Mask, NodeTable
from pilothouse.scheduler.pod_info import PodInfo
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
    for name, is_ephemeral in volumes.claim_names(info.pod):
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


def on_node(claims: Claims, node: Obj, storage: Storage) -> Plan:
    reasons = [reason for reason in (_bound_here(claims.bound, node, storage),) if reason]
    chosen = [annotations_of(claim).get(SELECTED_NODE) for claim in claims.waiting]
    if any(name is not None and name != node["metadata"]["name"] for name in chosen):
        return Plan(reasons=[*reasons, NOTHING_TO_BIND])
    bindings: list[tuple[Obj, Obj]] = []
    provisions = [claim for claim, name in zip(claims.waiting, chosen, strict=True) if name is not None]
    for claim, name in zip(claims.waiting, chosen, strict=True):
        if name is not None:
            continue
        taken = {volume["metadata"]["name"] for volume, _ in bindings}
        volume = volumes.match(claim, storage.candidates(claim), node, taken)
        if volume is None:
            provisions.append(claim)
        else:
            bindings.append((volume, claim))
    problem = next((p for c in provisions if (p := _not_provisioned(c, node, storage))), "")
    if problem:
        reasons.append(problem)
    return Plan(bindings, provisions, reasons)


def _bound_here(bound: Iterable[Obj], node: Obj, storage: Storage) -> str:
    for claim in bound:
        volume = storage.volumes.get(claim["spec"]["volumeName"])
        if volume is None:
            return NO_VOLUME
        if not volumes.reaches(volume, node):
            return NODE_CONFLICT
    return ""


def _not_provisioned(claim: Obj, node: Obj, storage: Storage) -> str:
    """Why no volume can be made for a claim on a node."""
    storage_class = _provisioning_class(claim, storage)
    if storage_class is None or not volumes.allows_topology(storage_class, node):
        return NOTHING_TO_BIND
    pools = _pools(claim, storage_class, storage)
    if pools is None or any(volumes.reached_from(pool, node) for pool in pools):
        return ""
    return NO_SPACE


def _provisioning_class(claim: Obj, storage: Storage) -> Obj | None:
    """A class that makes volumes."""
    found = storage.storage_class(claim)
    if found is None or found.get("provisioner") in (None, "", NO_PROVISIONER):
        return None
    return found


def _pools(claim: Obj, storage_class: Obj, storage: Storage) -> list[Obj] | None:
    """The capacities with enough room for a claim; None where the driver does not report any."""
    driver = storage.drivers.get(storage_class["provisioner"])
    if driver is None or not driver["spec"].get("storageCapacity"):
        return None
    size, name = asked(claim), storage_class["metadata"]["name"]
    return [
        pool
        for pool in storage.capacities.values()
        if pool.get("storageClassName") == name
        and (limit := volumes.volume_limit(pool)) is not None
        and limit >= size
    ]


# -- all nodes at once ------------------------------------------------------------------------------------


class Search:
    """The same for every row of a table: `reasons` says which rows are out for what."""

    def __init__(self, table: NodeTable, rows: Mask, claims: Claims, storage: Storage) -> None:
        self._table = table
        self._storage = storage
        self.reasons: dict[str, Mask] = {}
        self._by_value: dict[str, tuple[Rows, Codes]] = {}
        """By label key, rows in the order of their values, and those values."""
        self._check_bound(claims.bound, rows)
        if claims.waiting:
            self._find(claims.waiting, rows)

    def _out(self, reason: str, rows: Mask) -> None:
        if rows.any():
            before = self.reasons.get(reason)
            self.reasons[reason] = rows if before is None else before | rows

    def _check_bound(self, bound: Iterable[Obj], rows: Mask) -> None:
        left = rows
        for claim in bound:
            volume = self._storage.volumes.get(claim["spec"]["volumeName"])
            if volume is None:
                self._out(NO_VOLUME, left)
                return
            reached = self._reached(volume)
            if reached is not None:
                here = self._table.empty_mask()
                here[reached] = True
                self._out(NODE_CONFLICT, left & ~here)
                left = left & here

    def _reached(self, volume: Obj) -> Rows | None:
        """None for everywhere. Local volumes name one value of one label: their rows are looked up."""
        selector = volumes.on_nodes(volume)
        if selector is None:
            return None
        terms = selector.get("nodeSelectorTerms") or []
        only = _only_requirement(terms)
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
        taken: dict[str, Rows] = {}
        for claim in waiting:
            if SELECTED_NODE not in annotations_of(claim):
                to_make.append((claim, self._without_volume(claim, left, taken)))
        for claim, where in to_make:
            left = left & ~self._not_provisioned(claim, where & left)

    def _without_volume(self, claim: Obj, rows: Mask, taken: dict[str, Rows]) -> Mask:
        """The rows with no volume for a claim; `taken` says where a volume is for another claim of the pod."""
        left = rows.copy()
        missing = int(left.sum())
        for volume in _in_order(claim, self._storage.candidates(claim)):
            if not missing:
                break
            reached, name = self._reached(volume), volume["metadata"]["name"]
            here = np.flatnonzero(left) if reached is None else reached[left[reached]]
            if name in taken:
                here = np.setdiff1d(here, taken[name])
            taken[name] = np.concatenate([taken[name], here]) if name in taken else here
            left[here] = False
            missing -= len(here)
        return left

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
        pools = _pools(claim, storage_class, self._storage)
        if pools is not None:
            full = rows & allowed & ~self._reached_by(pools)
            self._out(NO_SPACE, full)
            out = out | full
        return out

    def _topology(self, storage_class: Obj) -> Mask:
        terms = storage_class.get("allowedTopologies") or ()
        if not terms:
            return self._table.valid
        return selection.any_term(self._table, [_as_node_selector_term(term) for term in terms])

    def _reached_by(self, pools: Iterable[Obj]) -> Mask:
        mask = self._table.empty_mask()
        for pool in pools:
            if pool.get("nodeTopology") is not None:
                mask |= self._labelled(labels.from_label_selector(pool["nodeTopology"]))
        return mask

    def _labelled(self, selector: labels.Selector) -> Mask:
        mask = self._table.valid.copy()
        for requirement in selector.requirements:
            column = self._table.labels(requirement.key)
            verdicts = [requirement.matches({requirement.key: value}) for value in column.values]
            verdicts.append(requirement.matches({}))  # at -1, which is ABSENT
            mask &= np.array(verdicts, dtype=bool)[column.codes]
        return mask


def _in_order(claim: Obj, candidates: Iterable[Obj]) -> list[Obj]:
    """Those that will do, the one that is reserved for the claim first, smaller ones before larger ones."""
    able = [volume for volume in candidates if volumes.may_hold(volume, claim)]
    reserved = [volume for volume in able if volumes.claim_ref(volume)]
    if reserved:
        return reserved[:1]
    return sorted((volume for volume in able if volumes.suits(volume, claim)), key=volumes.order)


def _only_requirement(terms: Sequence[Obj]) -> tuple[str, Sequence[str]] | None:
    """The key and values when a label's being one of some is all that terms ask for."""
    if len(terms) != 1 or terms[0].get("matchFields"):
        return None
    expressions: Sequence[Obj] = terms[0].get("matchExpressions") or ()
    if len(expressions) != 1 or expressions[0]["operator"] != "In":
        return None
    return expressions[0]["key"], expressions[0].get("values") or ()


def _as_node_selector_term(term: Obj) -> Obj:
    return {
        "matchExpressions": [
            {"key": e["key"], "operator": "In", "values": e.get("values") or []}
            for e in term.get("matchLabelExpressions") or ()
        ]
    }
