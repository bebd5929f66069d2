"""NodeVolumeLimits: no more volumes of a CSI driver on a node than its CSINode says it can attach
(pkg/scheduler/framework/plugins/nodevolumelimits, https://kubernetes.io/docs/concepts/storage/storage-limits/).

A volume counts once however many pods of a node have it. Volumes of the in-tree plugins count for the driver that took
over, on nodes that say that it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pilothouse.api.csi_migration import Attachable
from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import (
    ASSIGNED_POD,
    CLAIM,
    CSI_NODE,
    NODE,
    VOLUME,
    Action,
    Event,
    Registration,
)
from pilothouse.scheduler.node_table import Column, Mask, NodeTable
from pilothouse.scheduler.plugins.volume_hints import names_claim
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.storage import Storage
from pilothouse.scheduler.volume_use import PodVolumes, pod_volumes

REASON = "node(s) exceed max volume count"
_NO_LIMIT = np.iinfo(np.int64).max


class NodeVolumeLimits(FilterPlugin):
    name = "NodeVolumeLimits"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stale: set[str] = set()
        storage.listeners.append(self._stale.add)
        self._attached: _AttachedVolumes | None = None
        self._limits: _Limits | None = None

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(CSI_NODE, Action.ADD | Action.UPDATE, _allows_more),
            Registration(ASSIGNED_POD, Action.DELETE, self._frees),
            Registration(CLAIM, Action.ADD, names_claim),
            Registration(NODE, Action.ADD),
            Registration(VOLUME, Action.ADD),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        """Where some node limits how many volumes it takes of a driver that the pod needs."""
        wanted = volumes_of(cycle.info.volumes, self._storage)
        limited = self._limits_for(cycle.table).columns if wanted else {}
        return any(volume.driver in limited for volume in wanted)

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        wanted = volumes_of(cycle.info.volumes, self._storage)
        if not wanted:
            return ()
        table = cycle.table
        limits = self._limits_for(table)
        out = table.empty_mask()
        for driver in {volume.driver for volume in wanted} & limits.columns.keys():
            mine = [volume for volume in wanted if volume.driver == driver]
            attached = self._attached_for(table)
            missing = attached.missing(mine, limits)
            out |= (missing > 0) & (attached.count(driver) + missing > limits.columns[driver])
        return (Rejection(out, REASON),)

    def _limits_for(self, table: NodeTable) -> _Limits:
        made = self._limits
        if made is None or not made.is_current(table, self._storage):
            made = self._limits = _Limits(table, self._storage)
        return made

    def _attached_for(self, table: NodeTable) -> _AttachedVolumes:
        made, stale = self._attached, self._stale
        if made is None or not made.is_of(table, self._storage):
            made = self._attached = _AttachedVolumes(table, self._storage)
        made.refresh(stale)
        stale.clear()
        return made

    def _frees(self, info: PodInfo, event: Event) -> bool:
        """A pod that went had volumes of a driver that this one needs too."""
        assert event.old is not None
        gone = volumes_of(pod_volumes(event.old), self._storage)
        return bool({v.driver for v in gone} & {v.driver for v in volumes_of(info.volumes, self._storage)})


def volumes_of(volumes: PodVolumes, storage: Storage) -> set[Attachable]:
    """Everything that a driver would attach for a pod."""
    claimed = (storage.attached_by(key) for key in volumes.claims)
    return {found for found in (*claimed, *volumes.attached) if found is not None}


def fits(info: PodInfo, node: Obj, others: Iterable[PodInfo], storage: Storage) -> bool:
    """The plain rule for one node and the pods that are there."""
    name = node["metadata"]["name"]
    migrated = storage.migrated(name)
    there = {v[:2] for other in others for v in _counted(other, storage, migrated)}
    new = {v[:2] for v in _counted(info, storage, migrated)} - there
    for driver, limits in storage.limits().items():
        more = sum(v[0] == driver for v in new)
        if more and more + sum(v[0] == driver for v in there) > limits.get(name, _NO_LIMIT):
            return False
    return True


def _counted(info: PodInfo, storage: Storage, migrated: frozenset[str]) -> Iterable[Attachable]:
    for volume in volumes_of(info.volumes, storage):
        if not volume.plugin or volume.plugin in migrated:
            yield volume


class _Limits:
    """The CSINodes as columns: per driver how many volumes a row may have, per in-tree plugin where it is migrated."""

    def __init__(self, table: NodeTable, storage: Storage) -> None:
        self._of = table, table.rows_version, table.size, storage.csi_version
        self.columns: dict[str, Column] = {}
        self._migrated: dict[str, Mask] = {}
        self._nowhere = table.empty_mask()
        for driver, nodes in storage.limits().items():
            column = self.columns[driver] = np.full(table.size, _NO_LIMIT, dtype=np.int64)
            for name, most in nodes.items():
                row = table.row(name)
                if row is not None:
                    column[row] = most
        for name in storage.csi_nodes:
            row = table.row(name)
            if row is not None:
                for plugin in storage.migrated(name):
                    self._migrated.setdefault(plugin, table.empty_mask())[row] = True

    def is_current(self, table: NodeTable, storage: Storage) -> bool:
        return self._of == (table, table.rows_version, table.size, storage.csi_version)

    def migrated(self, plugin: str) -> Mask:
        return self._migrated.get(plugin, self._nowhere)


class _AttachedVolumes:
    """Which volumes the pods of each row have, kept up to date row by row."""

    def __init__(self, table: NodeTable, storage: Storage) -> None:
        self._table = table
        self._storage = storage
        self._csi_version = storage.csi_version
        self._seen = np.zeros(table.size, dtype=np.int64)
        self._on: dict[int, frozenset[tuple[str, str]]] = {}
        self._counts: dict[str, Column] = {}
        self._rows: dict[tuple[str, str], set[int]] = {}

    def is_of(self, table: NodeTable, storage: Storage) -> bool:
        same = self._table is table and len(self._seen) == table.size
        return same and self._csi_version == storage.csi_version

    def refresh(self, stale: Iterable[str]) -> None:
        """Rows where pods came or went, or whose claims stand for something else now."""
        version = self._table.volumes.version
        rows = {int(row) for row in np.flatnonzero(version != self._seen)}
        for claim in stale:
            rows.update(self._table.volumes.rows_of_claim(claim))
        for row in rows:
            self._set(row, self._volumes_on(row))
        np.copyto(self._seen, version)

    def _volumes_on(self, row: int) -> frozenset[tuple[str, str]]:
        use = self._table.volumes
        claims, named = use.claims_on(row), use.attached_on(row)
        if not claims and not named:
            return frozenset()
        migrated = self._storage.migrated(self._table.name(row))
        volumes = volumes_of(PodVolumes(tuple(claims), (), tuple(named)), self._storage)
        return frozenset((v.driver, v.handle) for v in volumes if not v.plugin or v.plugin in migrated)

    def _set(self, row: int, now: frozenset[tuple[str, str]]) -> None:
        before = self._on.pop(row, frozenset())
        for volume in before - now:
            self._counts[volume[0]][row] -= 1
            self._rows[volume].discard(row)
            if not self._rows[volume]:
                del self._rows[volume]
        for volume in now - before:
            self.count(volume[0])[row] += 1
            self._rows.setdefault(volume, set()).add(row)
        if now:
            self._on[row] = now

    def count(self, driver: str) -> Column:
        """How many volumes of a driver each row has."""
        found = self._counts.get(driver)
        if found is None:
            found = self._counts[driver] = np.zeros(self._table.size, dtype=np.int64)
        return found

    def missing(self, wanted: Iterable[Attachable], limits: _Limits) -> Column:
        """How many of some volumes of one driver each row has not, and would have to attach."""
        missing = np.zeros(self._table.size, dtype=np.int64)
        for driver, handle, plugin in wanted:
            counted: Mask | bool = limits.migrated(plugin) if plugin else True
            here = np.full(self._table.size, counted, dtype=np.int64)
            here[np.array(list(self._rows.get((driver, handle), ())), dtype=np.intp)] = 0
            missing += here
        return missing


def _allows_more(info: PodInfo, event: Event) -> bool:
    """A node's drivers are new, or one of them attaches more than before, or another plugin is migrated."""
    assert event.new is not None
    if event.old is None:
        return True
    before, now = _counts(event.old), _counts(event.new)
    if any(count > before.get(driver, 0) for driver, count in now.items()):
        return True
    return (event.old["metadata"].get("annotations") or {}) != (
        event.new["metadata"].get("annotations") or {}
    )


def _counts(csi_node: Obj) -> Mapping[str, int]:
    drivers: Iterable[Obj] = (csi_node.get("spec") or {}).get("drivers") or ()
    return {d["name"]: (d.get("allocatable") or {}).get("count") or 0 for d in drivers}
