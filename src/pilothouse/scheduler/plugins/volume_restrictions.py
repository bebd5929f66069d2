"""VolumeRestrictions: a disk that only one node, or one pod, may have
(pkg/scheduler/framework/plugins/volumerestrictions,
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pilothouse.scheduler.framework import (
    Cycle,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Rejection,
)
from pilothouse.scheduler.hints import ASSIGNED_POD, CLAIM, NODE, Action, Event, Registration
from pilothouse.scheduler.node_table import Mask, NodeTable
from pilothouse.scheduler.plugins.volume_hints import named_claims, names_claim, not_found
from pilothouse.scheduler.pod_info import PodInfo
from pilothouse.scheduler.storage import Storage
from pilothouse.scheduler.volume_use import PodVolumes, pod_volumes

DISK_CONFLICT = "node(s) had no available disk"
ONE_POD_CONFLICT = (
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"
)


class VolumeRestrictions(PreFilterPlugin, FilterPlugin):
    name = "VolumeRestrictions"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def registrations(self) -> Iterable[Registration]:
        return (
            Registration(ASSIGNED_POD, Action.DELETE, _frees),
            Registration(NODE, Action.ADD),
            Registration(CLAIM, Action.ADD | Action.UPDATE, names_claim),
        )

    def counts_pods(self, cycle: Cycle) -> bool:
        volumes = cycle.info.volumes
        return bool(volumes.disks) or any(self._is_for_one_pod(key) for key in volumes.claims)

    def pre_filter(self, cycle: Cycle) -> PreFilterResult | None:
        for key in named_claims(cycle.info):
            if self._storage.claims.get(key) is None:
                return PreFilterResult(refusal=not_found(key))
        return None

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        """A node's disks go first: what a node has one reason for, it has no second one for."""
        volumes = cycle.info.volumes
        taken = disks_taken(cycle.table, volumes) if volumes.disks else None
        if taken is not None:
            yield Rejection(taken, DISK_CONFLICT)
        if self._is_used(cycle.table, volumes.claims):
            yield Rejection(left.copy() if taken is None else left & ~taken, ONE_POD_CONFLICT)

    def _is_used(self, table: NodeTable, claims: Iterable[str]) -> bool:
        """Whether any pod on any node has a claim that is for one pod."""
        return any(table.volumes.rows_of_claim(key) for key in claims if self._is_for_one_pod(key))

    def _is_for_one_pod(self, key: str) -> bool:
        claim = self._storage.claims.get(key)
        return claim is not None and "ReadWriteOncePod" in (claim["spec"].get("accessModes") or ())


def disks_taken(table: NodeTable, volumes: PodVolumes) -> Mask:
    taken = table.empty_mask()
    for mount in volumes.disks:
        for shared in (False,) if mount.shared else (False, True):
            rows = list(table.volumes.rows_of_disk(mount.disk, shared=shared))
            taken[np.array(rows, dtype=np.intp)] = True
    return taken


def conflicts(volumes: PodVolumes, other: PodVolumes) -> bool:
    """The plain rule for two pods on one node."""
    return any(
        mine.disk == theirs.disk and not (mine.shared and theirs.shared)
        for mine in volumes.disks
        for theirs in other.disks
    )


def _frees(info: PodInfo, event: Event) -> bool:
    """The pod that went had one of the disks, or one of the claims."""
    assert event.old is not None
    gone = pod_volumes(event.old)
    return conflicts(info.volumes, gone) or bool(set(gone.claims) & set(info.volumes.claims))
