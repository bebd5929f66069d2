"""Protection of claims and volumes in use: their finalizers go when nobody uses them any more
(k8s.io/kubernetes/pkg/controller/volume/pvcprotection and pvprotection,
https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    VOLUME_ATTRIBUTES_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.api.volumes import claims_of
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.pods import is_terminal, is_terminating


class _Protection(Controller):
    """One kind's finalizer: set while the object lives, taken off when it is to go and unused."""

    resource: ClassVar[Resource]
    finalizer: ClassVar[str]

    def setup(self) -> None:
        self._objects = self.watch(self.resource)

    def is_used(self, obj: Obj, key: str) -> bool:
        raise NotImplementedError

    async def is_used_really(self, obj: Obj) -> bool:
        """As the API server knows it; for what an informer may learn too late."""
        return False

    async def reconcile(self, key: str) -> float | None:
        obj = self._objects.get(key)
        if obj is None:
            return None
        finalizers = obj["metadata"].get("finalizers") or []
        held = self.finalizer in finalizers
        if is_terminating(obj):
            if held and not self.is_used(obj, key) and not await self.is_used_really(obj):
                await self._write(obj, [f for f in finalizers if f != self.finalizer])
        elif not held:
            await self._write(obj, [*finalizers, self.finalizer])
        return None

    async def _write(self, obj: Obj, finalizers: list[str]) -> None:
        meta = {**obj["metadata"], "finalizers": finalizers}
        typed = {"apiVersion": self.resource.group_version, "kind": self.resource.kind}
        try:
            await self.client.update(self.resource, {**obj, **typed, "metadata": meta})
        except ApiError as error:
            if error.code != 404:
                raise


class ClaimProtectionController(_Protection):
    name: ClassVar[str] = "persistentvolumeclaim-protection-controller"
    queue_name: ClassVar[str] = "pvcprotection"
    resource: ClassVar[Resource] = PERSISTENT_VOLUME_CLAIMS
    finalizer: ClassVar[str] = "kubernetes.io/pvc-protection"

    def setup(self) -> None:
        super().setup()
        self._pods = self.watch(PODS, keys=claims_of)
        self._pods.add_index("claim", claims_of)

    def is_used(self, obj: Obj, key: str) -> bool:
        return any(uses_claims(pod) for pod in self._pods.by_index("claim", key))

    async def is_used_really(self, obj: Obj) -> bool:
        # A pod may have been bound a moment ago: what the informer does not show yet must count.
        listed = await self.client.list(PODS, obj["metadata"]["namespace"])
        key = key_of(obj)
        return any(uses_claims(pod) and key in claims_of(pod) for pod in listed.get("items") or ())


class VolumeProtectionController(_Protection):
    name: ClassVar[str] = "persistentvolume-protection-controller"
    queue_name: ClassVar[str] = "pvprotection"
    resource: ClassVar[Resource] = PERSISTENT_VOLUMES
    finalizer: ClassVar[str] = "kubernetes.io/pv-protection"

    def is_used(self, obj: Obj, key: str) -> bool:
        return bool((obj.get("status") or {}).get("phase") == "Bound")


class AttributesClassProtectionController(_Protection):
    """pkg/controller/volume/vacprotection."""

    name: ClassVar[str] = "volumeattributesclass-protection-controller"
    queue_name: ClassVar[str] = "vacprotection"
    resource: ClassVar[Resource] = VOLUME_ATTRIBUTES_CLASSES
    finalizer: ClassVar[str] = "kubernetes.io/vac-protection"

    def setup(self) -> None:
        super().setup()
        self._users = [
            self.watch(resource, keys=classes_of)
            for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES)
        ]
        for informer in self._users:
            informer.add_index("attributes class", classes_of)

    def is_used(self, obj: Obj, key: str) -> bool:
        return any(informer.by_index("attributes class", key) for informer in self._users)

    async def is_used_really(self, obj: Obj) -> bool:
        name = obj["metadata"]["name"]
        for resource in (PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES):
            listed = await self.client.list(resource)
            if any(name in classes_of(user) for user in listed.get("items") or ()):
                return True
        return False


def classes_of(obj: Obj) -> list[str]:
    """The attributes classes that a claim or a volume wants, has, or is on its way to."""
    status = obj.get("status") or {}
    found = (
        obj["spec"].get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return sorted({name for name in found if name})


def uses_claims(pod: Obj) -> bool:
    """Only pods on a node do: a kubelet starts none whose claim is on its way out."""
    return bool(pod["spec"].get("nodeName")) and not is_terminal(pod)
