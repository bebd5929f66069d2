"""NodeVolumeLimits: no more volumes of a CSI driver on a node than its CSINode says it can attach
(pkg/scheduler/framework/plugins/nodevolumelimits, https://kubernetes.io/docs/concepts/storage/storage-limits/).

A volume counts once however many pods of a node have it, and also when no pod has it any more and it is still attached.
Volumes of the in-tree plugins count for the driver that took
over, on nodes that say that it did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from pilothouse.api.csi_migration import Attachable
from pilothouse.api.types import Obj
from pilothouse.api.volumes import annotations_of
from pilothouse.scheduler.attachments import Volume
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import (
    ASSIGNED_POD,
    CLAIM,
    CSI_DRIVER,
    CSI_NODE,
    NODE,
    VOLUME,
    VOLUME_ATTACHMENT,
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
_NOTHING: frozenset[Volume] = frozenset()
_NO_LIMIT = np.iinfo(np.int64).max


class NodeVolumeLimits(FilterPlugin):
    name = "NodeVolumeLimits"

    def __init__(self, storage: Storage, *, needs_drivers: bool = False) -> None:
        """`needs_drivers`: the gate VolumeLimitScaling, alpha and off in 1.36."""
        self._storage = storage
        self._needs_drivers = needs_drivers
        self._stale: set[str] = set()
        self._stale_nodes: set[str] = set()
        storage.listeners.append(self._stale.add)
        storage.attachments.listeners.append(self._stale_nodes.add)
        self._attached: _AttachedVolumes | None = None
        self._limits: _Limits | None = None

    def registrations(self) -> Iterable[Registration]:
        always = (
            Registration(CSI_NODE, Action.ADD | Action.UPDATE, self._allows_more),
            Registration(ASSIGNED_POD, Action.DELETE, self._frees),
            Registration(CLAIM, Action.ADD, names_claim),
            Registration(NODE, Action.ADD),
            Registration(VOLUME, Action.ADD),
            Registration(VOLUME_ATTACHMENT, Action.DELETE, self._detaches),
        )
        return (*always, Registration(CSI_DRIVER, Action.UPDATE)) if self._needs_drivers else always

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
        found = list(self._without_drivers(wanted, table, limits)) if self._needs_drivers else []
        left = left & ~np.logical_or.reduce([each.mask for each in found]) if found else left
        out = table.empty_mask()
        for driver in {volume.driver for volume in wanted} & limits.columns.keys():
            mine = [volume for volume in wanted if volume.driver == driver]
            attached = self._attached_for(table)
            missing = attached.missing(mine, limits)
            out |= (missing > 0) & (attached.count(driver) + missing > limits.columns[driver])
        return (*found, Rejection(out & left, REASON))

    def _without_drivers(
        self, wanted: Iterable[Attachable], table: NodeTable, limits: _Limits
    ) -> Iterable[Rejection]:
        told = table.empty_mask()
        for driver in sorted({volume.driver for volume in wanted} & self._storage.kept_to_drivers()):
            new = table.empty_mask()
            for volume in wanted:
                if volume.driver == driver:
                    new |= limits.migrated(volume.plugin) if volume.plugin else table.valid
            out = new & ~limits.installed(driver) & ~told
            told |= out
            yield Rejection(out, missing_driver(driver))

    def _limits_for(self, table: NodeTable) -> _Limits:
        made = self._limits
        if made is None or not made.is_current(table, self._storage):
            made = self._limits = _Limits(table, self._storage)
        return made

    def _attached_for(self, table: NodeTable) -> _AttachedVolumes:
        made, stale = self._attached, self._stale
        if made is None or not made.is_of(table, self._storage):
            made = self._attached = _AttachedVolumes(table, self._storage)
        made.refresh(stale, self._stale_nodes)
        stale.clear()
        self._stale_nodes.clear()
        return made

    def _allows_more(self, info: PodInfo, event: Event) -> bool:
        """A node's drivers are new, or one of them attaches more than before, or another plugin is migrated."""
        assert event.new is not None
        if event.old is None or (self._needs_drivers and _names(event.new) - _names(event.old)):
            return True
        before, now = _counts(event.old), _counts(event.new)
        if any(count > before.get(driver, 0) for driver, count in now.items()):
            return True
        return annotations_of(event.old) != annotations_of(event.new)

    def _frees(self, info: PodInfo, event: Event) -> bool:
        """A pod that went had volumes of a driver that this one needs too."""
        assert event.old is not None
        gone = volumes_of(pod_volumes(event.old), self._storage)
        return bool({v.driver for v in gone} & {v.driver for v in volumes_of(info.volumes, self._storage)})

    def _detaches(self, info: PodInfo, event: Event) -> bool:
        """A volume was detached whose driver this pod needs too."""
        assert event.old is not None
        attacher = event.old["spec"].get("attacher")
        return any(volume.driver == attacher for volume in volumes_of(info.volumes, self._storage))


