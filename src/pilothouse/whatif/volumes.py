"""What the volume controller and a provisioner would answer while pods are scheduled: a claim gets its volume
(https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding).

A claim that names a volume, or whose volume names it, is bound; one for which a node has been chosen, or whose class
does not wait for one, is given a volume as large as it asks for. Where that volume may be used is not known: it has no
node affinity.
"""

from __future__ import annotations

from pilothouse.api.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.whatif.memory_api import MemoryApi

SELECTED_NODE = "volume.kubernetes.io/selected-node"
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


def react(api: MemoryApi, resource: Resource, obj: Obj) -> None:
    """A reaction of a MemoryApi."""
    if resource.plural == PERSISTENT_VOLUMES.plural:
        _volume_written(api, obj)
    elif resource.plural == PERSISTENT_VOLUME_CLAIMS.plural:
        claim_written(api, obj)


def _volume_written(api: MemoryApi, volume: Obj) -> None:
    """One that the scheduler has set aside for a claim."""
    ref = volume["spec"].get("claimRef") or {}
    if not ref:
        return
    claim = api.snapshot.get(PERSISTENT_VOLUME_CLAIMS, ref["name"], ref["namespace"])
    if claim is not None and not claim["spec"].get("volumeName"):
        _bind(api, claim, volume["metadata"]["name"])


def claim_written(api: MemoryApi, claim: Obj) -> None:
    annotations = claim["metadata"].get("annotations") or {}
    if annotations.get(BIND_COMPLETED):
        return
    named = claim["spec"].get("volumeName")
    if named:
        _bind(api, claim, named)
        return
    found = api.snapshot.get(STORAGE_CLASSES, claim["spec"].get("storageClassName") or "")
    if found is None or found.get("provisioner") == NO_PROVISIONER:
        return
    waits = found.get("volumeBindingMode") == "WaitForFirstConsumer"
    if not waits or SELECTED_NODE in annotations:
        _provision(api, claim)


def _bind(api: MemoryApi, claim: Obj, volume: str) -> None:
    meta = claim["metadata"]
    annotations = {**(meta.get("annotations") or {}), BIND_COMPLETED: "yes"}
    spec = {**claim["spec"], "volumeName": volume}
    bound = {**claim, "metadata": {**meta, "annotations": annotations}, "spec": spec}
    api.write(PERSISTENT_VOLUME_CLAIMS, {**bound, "status": {"phase": "Bound"}})


def _provision(api: MemoryApi, claim: Obj) -> None:
    """The volume names the claim, which binds it."""
    meta, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{meta['uid']}"
    volume: Obj = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": spec.get("accessModes") or [],
            "capacity": {
                "storage": ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
            },
            "claimRef": {"namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
            "storageClassName": spec.get("storageClassName") or "",
        },
        "status": {"phase": "Bound"},
    }
    api.write(PERSISTENT_VOLUMES, volume)
