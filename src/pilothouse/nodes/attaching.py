"""Whether a pod's volumes are attached to its node: a kubelet mounts none before, and starts no container
(pkg/kubelet/volumemanager WaitForAttachAndMount, pkg/volume/csi csi_attacher.go).

Attaching is others' work: attach-detach controller makes a VolumeAttachment, the driver says in its status that it is
done. A kubelet says nothing while it waits, and after two minutes, and each two minutes again, FailedMount.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.api import csi_migration, volumes
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CSI_DRIVERS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.informer import Informer

PATIENCE_S = 123.0
"""podAttachAndMountTimeout."""
_BY_NODE = "node"


class Attachments:
    """`informer` is of VolumeAttachments. `attached` is told a node's name when one of its attachments is done."""

    def __init__(self, client: Client, informer: Informer, attached: Callable[[str], None]) -> None:
        self._client = client
        self._informer = informer
        self._attached = attached
        informer.add_index(_BY_NODE, _node_of)
        informer.add_handler(self)

    def on_add(self, obj: Obj) -> None:
        if _is_attached(obj):
            self._attached(obj["spec"]["nodeName"])

    def on_update(self, old: Obj, new: Obj) -> None:
        self.on_add(new)

    def on_delete(self, obj: Obj) -> None:
        """Nobody waits for that."""

    async def missing(self, pod: Obj) -> list[str]:
        """The names of a pod's volumes that are to be attached to its node, and are not yet; sorted. ApiError."""
        namespace = pod["metadata"]["namespace"]
        found: list[str] = []
        for volume in pod["spec"].get("volumes") or ():
            claim = volumes.claim_name(pod, volume)
            if claim and not await self._is_ready(namespace, claim, pod["spec"]["nodeName"]):
                found.append(volume["name"])
        return sorted(found)

    async def _is_ready(self, namespace: str, claim_name: str, node: str) -> bool:
        claim = await self._get(PERSISTENT_VOLUME_CLAIMS, claim_name, namespace)
        name = (claim or {"spec": {}})["spec"].get("volumeName")
        volume = await self._get(PERSISTENT_VOLUMES, name) if name else None
        wanted = csi_migration.attachable(volume["spec"]) if volume is not None else None
        if wanted is None or any(
            _is_attached(each) and (each["spec"].get("source") or {}).get("persistentVolumeName") == name
            for each in self._informer.by_index(_BY_NODE, node)
        ):
            return True
        driver = await self._get(CSI_DRIVERS, wanted.driver)
        return driver is not None and driver["spec"].get("attachRequired") is False

    async def _get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        try:
            return await self._client.get(resource, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise


def waited_too_long(names: Iterable[str]) -> str:
    """What FailedMount says of volumes that were not attached in time."""
    listed = " ".join(names)
    return (
        f"Unable to attach or mount volumes: unmounted volumes=[{listed}], unattached volumes=[{listed}], "
        "failed to process volumes=[]: context deadline exceeded"
    )


def _is_attached(attachment: Obj) -> bool:
    return bool((attachment.get("status") or {}).get("attached"))


def _node_of(attachment: Obj) -> Iterable[str]:
    return (attachment["spec"]["nodeName"],)
