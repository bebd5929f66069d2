"""The persistent volume controller: claims find volumes, volumes that lost their claim are reclaimed
(pkg/controller/volume/persistentvolume, https://kubernetes.io/docs/concepts/storage/persistent-volumes/).

    volume  Pending ──▶ Available ──a claim──▶ Bound ──claim deleted──▶ Released ──▶ gone, Failed or kept
    claim   Pending ──────────────a volume──▶ Bound ──volume deleted──▶ Lost

A binding is four writes, the volume's first, so that whatever is cut off in between can be finished from what is there:
volume.spec.claimRef, volume.status.phase, claim.spec.volumeName with its annotations, claim.status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import volumes
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.api.volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    PROVISIONED_BY,
    PROVISIONER,
    PROVISIONER_BETA,
    SELECTED_NODE,
    annotations_of,
    claim_key,
    claim_ref,
    claims_of,
    class_of,
    is_bound_to,
    waits_for_consumer,
)
from pilothouse.client.informer import key_of, split_key
from pilothouse.client.reconciler import Controller, TryAgain
from pilothouse.controllers import persistent_volume_rules as rules
from pilothouse.controllers.latest import Latest
from pilothouse.controllers.pods import is_terminal

RESYNC_S = 15.0
_LOST_VOLUME = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
_LOST_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
_MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"
_NO_CLASS = "no persistent volumes available for this claim and no storage class is set"
_FIRST_CONSUMER = "waiting for first consumer to be created before binding"
_NO_RECYCLER = "No recycler plugin found for the volume!"
_UNKNOWN_POLICY = "Volume has unrecognized PersistentVolumeReclaimPolicy"


class PersistentVolumeController(Controller):
    """Keys of claims have a namespace, those of volumes have none. One worker, as every decision depends on what the
    last one has taken."""

    name: ClassVar[str] = "persistentvolume-binder-controller"
    queue_name: ClassVar[str] = "claims"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._claims = Latest(self.watch(PERSISTENT_VOLUME_CLAIMS))
        self._claims.informer.add_index("pending", _pending_class)
        self._volumes = Latest(self.watch(PERSISTENT_VOLUMES, keys=_volume_and_claim))
        self._volumes.informer.add_index("free", _free_class)
        self._volumes.informer.add_index("claim", lambda volume: filter(None, (claim_key(volume),)))
        self.watch(PERSISTENT_VOLUMES, keys=self._hopeful, changed=_came_free)
        self._classes = self.watch(STORAGE_CLASSES, keys=self._of_class)
        self.watch(PERSISTENT_VOLUME_CLAIMS, keys=self._volume_of)
        self._pods = self.informer(PODS)
        self._pods.add_index("claim", claims_of)

    def _hopeful(self, volume: Obj) -> Iterable[str]:
        """Claims that may want a free volume."""
        if claim_ref(volume):
            return ()
        return [key_of(c) for c in self._claims.informer.by_index("pending", class_of(volume))]

    def _of_class(self, storage_class: Obj) -> Iterable[str]:
        names = [storage_class["metadata"]["name"]]
        if volumes.is_default_class(storage_class):
            names.append("")
        return [key_of(c) for name in names for c in self._claims.informer.by_index("pending", name)]

    def _volume_of(self, claim: Obj) -> Iterable[str]:
        """What a claim's going, or binding, is news for."""
        reserved = [key_of(v) for v in self._volumes.informer.by_index("claim", key_of(claim))]
        named = claim["spec"].get("volumeName")
        return [*reserved, named] if named else reserved

    async def reconcile(self, key: str) -> float | None:
        if "/" in key:
            claim = self._claims.get(key)
            return None if claim is None else await self._sync_claim(claim)
        volume = self._volumes.get(key)
        return None if volume is None else await self._sync_volume(volume)

    # -- claims -----------------------------------------------------------------------------------------

    async def _sync_claim(self, claim: Obj) -> float | None:
        if BIND_COMPLETED in annotations_of(claim):
            await self._sync_bound(claim)
            return None
        if claim["spec"].get("volumeName"):
            await self._sync_named(claim)
        else:
            await self._sync_unbound(claim)
        return RESYNC_S if _is_pending(self._claims.get(key_of(claim))) else None

    async def _sync_bound(self, claim: Obj) -> None:
        name = claim["spec"].get("volumeName")
        if not name:
            await self._lose(claim, "ClaimLost", _LOST_REFERENCE)
            return
        volume = self._volumes.get(name)
        if volume is None:
            await self._lose(claim, "ClaimLost", _LOST_VOLUME)
            return
        ref = claim_ref(volume)
        if ref is None or ref.get("uid") == claim["metadata"]["uid"]:
            await self._bind(volume, claim)
        else:
            await self._lose(claim, "ClaimMisbound", _MISBOUND)

    async def _lose(self, claim: Obj, reason: str, message: str) -> None:
        if (claim.get("status") or {}).get("phase") == "Lost":
            return
        await self._set_claim_status(claim, "Lost", None)
        self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Warning", reason, message)

    async def _sync_named(self, claim: Obj) -> None:
        """A claim that names its volume gets that one or none."""
        volume = self._volumes.get(claim["spec"]["volumeName"])
        if volume is None:
            await self._set_claim_status(claim, "Pending", None)
            return
        name = volume["metadata"]["name"]
        if claim_ref(volume) is None:
            problem = rules.mismatch(volume, claim)
            if not problem:
                await self._bind(volume, claim)
                return
            message = f'Cannot bind to requested volume "{name}": {problem}'
            self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Warning", "VolumeMismatch", message)
        elif is_bound_to(volume, claim):
            await self._bind(volume, claim)
            return
        else:
            message = f'volume "{name}" already bound to a different claim.'
            self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Warning", "FailedBinding", message)
            if BOUND_BY_CONTROLLER in annotations_of(claim):
                raise TryAgain(
                    f"claim {key_of(claim)} is bound to volume {name}, which is {claim_key(volume)}'s"
                )
        await self._set_claim_status(claim, "Pending", None)

    async def _sync_unbound(self, claim: Obj) -> None:
        storage_class = self._classes.get(class_of(claim))
        waits = waits_for_consumer(storage_class)
        volume = rules.best(claim, self._candidates(claim), waits=waits)
        if volume is not None:
            await self._bind(volume, claim)
        elif await self._gave_default_class(claim):
            return
        elif waits and SELECTED_NODE not in annotations_of(claim):
            self._tell_whom_it_waits_for(claim)
            await self._set_claim_status(claim, "Pending", None)
        elif class_of(claim):
            await self._ask_provisioner(claim, storage_class)
        else:
            self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Normal", "FailedBinding", _NO_CLASS)
            await self._set_claim_status(claim, "Pending", None)

    def _candidates(self, claim: Obj) -> list[Obj]:
        reserved = [v for v in self._volumes.by_index("claim", key_of(claim)) if is_bound_to(v, claim)]
        free = [v for v in self._volumes.by_index("free", class_of(claim)) if claim_ref(v) is None]
        return reserved + free

    async def _gave_default_class(self, claim: Obj) -> bool:
        """Claims from before there was a default class get it later (KEP-3333)."""
        if claim["spec"].get("storageClassName") is not None or class_of(claim):
            return False
        found = rules.default_class(self._classes.list())
        if found is None:
            return False
        spec = {**claim["spec"], "storageClassName": found["metadata"]["name"]}
        await self._update(PERSISTENT_VOLUME_CLAIMS, {**claim, "spec": spec}, self._claims)
        return True

    def _tell_whom_it_waits_for(self, claim: Obj) -> None:
        pods = [
            pod["metadata"]["name"]
            for pod in self._pods.by_index("claim", key_of(claim))
            if not pod["spec"].get("nodeName") and not is_terminal(pod)
        ]
        reason, message = "WaitForPodScheduled", f"waiting for pods {','.join(pods)} to be scheduled"
        if not pods:
            reason, message = "WaitForFirstConsumer", _FIRST_CONSUMER
        elif len(pods) == 1:
            message = f"waiting for pod {pods[0]} to be scheduled"
        self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Normal", reason, message)

    async def _ask_provisioner(self, claim: Obj, storage_class: Obj | None) -> None:
        """External provisioners see by an annotation that it is their turn."""
        found = rules.provisioner_of(claim, storage_class)
        if found.problem:
            self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Warning", "ProvisioningFailed", found.problem)
            return
        wanted = {PROVISIONER_BETA: found.name, PROVISIONER: found.name}
        if not wanted.items() <= annotations_of(claim).items():
            claim = await self._update(
                PERSISTENT_VOLUME_CLAIMS, volumes.with_annotations(claim, wanted), self._claims
            )
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{found.name}' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Normal", "ExternalProvisioning", message)

    # -- volumes ----------------------------------------------------------------------------------------

    async def _sync_volume(self, volume: Obj) -> float | None:
        ref = claim_ref(volume)
        if ref is None or not ref.get("uid"):
            await self._set_phase(volume, "Available")
            return None
        claim = await self._claim_of(volume)
        if claim is None:
            return await self._release(volume)
        named = claim["spec"].get("volumeName")
        if not named:
            self._finish(volume, claim)
        elif named == volume["metadata"]["name"]:
            await self._set_phase(volume, "Bound")
        elif PROVISIONED_BY in annotations_of(volume) and _policy(volume) == "Delete":
            return await self._release(volume)
        else:
            await self._unbind(volume)
        return None

    async def _claim_of(self, volume: Obj) -> Obj | None:
        """The claim that a volume is bound to, if there still is one. Nothing is released on the word of an informer
        that may be behind."""
        key, ref = claim_key(volume), claim_ref(volume)
        assert ref is not None
        claim = self._claims.get(key)
        if claim is not None and claim["metadata"]["uid"] == ref["uid"]:
            return claim
        if claim is None and _phase(volume) in ("Released", "Failed"):
            return None
        namespace, name = split_key(key)
        try:
            claim = await self.client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None
        return claim if claim["metadata"]["uid"] == ref["uid"] else None

    def _finish(self, volume: Obj, claim: Obj) -> None:
        """The volume's end of a binding is made, the claim's not yet."""
        if volumes.volume_mode(volume) == volumes.volume_mode(claim):
            self.queue.add(key_of(claim))
            return
        name, claimed = volume["metadata"]["name"], claim["metadata"]["name"]
        why = "due to incompatible volumeMode."
        message = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{claimed}" {why}'
        self._tell(PERSISTENT_VOLUMES, volume, "Warning", "VolumeMismatch", message)
        message = f'Cannot bind PersistentVolume "{name}" to requested PersistentVolumeClaim {why}'
        self._tell(PERSISTENT_VOLUME_CLAIMS, claim, "Warning", "VolumeMismatch", message)

    async def _release(self, volume: Obj) -> float | None:
        """The claim is gone: what the reclaim policy says. A volume that failed is tried again, and stays failed."""
        if _phase(volume) not in ("Released", "Failed"):
            volume = await self._set_phase(volume, "Released")
        policy = _policy(volume)
        if policy == "Retain":
            return None
        if policy == "Recycle":
            await self._fail(volume, "VolumeFailedRecycle", _NO_RECYCLER)
        elif policy == "Delete":
            return await self._delete(volume)
        else:
            await self._fail(volume, "VolumeUnknownReclaimPolicy", _UNKNOWN_POLICY)
        return RESYNC_S

    async def _delete(self, volume: Obj) -> float | None:
        if volume["metadata"].get("deletionTimestamp"):
            return None
        deletion = rules.deletion_of(volume)
        if deletion.problem:
            await self._fail(volume, "VolumeFailedDelete", deletion.problem)
            return RESYNC_S
        if deletion.done:
            try:
                await self.client.delete(PERSISTENT_VOLUMES, volume["metadata"]["name"])
            except ApiError as error:
                if error.code != 404:
                    raise
        return None

    async def _fail(self, volume: Obj, reason: str, message: str) -> None:
        if _phase(volume) == "Failed":
            return
        await self._set_phase(volume, "Failed", message)
        self._tell(PERSISTENT_VOLUMES, volume, "Warning", reason, message)

    async def _unbind(self, volume: Obj) -> None:
        """Roll back our own binding; one that was made by hand only loses the claim's UID."""
        annotations = dict(annotations_of(volume))
        if annotations.pop(BOUND_BY_CONTROLLER, None) is not None:
            spec = {k: v for k, v in volume["spec"].items() if k != "claimRef"}
        else:
            ref = {k: v for k, v in volume["spec"]["claimRef"].items() if k != "uid"}
            spec = {**volume["spec"], "claimRef": ref}
        meta = {**volume["metadata"], "annotations": annotations}
        volume = await self._update(
            PERSISTENT_VOLUMES, {**volume, "metadata": meta, "spec": spec}, self._volumes
        )
        await self._set_phase(volume, "Available")

    # -- writing ----------------------------------------------------------------------------------------

    async def _bind(self, volume: Obj, claim: Obj) -> None:
        """Each write only where it changes something."""
        bound = volumes.bound_to(volume, claim)
        if bound is not volume:
            volume = await self._update(PERSISTENT_VOLUMES, bound, self._volumes)
        volume = await self._set_phase(volume, "Bound")
        name, annotations = volume["metadata"]["name"], annotations_of(claim)
        more = {} if BIND_COMPLETED in annotations else {BIND_COMPLETED: "yes"}
        spec = claim["spec"]
        if spec.get("volumeName") != name:
            spec = {**spec, "volumeName": name}
            more = {BOUND_BY_CONTROLLER: "yes", **more}
        if more:
            changed = volumes.with_annotations({**claim, "spec": spec}, more)
            claim = await self._update(PERSISTENT_VOLUME_CLAIMS, changed, self._claims)
        await self._set_claim_status(claim, "Bound", volume)

    async def _set_claim_status(self, claim: Obj, phase: str, volume: Obj | None) -> None:
        """A claim that is bound already keeps its capacity: it may have been resized."""
        before = claim.get("status") or {}
        status = {k: v for k, v in before.items() if k not in ("accessModes", "capacity")}
        status["phase"] = phase
        if volume is not None:
            status["accessModes"] = volume["spec"].get("accessModes")
            kept = before.get("capacity") if before.get("phase") == phase else None
            status["capacity"] = kept or volume["spec"].get("capacity")
            attributes = volume["spec"].get("volumeAttributesClassName")
            if before.get("phase") != phase and attributes:
                status["currentVolumeAttributesClassName"] = attributes
        if status != before:
            await self._update(
                PERSISTENT_VOLUME_CLAIMS, {**claim, "status": status}, self._claims, subresource="status"
            )

    async def _set_phase(self, volume: Obj, phase: str, message: str = "") -> Obj:
        if _phase(volume) == phase:
            return volume
        status = {k: v for k, v in (volume.get("status") or {}).items() if k != "message"}
        status["phase"] = phase
        if message:
            status["message"] = message
        return await self._update(
            PERSISTENT_VOLUMES, {**volume, "status": status}, self._volumes, subresource="status"
        )

    async def _update(self, resource: Resource, obj: Obj, cache: Latest, subresource: str = "") -> Obj:
        typed = {**obj, "apiVersion": resource.group_version, "kind": resource.kind}
        return cache.note(await self.client.update(resource, typed, subresource=subresource))

    def _tell(self, resource: Resource, obj: Obj, type_: str, reason: str, message: str) -> None:
        typed = {**obj, "apiVersion": resource.group_version, "kind": resource.kind}
        self.recorder.event(typed, type_, reason, message)


def _phase(volume: Obj) -> str:
    return str((volume.get("status") or {}).get("phase", ""))


def _policy(volume: Obj) -> str:
    return str(volume["spec"].get("persistentVolumeReclaimPolicy") or "Retain")


def _is_pending(claim: Obj | None) -> bool:
    return claim is not None and BIND_COMPLETED not in annotations_of(claim)


def _pending_class(claim: Obj) -> Iterable[str]:
    return (class_of(claim),) if _is_pending(claim) else ()


def _free_class(volume: Obj) -> Iterable[str]:
    return () if claim_ref(volume) else (class_of(volume),)


def _came_free(old: Obj, new: Obj) -> bool:
    return _phase(new) == "Available" != _phase(old)


def _volume_and_claim(volume: Obj) -> Iterable[str]:
    """A volume, and the claim that it is for, which may hear of it for the first time."""
    key = claim_key(volume)
    name: str = volume["metadata"]["name"]
    return (name, key) if key else (name,)
