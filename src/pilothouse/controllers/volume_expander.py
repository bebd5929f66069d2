"""Claims that ask for more than they have: whoever made the volume grows it, and the claim's events say who is waited
for (k8s.io/kubernetes/pkg/controller/volume/expand, https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims).

Volumes of the in-tree plugins that CSI drivers took over are handed to the driver by an annotation; upstream grows none
itself any more.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import csi_migration, volumes
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller

RESIZER = "volume.kubernetes.io/storage-resizer"


class VolumeExpander(Controller):
    name: ClassVar[str] = "persistentvolume-expander-controller"
    queue_name: ClassVar[str] = "volume_expand"

    def setup(self) -> None:
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIMS, changed=_asks_for_more)
        self._volumes = self.informer(PERSISTENT_VOLUMES)

    async def reconcile(self, key: str) -> float | None:
        claim = self._claims.get(key)
        if claim is None or not wants_to_grow(claim):
            return None
        volume = self._volumes.get(claim["spec"].get("volumeName") or "")
        if volume is None or not volumes.is_bound_to(volume, claim):
            return None
        found = csi_migration.attachable(volume["spec"])
        if found is None or not found.plugin:
            self._tell(claim, "waiting for an external controller to expand this PVC")
            return None
        text = f"CSI migration enabled for {found.plugin}; waiting for external resizer to expand the pvc"
        self._tell(claim, text)
        if volumes.annotations_of(claim).get(RESIZER) != found.driver:
            meta = claim["metadata"]
            body = {"metadata": {"annotations": {RESIZER: found.driver}}}
            await self.client.patch(
                PERSISTENT_VOLUME_CLAIMS, meta["name"], body, meta["namespace"], subresource="status"
            )
        return None

    def _tell(self, claim: Obj, message: str) -> None:
        typed = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        self.recorder.event(typed, "Normal", "ExternalExpanding", message)


def wants_to_grow(claim: Obj) -> bool:
    bound = (claim.get("status") or {}).get("phase") == "Bound"
    return bound and volumes.asked(claim) > volumes.granted(claim)


def _asks_for_more(old: Obj, new: Obj) -> bool:
    return volumes.asked(new) > volumes.asked(old)
