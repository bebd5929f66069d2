"""A CSI driver's stand-in for volumes that hold nothing: it attaches them, grows them, and says on which nodes they are
mounted.

It does what external-attacher, external-resizer and the kubelets' volume managers do of a real driver
(https://kubernetes-csi.github.io/docs/sidecar-containers.html); the provisioner's part is a controller of its own.

    VolumeAttachment made                      ──▶ status.attached
    claim asks for more than its volume holds  ──▶ volume's capacity, then the claim's
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
        self._recorder = recorder
        self._queue: RateLimitedQueue[_Key] = RateLimitedQueue("simulated-csi", world)
        self._attachments = informers.informer(VOLUME_ATTACHMENTS)
        self._claims = informers.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = informers.informer(PERSISTENT_VOLUMES)
        self._pods = pods
        self._grown: dict[str, int] = {}
        """The revisions of claims that we have grown, until the informer has them."""
        pods.add_index("claims by node", _node_of_claims)
        pods.add_index("claim", volumes.claims_of)
        pods.add_handler(_Keys(self._queue.add, _keys_of_pod))
        self._attachments.add_handler(_Keys(self._queue.add, lambda a: (("attachment", key_of(a)),)))
        self._claims.add_handler(_Keys(self._queue.add, self._claim_keys))
        self._volumes.add_handler(_Keys(self._queue.add, _claim_of_volume))

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._attachments.synced(), self._claims.synced(), self._volumes.synced())
        await work(self._queue, self._handle, workers=_WORKERS, name="simulated CSI driver")

    async def _handle(self, key: _Key) -> None:
        kind, name = key
        try:
            await {"attachment": self._attach, "claim": self._resize, "node": self._report}[kind](name)
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

    # -- growing ----------------------------------------------------------------------------------------

    async def _resize(self, key: str) -> None:
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
        status = claim.get("status") or {}
        size = claim["spec"]["resources"]["requests"]["storage"]
        if (
            status.get("phase") != "Bound"
            or not volumes.granted(claim)
            or volumes.asked(claim) <= volumes.granted(claim)
        ):
            return
        typed = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        name = volume["metadata"]["name"]
        if volumes.capacity(volume) < volumes.asked(claim):
            self._recorder.event(
                typed, "Normal", "Resizing", f"External resizer is resizing volume {name}", component=_RESIZER
            )
            grown = {"spec": {"capacity": {"storage": size}}}
            await self._client.patch(PERSISTENT_VOLUMES, name, grown)
        others = [c for c in status.get("conditions") or () if c["type"] not in _RESIZE_CONDITIONS]
        done: Obj = {
            "capacity": {"storage": size},
            "conditions": others or None,
            "allocatedResources": {"storage": size},
            "allocatedResourceStatuses": None,
        }
        self._grown[key] = _revision(await self._status(PERSISTENT_VOLUME_CLAIMS, key, done))
        self._recorder.event(
            typed, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded", component=_RESIZER
        )

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

    def _claim_keys(self, claim: Obj) -> Iterable[_Key]:
        key = key_of(claim)
        yield "claim", key
        for pod in self._pods.by_index("claim", key):
            if pod["spec"].get("nodeName"):
                yield "node", pod["spec"]["nodeName"]


_RESIZE_CONDITIONS = ("Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError")
_ON_NODE = ("NodeResizePending", "NodeResizeInProgress")


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
