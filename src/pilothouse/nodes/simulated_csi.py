"""A CSI driver's stand-in for volumes that hold nothing: it attaches them, grows them, gives them
other attributes, and says on which nodes they are
mounted.

It does what external-attacher, external-resizer and the kubelets' volume managers do of a real driver
(https://kubernetes-csi.github.io/docs/sidecar-containers.html); the provisioner's part is a controller of its own.

    VolumeAttachment made                      ──▶ status.attached
    claim asks for more than its volume holds  ──▶ volume's capacity, then the claim's
    claim asks for another attributes class    ──▶ volume's class, then the claim's current one
    pod with a driver's volume comes or goes   ──▶ node's status.volumesInUse
    FileSystemResizePending, of any driver     ──▶ claim's capacity, once a pod here runs with it (the kubelet's part)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from pilothouse.api import csi_migration, volumes
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informer, Informers, key_of, split_key
from pilothouse.kit.work_queue import RateLimitedQueue, work
from pilothouse.kit.world import World
from pilothouse.nodes.machines import Machines

log = logging.getLogger(__name__)

_WORKERS = 4
_RESIZER = f"external-resizer {volumes.SIMULATED_DRIVER}"
_Key = tuple[str, str]


class SimulatedCsi:
    """`pods` are those of all nodes."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        pods: Informer,
        machines: Machines,
        world: World,
        recorder: EventRecorder,
    ) -> None:
        self._client = client
        self._machines = machines
        self._world = world
        self._recorder = recorder
        self._queue: RateLimitedQueue[_Key] = RateLimitedQueue("simulated-csi", world)
        self._attachments = informers.informer(VOLUME_ATTACHMENTS)
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(PERSISTENT_VOLUMES)
        self._pods = pods
        self._attributes = informers.informer(VOLUME_ATTRIBUTES_CLASSES)
        self._grown: dict[str, int] = {}
        """The revisions of claims that we have changed, until the informer has them."""
        pods.add_index("claims by node", _node_of_claims)
        pods.add_index("claim", volumes.claims_of)
        pods.add_handler(_Keys(self._queue.add, _keys_of_pod))
        self._attachments.add_handler(_Keys(self._queue.add, lambda a: (("attachment", key_of(a)),)))
        self._claims.add_index("attributes", _attributes_of)
        self._claims.add_handler(_Keys(self._queue.add, self._claim_keys))
        self._attributes.add_handler(_Keys(self._queue.add, self._claims_of_attributes))
        self._volumes.add_handler(_Keys(self._queue.add, _claim_of_volume))

    async def run(self) -> None:
        """Until cancelled."""
        followed = (self._attachments, self._claims, self._volumes, self._attributes)
        await asyncio.gather(*(informer.synced() for informer in followed))
        await work(self._queue, self._handle, workers=_WORKERS, name="simulated CSI driver")

    async def _handle(self, key: _Key) -> None:
        kind, name = key
        try:
            await {"attachment": self._attach, "claim": self._update, "node": self._report}[kind](name)
        except (ApiError, ConnectionError) as error:
            if not isinstance(error, ApiError) or error.code != 404:
                log.info("%s %s: %s; trying again", kind, name, error)
                self._queue.add_rate_limited(key)
                return
        self._queue.forget(key)

    # -- attaching --------------------------------------------------------------------------------------

    async def _attach(self, name: str) -> None:
        found = self._attachments.get(name)
        if found is None or found["spec"]["attacher"] != volumes.SIMULATED_DRIVER:
            return
        if not (found.get("status") or {}).get("attached") and found["spec"]["nodeName"] in self._machines:
            await self._status(VOLUME_ATTACHMENTS, name, {"attached": True})

    async def _report(self, name: str) -> None:
        node = self._machines.node(name)
        if node is None or name not in self._machines:
            return
        used = sorted(set(self._used(name)))
        if ((node.get("status") or {}).get("volumesInUse") or []) != used:
            await self._status(NODES, name, {"volumesInUse": used or None})

    def _used(self, node: str) -> Iterable[str]:
        for pod in self._pods.by_index("claims by node", node):
            for key in volumes.claims_of(pod):
                claim = self._claims.get(key)
                volume = (
                    self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
                )
                found = csi_migration.attachable(volume["spec"]) if volume is not None else None
                if found is not None:
                    yield f"kubernetes.io/csi/{found.driver}^{found.handle}"

    # -- claims -----------------------------------------------------------------------------------------

    async def _update(self, key: str) -> None:
        claim = self._claims.get(key)
        volume = self._volumes.get(claim["spec"].get("volumeName") or "") if claim is not None else None
        if claim is None or volume is None or not volumes.is_bound_to(volume, claim):
            return
        if not _is_ours(volume):
            await self._grow_file_system(key, claim, volume)
            return
        if _revision(claim) < self._grown.get(key, 0):
            return  # the informer does not show yet what we wrote
        self._grown.pop(key, None)
        if (claim.get("status") or {}).get("phase") == "Bound":
            claim = await self._modify(key, claim, volume)
            await self._grow(key, claim, volume)

    async def _modify(self, key: str, claim: Obj, volume: Obj) -> Obj:
        """Give a volume the attributes of the class that its claim asks for (external-resizer pkg/modifycontroller);
        the claim as it is then. A class that is not there is waited for."""
        status = claim["status"]
        wanted = claim["spec"].get("volumeAttributesClassName")
        if not wanted or wanted == status.get("currentVolumeAttributesClassName"):
            return claim
        progress = status.get("modifyVolumeStatus") or {}
        if self._attributes.get(wanted) is None:
            if progress.get("status") == "Pending":
                return claim
            return await self._tell(key, {"modifyVolumeStatus": {**progress, "status": "Pending"}})
        others = [c for c in status.get("conditions") or () if c["type"] not in _MODIFY_CONDITIONS]
        begun = {"targetVolumeAttributesClassName": wanted, "status": "InProgress"}
        modifying = {
            "type": "ModifyingVolume",
            "status": "True",
            "lastTransitionTime": self._world.timestamp(),
            "message": "ModifyVolume operation in progress.",
        }
        claim = await self._tell(key, {"modifyVolumeStatus": begun, "conditions": [*others, modifying]})
        name = claim["metadata"]["name"]
        text = f"external resizer is modifying volume {name} with vac {wanted}"
        self._say(claim, "VolumeModify", text)
        done: Obj = {"spec": {"volumeAttributesClassName": wanted}}
        await self._client.patch(PERSISTENT_VOLUMES, volume["metadata"]["name"], done)
        done = {
            "currentVolumeAttributesClassName": wanted,
            "modifyVolumeStatus": None,
            "conditions": others or None,
        }
        claim = await self._tell(key, done)
        # The space at the end is upstream's.
        text = f"external resizer modified volume {name} with vac {wanted} successfully "
        self._say(claim, "VolumeModifySuccessful", text)
        return claim

    async def _tell(self, key: str, status: Obj) -> Obj:
        written = await self._status(PERSISTENT_VOLUME_CLAIMS, key, status)
        self._grown[key] = _revision(written)
        return written

    def _say(self, claim: Obj, reason: str, message: str) -> None:
        typed = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        self._recorder.event(typed, "Normal", reason, message, component=_RESIZER)

    async def _grow(self, key: str, claim: Obj, volume: Obj) -> None:
        status = claim["status"]
        size = claim["spec"]["resources"]["requests"]["storage"]
        if not volumes.granted(claim) or volumes.asked(claim) <= volumes.granted(claim):
            return
        name = volume["metadata"]["name"]
        if volumes.capacity(volume) < volumes.asked(claim):
            self._say(claim, "Resizing", f"External resizer is resizing volume {name}")
            grown = {"spec": {"capacity": {"storage": size}}}
            await self._client.patch(PERSISTENT_VOLUMES, name, grown)
        others = [c for c in status.get("conditions") or () if c["type"] not in _RESIZE_CONDITIONS]
        done: Obj = {
            "capacity": {"storage": size},
            "conditions": others or None,
            "allocatedResources": {"storage": size},
            "allocatedResourceStatuses": None,
        }
        claim = await self._tell(key, done)
        self._say(claim, "VolumeResizeSuccessful", "Resize volume succeeded")

    async def _grow_file_system(self, key: str, claim: Obj, volume: Obj) -> None:
        """A driver has grown the volume and leaves the rest to the node (NodeExpandVolume)."""
        status = claim.get("status") or {}
        state = (status.get("allocatedResourceStatuses") or {}).get("storage")
        pods = [pod for pod in self._pods.by_index("claim", key) if self._runs_here(pod)]
        if state not in _ON_NODE or not pods:
            return
        size = (status.get("allocatedResources") or {})["storage"]
        others = [c for c in status.get("conditions") or () if c["type"] not in _RESIZE_CONDITIONS]
        done: Obj = {
            "capacity": {"storage": size},
            "conditions": others or None,
            "allocatedResourceStatuses": None,
        }
        await self._status(PERSISTENT_VOLUME_CLAIMS, key, done)
        name, node = volume["metadata"]["name"], pods[0]["spec"]["nodeName"]
        message = f'MountVolume.NodeExpandVolume succeeded for volume "{name}" {node}'
        for kind, obj in (("Pod", pods[0]), ("PersistentVolumeClaim", claim)):
            typed = {**obj, "apiVersion": "v1", "kind": kind}
            self._recorder.event(typed, "Normal", "FileSystemResizeSuccessful", message)

    def _runs_here(self, pod: Obj) -> bool:
        running = (pod.get("status") or {}).get("phase") == "Running"
        return running and pod["spec"].get("nodeName") in self._machines

    async def _status(self, resource: Resource, key: str, status: Obj) -> Obj:
        namespace, name = split_key(key)
        return await self._client.patch(resource, name, {"status": status}, namespace, subresource="status")

    def _claims_of_attributes(self, found: Obj) -> Iterable[_Key]:
        for claim in self._claims.by_index("attributes", found["metadata"]["name"]):
            yield "claim", key_of(claim)

    def _claim_keys(self, claim: Obj) -> Iterable[_Key]:
        key = key_of(claim)
        yield "claim", key
        for pod in self._pods.by_index("claim", key):
            if pod["spec"].get("nodeName"):
                yield "node", pod["spec"]["nodeName"]


