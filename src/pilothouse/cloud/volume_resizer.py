"""Volumes that grow when their claim asks for more, and change with its attributes class
(https://kubernetes-csi.github.io/docs/external-resizer.html).

    asked for more than granted ──▶ Resizing ──▶ grown in the cloud ──▶ volume's capacity
        ──▶ FileSystemResizePending, where the node has to grow the file system, else the claim's capacity: done
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import volumes
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller, Environment, TryAgain
from pilothouse.cloud import volume_facts
from pilothouse.cloud.provider import CloudError, Later, Volumes

_CONDITIONS = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")


class VolumeResizer(Controller):
    name: ClassVar[str] = "cloud-volume-resizer-controller"
    retry_s: ClassVar[tuple[float, float]] = (1.0, 300.0)

    def __init__(self, env: Environment, cloud: Volumes) -> None:
        super().__init__(env)
        self._cloud = cloud

    def setup(self) -> None:
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = self.watch(PERSISTENT_VOLUMES, keys=_claim_of)

    async def reconcile(self, key: str) -> float | None:
        claim = self._claims.get(key)
        volume = self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
        if (
            claim is None
            or volume is None
            or not _wants_more(claim)
            or not volumes.is_bound_to(volume, claim)
        ):
            return None
        handle = volume_facts.handle_of(volume, self._cloud.driver)
        if handle is None or _is_pending(claim):
            return None
        try:
            await self._grow(claim, volume, handle)
        except Later as later:
            return later.after_s
        except CloudError as error:
            await self._failed(claim, volume, error)
            raise TryAgain(str(error)) from error
        return None

    async def _grow(self, claim: Obj, volume: Obj, handle: str) -> None:
        asked = claim["spec"]["resources"]["requests"]["storage"]
        if volumes.capacity(volume) < volumes.asked(claim):
            name = key_of(volume)
            self._tell(claim, "Normal", "Resizing", f"External resizer is resizing volume {name}")
            await self._set_status(
                claim,
                {"allocatedResources": {"storage": asked}},
                state="ControllerResizeInProgress",
                condition="Resizing",
            )
            size = await self._cloud.expand(handle, volumes.asked(claim))
            grown = {"spec": {"capacity": {"storage": volume_facts.size_text(size)}}}
            await self.client.patch(PERSISTENT_VOLUMES, name, grown)
        if self._cloud.grows_on_node and volumes.volume_mode(claim) == "Filesystem":
            await self._set_status(claim, {}, state="NodeResizePending", condition="FileSystemResizePending")
            message = "Require file system resize of volume on node"
            self._tell(claim, "Normal", "FileSystemResizeRequired", message)
        else:
            await self._set_status(claim, {"capacity": {"storage": asked}})
            self._tell(claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded")

    async def _failed(self, claim: Obj, volume: Obj, error: CloudError) -> None:
        driver = self._cloud.driver
        message = f'resize volume "{key_of(volume)}" by resizer "{driver}" failed: {error}'
        self._tell(claim, "Warning", "VolumeResizeFailed", message)

    async def _set_status(self, claim: Obj, more: Obj, *, state: str = "", condition: str = "") -> None:
        """With `state` of the size that was asked for, and the one condition of a resize that holds now."""
        meta = claim["metadata"]
        present = (claim.get("status") or {}).get("conditions") or ()
        conditions = [c for c in present if c["type"] not in _CONDITIONS]
        if condition:
            now = self.world.timestamp()
            conditions.append({"type": condition, "status": "True", "lastTransitionTime": now})
        status = {
            **more,
            "conditions": conditions or None,
            "allocatedResourceStatuses": {"storage": state} if state else None,
        }
        await self.client.patch(
            PERSISTENT_VOLUME_CLAIMS,
            meta["name"],
            {"status": status},
            meta["namespace"],
            subresource="status",
        )

    def _tell(self, claim: Obj, kind: str, reason: str, message: str) -> None:
        typed = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        self.recorder.event(typed, kind, reason, message, component=f"external-resizer {self._cloud.driver}")


def _wants_more(claim: Obj) -> bool:
    bound = (claim.get("status") or {}).get("phase") == "Bound"
    return bound and bool(volumes.granted(claim)) and volumes.asked(claim) > volumes.granted(claim)


def _is_pending(claim: Obj) -> bool:
    """The rest is the node's affair; a claim that asks for yet more starts anew."""
    status = claim.get("status") or {}
    state = (status.get("allocatedResourceStatuses") or {}).get("storage")
    allocated = (status.get("allocatedResources") or {}).get("storage")
    asked = claim["spec"]["resources"]["requests"]["storage"]
    return state in ("NodeResizePending", "NodeResizeInProgress") and allocated == asked


def _claim_of(volume: Obj) -> Iterable[str]:
    key = volumes.claim_key(volume)
    return (key,) if key else ()
