"""Volumes for claims, made and deleted in the cloud (https://kubernetes-csi.github.io/docs/external-provisioner.html).

claim with our provisioner ──▶ finalizer ──▶ created in the cloud ──▶ PersistentVolume ──▶ finalizer gone
             │ deleted before that ──▶ deleted in the cloud, finalizer gone
volume released, policy Delete ──▶ deleted in the cloud ──▶ object and finalizer gone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from pilothouse.api import volumes
from pilothouse.api.errors import ApiError
from pilothouse.api.provisioning import volume_name
from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTRIBUTES_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.api.volumes import PROVISIONER, SELECTED_NODE, annotations_of
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.cloud import volume_facts
from pilothouse.cloud.provider import CloudError, Later, NoRoom, Volumes
from pilothouse.cloud.volume_facts import PROTECTED, PROVISIONING


class VolumeProvisioner(Controller):
    name: ClassVar[str] = "cloud-volume-provisioner-controller"
    retry_s: ClassVar[tuple[float, float]] = (1.0, 300.0)

    def __init__(self, env: Environment, cloud: Volumes) -> None:
        super().__init__(env)
        self._cloud = cloud

    def setup(self) -> None:
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIMS, keys=self._ours)
        self._volumes = self.watch(PERSISTENT_VOLUMES, keys=self._deletable)
        self._classes = self.informer(STORAGE_CLASSES)
        self._attributes = self.informer(VOLUME_ATTRIBUTES_CLASSES)
        self._nodes = self.informer(NODES)

    def _ours(self, claim: Obj) -> Iterable[str]:
        ours = annotations_of(claim).get(PROVISIONER) == self._cloud.driver
        return (key_of(claim),) if ours else ()

    def _deletable(self, volume: Obj) -> Iterable[str]:
        """Released and to be deleted, or deleted by somebody; one that is bound waits for its claim."""
        if volume_facts.handle_of(volume, self._cloud.driver) is None:
            return ()
        phase = (volume.get("status") or {}).get("phase")
        deletes = volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        going = bool(volume["metadata"].get("deletionTimestamp"))
        done = deletes and phase in ("Released", "Failed")
        return (key_of(volume),) if done or (going and phase != "Bound") else ()

    async def reconcile(self, key: str) -> float | None:
        try:
            if "/" in key:
                await self._bring(key)
            else:
                await self._delete(key)
        except Later as later:
            return later.after_s
        except CloudError as error:
            raise TryAgain(str(error)) from error
        return None

    # -- claims ------------------------------------------------------------------------------------------

    async def _bring(self, key: str) -> None:
        claim = self._claims.get(key)
        if claim is None:
            return
        marked = PROVISIONING in (claim["metadata"].get("finalizers") or ())
        if claim["spec"].get("volumeName") or self._volumes.get(volume_name(claim)) is not None:
            if marked:
                await self._mark(claim, on=False)
        elif claim["metadata"].get("deletionTimestamp"):
            if marked:
                await self._take_back(claim)
        else:
            await self._provision(claim, marked)

    async def _provision(self, claim: Obj, marked: bool) -> None:
        storage_class = self._classes.get(volumes.class_of(claim))
        selected = annotations_of(claim).get(SELECTED_NODE)
        if storage_class is None or (selected is None and volumes.waits_for_consumer(storage_class)):
            return
        node = self._nodes.get(selected) if selected is not None else None
        if selected is not None and node is None:
            await self._ask_for_another_node(claim)
            return
        attributes = self._attributes_of(claim)
        if not marked:
            self._tell(
                claim,
                "Normal",
                "Provisioning",
                f'External provisioner is provisioning volume for claim "{key_of(claim)}"',
            )
            claim = await self._mark(claim, on=True)
        places = volume_facts.places_for(
            self._cloud.topology_keys, storage_class, node, self._nodes.list(), claim["metadata"]["uid"]
        )
        try:
            volume = await self._cloud.create(
                volume_facts.request_for(claim, storage_class, attributes, places)
            )
        except NoRoom as error:
            self._failed(claim, error)
            if selected is None:
                raise
            await self._ask_for_another_node(claim)
            return
        except Later:
            raise
        except CloudError as error:
            self._failed(claim, error)
            raise
        made = volume_facts.object_for(claim, storage_class, self._cloud.driver, volume)
        try:
            await self.client.create(PERSISTENT_VOLUMES, made)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        else:
            message = f"Successfully provisioned volume {made['metadata']['name']}"
            self._tell(claim, "Normal", "ProvisioningSucceeded", message)
        await self._mark(claim, on=False)

    async def _take_back(self, claim: Obj) -> None:
        """Nobody wants the volume any more; whether it was made only the cloud knows."""
        volume = await self._cloud.find(volume_name(claim))
        if volume is not None:
            await self._cloud.delete(volume)
        await self._mark(claim, on=False)

    def _attributes_of(self, claim: Obj) -> Mapping[str, str]:
        name = claim["spec"].get("volumeAttributesClassName")
        if not name:
            return {}
        found = self._attributes.get(name)
        if found is None:
            raise TryAgain(f'volumeattributesclass.storage.k8s.io "{name}" not found')
        parameters: Mapping[str, str] = found.get("parameters") or {}
        return parameters

    def _failed(self, claim: Obj, error: CloudError) -> None:
        why = f'failed to provision volume with StorageClass "{volumes.class_of(claim)}": {error}'
        self._tell(claim, "Warning", "ProvisioningFailed", why)

    async def _ask_for_another_node(self, claim: Obj) -> None:
        """The scheduler sees that its node is no longer there, and decides anew."""
        body = {"metadata": {"annotations": {SELECTED_NODE: None}}}
        await self._patch(PERSISTENT_VOLUME_CLAIMS, claim, body)

    async def _mark(self, claim: Obj, *, on: bool) -> Obj:
        field = "finalizers" if on else "$deleteFromPrimitiveList/finalizers"
        return await self._patch(PERSISTENT_VOLUME_CLAIMS, claim, {"metadata": {field: [PROVISIONING]}})

    # -- volumes -----------------------------------------------------------------------------------------

    async def _delete(self, key: str) -> None:
        volume = self._volumes.get(key)
        if volume is None or not list(self._deletable(volume)):
            return
        handle = volume_facts.handle_of(volume, self._cloud.driver)
        assert handle is not None
        if volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete":
            try:
                await self._cloud.delete(handle)
            except Later:
                raise
            except CloudError as error:
                typed = {**volume, "apiVersion": "v1", "kind": "PersistentVolume"}
                self.recorder.event(typed, "Warning", "VolumeFailedDelete", str(error))
                raise
        meta = volume["metadata"]
        if not meta.get("deletionTimestamp"):
            await self._delete_object(volume)
        if PROTECTED in (meta.get("finalizers") or ()):
            body = {"metadata": {"$deleteFromPrimitiveList/finalizers": [PROTECTED]}}
            await self._patch(PERSISTENT_VOLUMES, volume, body)

    async def _delete_object(self, volume: Obj) -> None:
        try:
            await self.client.delete(PERSISTENT_VOLUMES, key_of(volume))
        except ApiError as error:
            if error.code != 404:
                raise

    # -- the API -----------------------------------------------------------------------------------------

    async def _patch(self, resource: Resource, obj: Obj, body: Obj) -> Obj:
        """An object that has gone in the meantime needs nothing more."""
        meta = obj["metadata"]
        try:
            return await self.client.patch(
                resource, meta["name"], body, meta.get("namespace", ""), patch_type="strategic"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return obj

    def _tell(self, claim: Obj, kind: str, reason: str, message: str) -> None:
        typed = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        self.recorder.event(typed, kind, reason, message)