_RESIZE_CONDITIONS = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")
_ON_NODE = ("NodeResizePending", "NodeResizeInProgress")
_MODIFY_CONDITIONS = ("ModifyingVolume", "ModifyVolumeError")


def _attributes_of(claim: Obj) -> Iterable[str]:
    """The class that a claim asks for."""
    name = claim["spec"].get("volumeAttributesClassName")
    return (name,) if name else ()


class _Keys:
    """Queues what an informer's changes concern."""

    def __init__(self, add: Callable[[_Key], None], keys: Callable[[Obj], Iterable[_Key]]) -> None:
        self._add = add
        self._keys = keys

    def on_add(self, obj: Obj) -> None:
        for key in self._keys(obj):
            self._add(key)

    def on_update(self, old: Obj, new: Obj) -> None:
        self.on_add(old)
        self.on_add(new)

    def on_delete(self, obj: Obj) -> None:
        self.on_add(obj)


def _keys_of_pod(pod: Obj) -> Iterable[_Key]:
    """The node that has its volumes, and the claims that may wait for it to run."""
    for node in _node_of_claims(pod):
        yield "node", node
        for claim in volumes.claims_of(pod):
            yield "claim", claim


def _node_of_claims(pod: Obj) -> Iterable[str]:
    """The node of a pod that has claims and has not finished."""
    node = pod["spec"].get("nodeName")
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return (node,) if node and not finished and any(True for _ in volumes.claim_names(pod)) else ()


def _claim_of_volume(volume: Obj) -> Iterable[_Key]:
    key = volumes.claim_key(volume)
    return (("claim", key),) if key and _is_ours(volume) else ()


def _revision(obj: Obj) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _is_ours(volume: Obj) -> bool:
    return bool((volume["spec"].get("csi") or {}).get("driver") == volumes.SIMULATED_DRIVER)
