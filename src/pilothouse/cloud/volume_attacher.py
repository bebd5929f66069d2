"""Volumes attached to nodes as VolumeAttachments ask (https://kubernetes-csi.github.io/docs/external-attacher.html).

    made    ──▶ finalizer ──▶ attached in the cloud ──▶ status.attached, metadata for the node; or attachError
    deleted ──▶ detached in the cloud ──▶ finalizer gone; or detachError

kube-controller-manager makes and deletes the attachments (persistentvolume-attach-detach-controller). The instance is
remembered in the attachment: the node's object may be gone before the volume is. A finalizer of the PersistentVolume
keeps that until the last attachment has gone: it knows what is to be detached.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PERSISTENT_VOLUMES, VOLUME_ATTACHMENTS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.cloud import volume_facts
from pilothouse.cloud.provider import CloudError, Later, Volumes

NODE_ID = "csi.alpha.kubernetes.io/node-id"
"""The annotation with which external-attacher remembers the instance."""
_VOLUME = "volume/"
"""A key of a PersistentVolume; those of attachments have no slash."""


class VolumeAttacher(Controller):
    name: ClassVar[str] = "cloud-volume-attacher-controller"
    retry_s: ClassVar[tuple[float, float]] = (1.0, 300.0)

    def __init__(self, env: Environment, cloud: Volumes) -> None:
        super().__init__(env)
        self._cloud = cloud
        self._finalizer = volume_facts.attacher_finalizer(cloud.driver)

    def setup(self) -> None:
        self._attachments = self.watch(VOLUME_ATTACHMENTS, keys=self._of_attachment)
        self._attachments.add_index("volume", _volume_of)
        self._volumes = self.watch(PERSISTENT_VOLUMES, keys=self._of_volume)
        self._nodes = self.informer(NODES)

    def _ours(self, attachment: Obj) -> Iterable[str]:
        return (key_of(attachment),) if attachment["spec"]["attacher"] == self._cloud.driver else ()

    def _of_attachment(self, attachment: Obj) -> Iterable[str]:
        """Of the last one that goes its volume may be waiting."""
        for key in self._ours(attachment):
            yield key
            yield _VOLUME + _volume_name(attachment)

    def _of_volume(self, volume: Obj) -> Iterable[str]:
        """An attachment may be older than the volume that it names is here."""
        yield _VOLUME + key_of(volume)
        for attachment in self._attachments.by_index("volume", key_of(volume)):
            yield from self._ours(attachment)

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_VOLUME):
            await self._release(key.removeprefix(_VOLUME))
            return None
        attachment = self._attachments.get(key)
        if attachment is None:
            return None
        try:
            if not attachment["metadata"].get("deletionTimestamp"):
                await self._attach(attachment)
            elif self._finalizer in (attachment["metadata"].get("finalizers") or ()):
                await self._detach(attachment)
        except Later as later:
            return later.after_s
        return None

    async def _attach(self, attachment: Obj) -> None:
        if (attachment.get("status") or {}).get("attached"):
            return
        volume, node = (
            self._volumes.get(_volume_name(attachment)),
            self._nodes.get(attachment["spec"]["nodeName"]),
        )
        handle = volume_facts.handle_of(volume, self._cloud.driver) if volume is not None else None
        if volume is None or handle is None or node is None:
            return
        attachment = await self._mark(attachment, node)
        read_only = volume["spec"].get("accessModes") == ["ReadOnlyMany"]
        try:
            await self._hold(volume)
            found = await self._cloud.attach(handle, node, read_only=read_only)
        except Later:
            raise
        except CloudError as error:
            await self._set_status(attachment, {"attached": False, "attachError": self._error(error)})
            raise TryAgain(str(error)) from error
        await self._set_status(
            attachment, {"attached": True, "attachError": None, "attachmentMetadata": dict(found) or None}
        )

    async def _mark(self, attachment: Obj, node: Obj) -> Obj:
        """From here on the attachment stays until the volume is off."""
        meta = attachment["metadata"]
        instance = (node.get("spec") or {}).get("providerID") or ""
        known = (meta.get("annotations") or {}).get(NODE_ID)
        if self._finalizer in (meta.get("finalizers") or ()) and known == instance:
            return attachment
        finalizers = {*(meta.get("finalizers") or ()), self._finalizer}
        body = {
            "resourceVersion": meta["resourceVersion"],
            "finalizers": sorted(finalizers),
            "annotations": {NODE_ID: instance},
        }
        return await self.client.patch(VOLUME_ATTACHMENTS, meta["name"], {"metadata": body})

    async def _hold(self, volume: Obj) -> None:
        name = key_of(volume)
        if volume["metadata"].get("deletionTimestamp"):
            raise CloudError(f'PersistentVolume "{name}" is marked for deletion')
        if self._finalizer not in (volume["metadata"].get("finalizers") or ()):
            await self._patch_finalizer(name, {"finalizers": [self._finalizer]})

    async def _release(self, name: str) -> None:
        volume = self._volumes.get(name)
        if volume is None or not volume["metadata"].get("deletionTimestamp"):
            return
        held = self._finalizer in (volume["metadata"].get("finalizers") or ())
        if held and not self._attachments.by_index("volume", name):
            await self._patch_finalizer(name, {"$deleteFromPrimitiveList/finalizers": [self._finalizer]})

    async def _patch_finalizer(self, name: str, meta: Obj) -> None:
        try:
            await self.client.patch(PERSISTENT_VOLUMES, name, {"metadata": meta}, patch_type="strategic")
        except ApiError as error:
            if error.code != 404:
                raise

    async def _detach(self, attachment: Obj) -> None:
        meta = attachment["metadata"]
        volume = self._volumes.get(_volume_name(attachment))
        handle = volume_facts.handle_of(volume, self._cloud.driver) if volume is not None else None
        if handle is not None:
            try:
                await self._cloud.detach(handle, self._node_of(attachment))
            except Later:
                raise
            except CloudError as error:
                await self._set_status(attachment, {"attached": True, "detachError": self._error(error)})
                raise TryAgain(str(error)) from error
        finalizers = [f for f in meta["finalizers"] if f != self._finalizer]
        body = {"resourceVersion": meta["resourceVersion"], "finalizers": finalizers or None}
        try:
            await self.client.patch(VOLUME_ATTACHMENTS, meta["name"], {"metadata": body})
        except ApiError as error:
            if error.code != 404:
                raise

    def _node_of(self, attachment: Obj) -> Obj:
        """The node as it was when the volume was attached; one of the same name may have come since."""
        instance = (attachment["metadata"].get("annotations") or {}).get(NODE_ID) or ""
        return {"metadata": {"name": attachment["spec"]["nodeName"]}, "spec": {"providerID": instance}}

    def _error(self, error: CloudError) -> Obj:
        return {"time": self.world.timestamp(), "message": str(error)}

    async def _set_status(self, attachment: Obj, status: Obj) -> None:
        name = attachment["metadata"]["name"]
        try:
            await self.client.patch(VOLUME_ATTACHMENTS, name, {"status": status}, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def _volume_name(attachment: Obj) -> str:
    return str(attachment["spec"]["source"].get("persistentVolumeName") or "")


def _volume_of(attachment: Obj) -> Iterable[str]:
    name = _volume_name(attachment)
    return (name,) if name else ()
