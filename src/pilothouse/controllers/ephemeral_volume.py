"""The ephemeral volume controller: a claim for each generic ephemeral volume of a pod, which goes with the pod
(pkg/controller/volume/ephemeral, https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import volumes
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PODS
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, TryAgain, controller_of, controller_ref
from pilothouse.controllers.pods import is_terminating


class EphemeralVolumeController(Controller):
    name: ClassVar[str] = "ephemeral-volume-controller"
    queue_name: ClassVar[str] = "ephemeral_volume"

    def setup(self) -> None:
        self._pods = self.watch(PODS, keys=_with_ephemeral_volumes, changed=lambda old, new: False)
        self._claims = self.informer(PERSISTENT_VOLUME_CLAIMS)
        self.watch(PERSISTENT_VOLUME_CLAIMS, keys=_owner, changed=lambda old, new: False)

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None or is_terminating(pod):
            return None
        for volume in _ephemeral(pod):
            try:
                await self._make(pod, volume)
            except TryAgain as error:
                typed = {**pod, "apiVersion": "v1", "kind": "Pod"}
                message = f"ephemeral volume {volume['name']}: {error}"
                self.recorder.event(typed, "Warning", "FailedBinding", message)
                raise
        return None

    async def _make(self, pod: Obj, volume: Obj) -> None:
        namespace = pod["metadata"]["namespace"]
        name = volumes.ephemeral_claim_name(pod, volume)
        present = self._claims.get(f"{namespace}/{name}")
        if present is not None:
            wrong = volumes.not_made_for(pod, present)
            if wrong:
                raise TryAgain(wrong)
            return
        template = volume["ephemeral"].get("volumeClaimTemplate") or {}
        given = template.get("metadata") or {}
        meta = {
            "name": name,
            "namespace": namespace,
            "ownerReferences": [controller_ref(pod, PODS)],
            **{field: given[field] for field in ("labels", "annotations") if given.get(field)},
        }
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": meta,
            "spec": template["spec"],
        }
        try:
            await self.client.create(PERSISTENT_VOLUME_CLAIMS, claim, namespace)
        except ApiError as error:
            raise TryAgain(f"create PVC {name}: {error}") from error


def _ephemeral(pod: Obj) -> list[Obj]:
    return [v for v in pod["spec"].get("volumes") or () if v.get("ephemeral") is not None]


def _with_ephemeral_volumes(pod: Obj) -> Iterable[str]:
    return (key_of(pod),) if _ephemeral(pod) else ()


def _owner(claim: Obj) -> Iterable[str]:
    """The pod whose claim was deleted, and must come back."""
    ref = controller_of(claim)
    if ref is None or ref["kind"] != "Pod":
        return ()
    return (f"{claim['metadata']['namespace']}/{ref['name']}",)
