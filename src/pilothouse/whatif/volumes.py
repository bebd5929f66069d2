"""What the controllers of volumes and a provisioner would answer while pods are scheduled: ephemeral volumes get their
claims, claims their volumes (https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding).

A claim that names a volume, or whose volume names it, is bound. One that does not wait for a pod is bound to the
smallest volume that will do, as the volume controller does. One for which a node has been chosen, or that is left then,
is given a volume as large as it asks for, if its class makes any. Where one of another provisioner may be used is
not known: its class's allowedTopologies count. The simulated provisioner's own rule is asked for its classes.
"""

from __future__ import annotations

from pilothouse.api import volumes
from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.api.volumes import BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE, annotations_of
from pilothouse.controllers import simulated_provisioner
from pilothouse.controllers.ephemeral_volume import claim_for, ephemeral
from pilothouse.whatif.memory_api import MemoryApi


def react(api: MemoryApi, resource: Resource, obj: Obj) -> None:
    """A reaction of a MemoryApi."""
    if resource.plural == PERSISTENT_VOLUMES.plural:
        _volume_written(api, obj)
    elif resource.plural == PERSISTENT_VOLUME_CLAIMS.plural:
        claim_written(api, obj)


def settle(api: MemoryApi) -> None:
    """What controllers have done to volumes and claims of a snapshot that somebody wrote by hand: volumes that nobody
    has are free, claims that need not wait are bound."""
    snapshot = api.snapshot
    for volume in list(snapshot.list(PERSISTENT_VOLUMES)):
        phase = (volume.get("status") or {}).get("phase") or "Pending"
        if phase == "Pending":
            snapshot.put(PERSISTENT_VOLUMES, {**volume, "status": {"phase": "Available"}})
    for claim in list(snapshot.list(PERSISTENT_VOLUME_CLAIMS)):
        claim_written(api, claim)


def ephemeral_claims(pod: Obj, api: MemoryApi) -> list[Obj]:
    """Those that a pod lacks. One of that name that is another's stays, and the scheduler says so."""
    namespace = pod["metadata"]["namespace"]
    claims = (claim_for(pod, volume) for volume in ephemeral(pod))
    taken = api.snapshot.get
    return [c for c in claims if taken(PERSISTENT_VOLUME_CLAIMS, c["metadata"]["name"], namespace) is None]


def _volume_written(api: MemoryApi, volume: Obj) -> None:
    """One that the scheduler has set aside for a claim."""
    ref = volumes.claim_ref(volume)
    if not ref:
        return
    claim = api.snapshot.get(PERSISTENT_VOLUME_CLAIMS, ref["name"], ref["namespace"])
    if claim is not None and volumes.is_bound_to(volume, claim) and not claim["spec"].get("volumeName"):
        _bind(api, claim, volume["metadata"]["name"])


def claim_written(api: MemoryApi, claim: Obj) -> None:
    annotations = annotations_of(claim)
    if annotations.get(BIND_COMPLETED):
        return
    named = claim["spec"].get("volumeName")
    if named:
        _bind(api, claim, named)
        return
    found = api.snapshot.get(STORAGE_CLASSES, volumes.class_of(claim))
    waits = volumes.waits_for_consumer(found)
    if not waits:
        volume = _match(api, claim)
        if volume is not None:
            api.write(PERSISTENT_VOLUMES, volumes.bound_to(volume, claim))
            return
    makes = found is not None and found.get("provisioner") not in (None, "", NO_PROVISIONER)
    if found is not None and makes and (not waits or SELECTED_NODE in annotations):
        _provision(api, claim, found)


def _match(api: MemoryApi, claim: Obj) -> Obj | None:
    name = volumes.class_of(claim)
    there = (v for v in api.snapshot.list(PERSISTENT_VOLUMES) if volumes.class_of(v) == name)
    return volumes.match(claim, there)


def _bind(api: MemoryApi, claim: Obj, volume: str) -> None:
    bound = volumes.with_annotations(claim, {BIND_COMPLETED: "yes"})
    bound = {**bound, "spec": {**claim["spec"], "volumeName": volume}}
    api.write(PERSISTENT_VOLUME_CLAIMS, {**bound, "status": {"phase": "Bound"}})


def _provision(api: MemoryApi, claim: Obj, storage_class: Obj) -> None:
    """The volume names the claim, which binds it."""
    selected = annotations_of(claim).get(SELECTED_NODE)
    node = api.snapshot.get(NODES, selected) if selected else None
    volume = simulated_provisioner.made_for(_whole(claim), storage_class, node)
    if storage_class["provisioner"] not in simulated_provisioner.NAMES:
        volume["spec"]["csi"]["driver"] = storage_class["provisioner"]
    api.write(PERSISTENT_VOLUMES, {**volume, "status": {"phase": "Bound"}})


def _whole(claim: Obj) -> Obj:
    """One that somebody wrote by hand may lack what a server would ask for."""
    spec = claim["spec"]
    requests = (spec.get("resources") or {}).get("requests") or {}
    whole = {"accessModes": [], **spec, "resources": {"requests": {"storage": "0", **requests}}}
    return {**claim, "spec": whole}
