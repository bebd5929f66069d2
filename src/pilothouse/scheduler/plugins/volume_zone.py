"""VolumeZone: a volume with labels for zone or region is used there only
(pkg/scheduler/framework/plugins/volumezone). Nodes without any such label are taken to be everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.api.volumes import class_of
from pilothouse.scheduler.framework import (
    Cycle,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Rejection,
)
from pilothouse.scheduler.hints import CLAIM, NODE, STORAGE_CLASS, VOLUME, Action, Event, Registration
from pilothouse.scheduler.node_table import Mask, NodeTable
from pilothouse.scheduler.plugins.volume_hints import named_claims, names_claim, not_found
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.storage import Storage

REASON = "node(s) had no available volume zone"
ZONE, REGION = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
_NEWER: Mapping[str, str] = {
    "failure-domain.beta.kubernetes.io/zone": ZONE,
    "failure-domain.beta.kubernetes.io/region": REGION,
}
KEYS = (*_NEWER, ZONE, REGION)
_SEPARATOR = "__"


class Place(NamedTuple):
    """One label of a volume: the values that a node may have."""

    key: str
    values: frozenset[str]


class VolumeZone(PreFilterPlugin, FilterPlugin):
    name = "VolumeZone"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(STORAGE_CLASS, Action.ADD, _waits),
            Registration(NODE, Action.ADD | Action.UPDATE_NODE_LABEL),
            Registration(CLAIM, Action.ADD | Action.UPDATE, names_claim),
            Registration(VOLUME, Action.ADD | Action.UPDATE, _has_moved),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        if not cycle.info.volumes.claims:
            return None
        places: list[Place] = []
        for key in named_claims(cycle.info):
            found = self._places(key)
            if isinstance(found, str):
                return PreFilterResult(refusal=found)
            places += found
        cycle.state[self.name] = places
        return None

    def _places(self, key: str) -> list[Place] | str:
        """Where a claim's volume is; or why that is not known."""
        claim = self._storage.claims.get(key)
        if claim is None:
            return not_found(key)
        name = claim["spec"].get("volumeName")
        if not name:
            return self._unbound(claim)
        volume = self._storage.volumes.get(name)
        return f'persistentvolume "{name}" not found' if volume is None else places(volume)

    def _unbound(self, claim: Obj) -> list[Place] | str:
        """A volume that is chosen with the node has no place yet."""
        name = class_of(claim)
        if not name:
            return "PersistentVolumeClaim had no pv name and storageClass name"
        storage_class = self._storage.classes.get(name)
        if storage_class is None:
            return f'storageclass.storage.k8s.io "{name}" not found'
        return [] if self._storage.waits_for_consumer(claim) else "PersistentVolume had no name"

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        wanted: list[Place] = cycle.state.get(self.name) or []
        if not wanted:
            return ()
        out = cycle.table.empty_mask()
        for place in wanted:
            out |= ~_inside(cycle.table, place)
        return (Rejection(out & _placed(cycle.table), REASON, resolvable=False),)


def places(volume: Obj) -> list[Place]:
    """A label may name several zones, with two underscores between them; one with an empty part is ignored."""
    labels = volume["metadata"].get("labels") or {}
    found = []
    for key in KEYS:
        if key in labels:
            parts = [part.strip() for part in labels[key].split(_SEPARATOR)]
            if all(parts):
                found.append(Place(key, frozenset(parts)))
    return found


def _placed(table: NodeTable) -> Mask:
    """Nodes that say where they are."""
    mask = table.empty_mask()
    for key in KEYS:
        mask |= table.labels(key).codes >= 0
    return mask


def _inside(table: NodeTable, place: Place) -> Mask:
    """A label of old is looked up under its newer name where a node has not the old one."""
    inside = _one_of(table, place.key, place.values)
    newer = _NEWER.get(place.key)
    if newer is not None:
        inside |= (table.labels(place.key).codes < 0) & _one_of(table, newer, place.values)
    return inside


def _one_of(table: NodeTable, key: str, values: Iterable[str]) -> Mask:
    labels = table.labels(key)
    numbers = [number for value in values if (number := labels.number(value)) is not None]
    return np.isin(labels.codes, numbers)


def fits(wanted: Iterable[Place], node: Obj) -> bool:
    """The plain rule for one node."""
    labels = node["metadata"].get("labels") or {}
    if not any(key in labels for key in KEYS):
        return True
    return all(labels.get(p.key, labels.get(_NEWER.get(p.key, p.key))) in p.values for p in wanted)


def _waits(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    return bool(event.new.get("volumeBindingMode") == "WaitForFirstConsumer")


def _has_moved(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    return event.old is None or places(event.old) != places(event.new)
