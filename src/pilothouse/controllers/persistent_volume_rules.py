"""Which volume a claim gets from the controller, and what is to become of a volume that nobody claims any more
(pkg/controller/volume/persistentvolume)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pilothouse.api import csi_migration, volumes
from pilothouse.api.types import Obj
from pilothouse.api.volumes import PROVISIONED_BY, annotations_of

IN_TREE = "kubernetes.io/"
_DELETABLE_PATH = re.compile(r"/tmp/.+")


def best(claim: Obj, candidates: Iterable[Obj], *, waits: bool) -> Obj | None:
    """The volume that is reserved for a claim, or else the one with the fewest access modes, and the smallest of those;
    for a claim that `waits` for a pod the scheduler chooses among the free ones (findBestMatchForClaim)."""
    able = [volume for volume in candidates if volumes.may_hold(volume, claim)]
    reserved = next((volume for volume in able if volumes.claim_ref(volume)), None)
    if reserved is not None or waits:
        return reserved
    return min((volume for volume in able if volumes.suits(volume, claim)), key=_order, default=None)


def _order(volume: Obj) -> tuple[int, int, str]:
    return len(volume["spec"].get("accessModes") or ()), *volumes.order(volume)


def mismatch(volume: Obj, claim: Obj) -> str:
    """Why a claim cannot have the volume that it names (checkVolumeSatisfyClaim); "" when it can."""
    if volume["metadata"].get("deletionTimestamp"):
        return f'the volume is marked for deletion "{volume["metadata"]["name"]}"'
    if volumes.capacity(volume) < volumes.asked(claim):
        return "requested PV is too small"
    if volumes.class_of(volume) != volumes.class_of(claim):
        return "storageClassName does not match"
    if volumes.volume_mode(volume) != volumes.volume_mode(claim):
        return "incompatible volumeMode"
    return "" if volumes.allows_modes(volume, claim) else "incompatible accessMode"


def default_class(classes: Iterable[Obj]) -> Obj | None:
    """The newest of those that are marked, and of equally new ones the first by name (GetDefaultClass)."""
    found = sorted(
        (c for c in classes if volumes.is_default_class(c)), key=lambda c: str(c["metadata"]["name"])
    )
    return max(found, key=lambda c: str(c["metadata"]["creationTimestamp"]), default=None)


class Provisioner(NamedTuple):
    """Who is to make a volume, or why nobody can."""

    name: str = ""
    problem: str = ""


def provisioner_of(claim: Obj, storage_class: Obj | None) -> Provisioner:
    if storage_class is None:
        return Provisioner(problem=f'storageclass.storage.k8s.io "{volumes.class_of(claim)}" not found')
    name = str(storage_class.get("provisioner", ""))
    driver = csi_migration.driver_for(name)
    if driver is not None:
        return Provisioner(driver)
    if name.startswith(IN_TREE):
        return Provisioner(problem=f"no volume plugin matched name: {name}")
    return Provisioner(name)


class Deletion(NamedTuple):
    """Of a released volume with the policy Delete: it is `done` at once, or it is somebody else's affair, or there is a
    `problem`."""

    done: bool = False
    problem: str = ""


def deletion_of(volume: Obj) -> Deletion:
    """Simulated nodes have no disks to wipe: the only plugin of upstream's that deletes by itself, for directories
    below /tmp, has nothing to do here."""
    made_by = annotations_of(volume).get(PROVISIONED_BY, "")
    spec = volume["spec"]
    if made_by and not made_by.startswith(IN_TREE):
        return Deletion()
    if spec.get("csi") or csi_migration.attachable(spec) is not None:
        return Deletion()
    path = (spec.get("hostPath") or {}).get("path")
    if path is None:
        name = volume["metadata"]["name"]
        why = "no deletable volume plugin matched"
        return Deletion(problem=f'error getting deleter volume plugin for volume "{name}": {why}')
    if not _DELETABLE_PATH.search(path):
        return Deletion(problem=f"host_path deleter only supports /tmp/.+ but received provided {path}")
    return Deletion(done=True)