def missing_driver(driver: str) -> str:
    return f"{driver} CSI driver is not installed on the node"


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
    there |= storage.attachments.on(name)
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
        self._installed: dict[str, Mask] = {}
        self._nowhere = table.empty_mask()
        for driver, nodes in storage.limits().items():
            column = self.columns[driver] = np.full(table.size, _NO_LIMIT, dtype=np.int64)
            for name, most in nodes.items():
                row = table.row(name)
                if row is not None:
                    column[row] = most
        for name, csi_node in storage.csi_nodes.items():
            row = table.row(name)
            if row is not None:
                for driver in _names(csi_node):
                    self._installed.setdefault(driver, table.empty_mask())[row] = True
                for plugin in storage.migrated(name):
                    self._migrated.setdefault(plugin, table.empty_mask())[row] = True

    def is_current(self, table: NodeTable, storage: Storage) -> bool:
        return self._of == (table, table.rows_version, table.size, storage.csi_version)

    def migrated(self, plugin: str) -> Mask:
        return self._migrated.get(plugin, self._nowhere)

    def installed(self, driver: str) -> Mask:
        return self._installed.get(driver, self._nowhere)


class _AttachedVolumes:
    """Which volumes the pods of each row have, and which are attached there besides, kept up to date row by row.

    One that is attached and that no pod has counts beside a new pod's own, even if it is the same: so upstream counts,
    and it may be about to be detached (csi_test.go, "should count VolumeAttachments towards volume limit when no pods
    exist")."""

    def __init__(self, table: NodeTable, storage: Storage) -> None:
        self._table = table
        self._storage = storage
        self._csi_version = storage.csi_version
        self._seen = np.zeros(table.size, dtype=np.int64)
        self._on: dict[int, frozenset[Volume]] = {}
        self._left_over: dict[int, frozenset[Volume]] = {}
        self._counts: dict[str, Column] = {}
        self._rows: dict[Volume, set[int]] = {}
        self._rows_version = -1

    def is_of(self, table: NodeTable, storage: Storage) -> bool:
        same = self._table is table and len(self._seen) == table.size
        return same and self._csi_version == storage.csi_version

    def refresh(self, stale: Iterable[str], nodes: Iterable[str]) -> None:
        """Rows where pods came or went, or whose claims stand for something else now; nodes where something was
        attached or detached."""
        version = self._table.volumes.version
        rows = {int(row) for row in np.flatnonzero(version != self._seen)}
        for claim in stale:
            rows.update(self._table.volumes.rows_of_claim(claim))
        if self._rows_version != self._table.rows_version:
            self._rows_version = self._table.rows_version
            rows.update(self._left_over)
            nodes = self._storage.attachments.nodes()
        rows.update(row for name in nodes if (row := self._table.row(name)) is not None)
        for row in rows:
            self._set(row, self._volumes_on(row))
            attached = (
                self._storage.attachments.on(self._table.name(row)) if self._table.valid[row] else _NOTHING
            )
            self._leave_over(row, attached - self._on.get(row, frozenset()))
        np.copyto(self._seen, version)

    def _leave_over(self, row: int, now: frozenset[Volume]) -> None:
        before = self._left_over.pop(row, frozenset())
        for volume in before - now:
            self._counts[volume[0]][row] -= 1
        for volume in now - before:
            self.count(volume[0])[row] += 1
        if now:
            self._left_over[row] = now

    def _volumes_on(self, row: int) -> frozenset[Volume]:
        use = self._table.volumes
        claims, named = use.claims_on(row), use.attached_on(row)
        if not claims and not named:
            return frozenset()
        migrated = self._storage.migrated(self._table.name(row))
        volumes = volumes_of(PodVolumes(tuple(claims), (), tuple(named)), self._storage)
        return frozenset((v.driver, v.handle) for v in volumes if not v.plugin or v.plugin in migrated)

    def _set(self, row: int, now: frozenset[Volume]) -> None:
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


def _names(csi_node: Obj) -> set[str]:
    drivers: Iterable[Obj] = (csi_node.get("spec") or {}).get("drivers") or ()
    return {driver["name"] for driver in drivers}


def _counts(csi_node: Obj) -> Mapping[str, int]:
    drivers: Iterable[Obj] = (csi_node.get("spec") or {}).get("drivers") or ()
    return {d["name"]: (d.get("allocatable") or {}).get("count") or 0 for d in drivers}
