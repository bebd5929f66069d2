"""A provisioner of volumes that hold nothing, for clusters of simulated nodes: it stands where a CSI driver's
external-provisioner would (https://kubernetes-csi.github.io/docs/external-provisioner.html).

    kind: StorageClass
    provisioner: pilothouse.dev/simulated
    parameters: {topologyKey: topology.kubernetes.io/zone}     # optional: a volume is used where it was made

A claim is ours when the volume controller has written our name on it, and ready when it does not wait for a node or has
one. The volume is named after the claim, so that a second attempt finds the first one's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import volumes
from pilothouse.api.errors import ApiError
from pilothouse.api.provisioning import allowed_terms, term_of, volume_for, volume_name
from pilothouse.api.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, STORAGE_CLASSES
from pilothouse.api.types import Obj
from pilothouse.api.volumes import PROVISIONED_BY, PROVISIONER, SELECTED_NODE, annotations_of
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller

NAME = "pilothouse.dev/simulated"
DRIVER = volumes.SIMULATED_DRIVER
NAMES = (NAME, DRIVER)
"""A class may name either; the second is the CSI driver that the volumes are of, which CSINodes and
CSIStorageCapacities can speak about."""
TOPOLOGY_KEY = "topologyKey"


class SimulatedProvisioner(Controller):
    name: ClassVar[str] = "simulated-provisioner-controller"

    def setup(self) -> None:
        self._claims = self.watch(PERSISTENT_VOLUME_CLAIMS, keys=_ours)
        self._volumes = self.watch(PERSISTENT_VOLUMES, keys=_released)
        self._classes = self.informer(STORAGE_CLASSES)
        self._nodes = self.informer(NODES)

    async def reconcile(self, key: str) -> float | None:
        if "/" in key:
            claim = self._claims.get(key)
            if claim is not None and not claim["spec"].get("volumeName"):
                await self._provision(claim)
            return None
        volume = self._volumes.get(key)
        if volume is not None and list(_released(volume)):
            await self._delete(volume)
        return None

    async def _provision(self, claim: Obj) -> None:
        storage_class = self._classes.get(volumes.class_of(claim))
        if storage_class is None or self._volumes.get(volume_name(claim)) is not None:
            return
        selected = annotations_of(claim).get(SELECTED_NODE)
        if selected is None and volumes.waits_for_consumer(storage_class):
            return
        if selected is not None and self._nodes.get(selected) is None:
            await self._ask_for_another_node(claim)
            return
        node = self._nodes.get(selected) if selected is not None else self._any_node()
        typed = {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        message = f'External provisioner is provisioning volume for claim "{key_of(claim)}"'
        self.recorder.event(typed, "Normal", "Provisioning", message)
        volume = made_for(claim, storage_class, node)
        try:
            await self.client.create(PERSISTENT_VOLUMES, volume)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                why = f'failed to provision volume with StorageClass "{volumes.class_of(claim)}": {error}'
                self.recorder.event(typed, "Warning", "ProvisioningFailed", why)
                raise
            return
        message = f"Successfully provisioned volume {volume['metadata']['name']}"
        self.recorder.event(typed, "Normal", "ProvisioningSucceeded", message)

    def _any_node(self) -> Obj | None:
        names = sorted(self._nodes.keys())
        return self._nodes.get(self.world.random.choice(names)) if names else None

    async def _ask_for_another_node(self, claim: Obj) -> None:
        """The node has gone: the scheduler sees the missing annotation, and decides anew."""
        annotations = {k: v for k, v in annotations_of(claim).items() if k != SELECTED_NODE}
        meta = {**claim["metadata"], "annotations": annotations}
        typed = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        await self.client.update(PERSISTENT_VOLUME_CLAIMS, {**claim, **typed, "metadata": meta})

    async def _delete(self, volume: Obj) -> None:
        try:
            await self.client.delete(PERSISTENT_VOLUMES, volume["metadata"]["name"])
        except ApiError as error:
            if error.code != 404:
                raise


def made_for(claim: Obj, storage_class: Obj, node: Obj | None) -> Obj:
    """The volume for a claim. Which nodes it reaches: those of `node`'s part of the topology where the class names a
    key for that, otherwise those of the class's allowedTopologies, otherwise all."""
    csi = {"driver": DRIVER, "volumeHandle": volume_name(claim)}
    size = claim["spec"]["resources"]["requests"]["storage"]
    return volume_for(claim, storage_class, csi, size, _terms(storage_class, node))


def _terms(storage_class: Obj, node: Obj | None) -> list[Obj]:
    key = (storage_class.get("parameters") or {}).get(TOPOLOGY_KEY)
    labels = (node["metadata"].get("labels") or {}) if node is not None else {}
    if key and key in labels:
        return [term_of({key: labels[key]})]
    return allowed_terms(storage_class)


def _ours(claim: Obj) -> Iterable[str]:
    return (key_of(claim),) if annotations_of(claim).get(PROVISIONER) in NAMES else ()


def _released(volume: Obj) -> Iterable[str]:
    """Volumes of ours that are to be deleted."""
    ours = annotations_of(volume).get(PROVISIONED_BY) in NAMES
    released = (volume.get("status") or {}).get("phase") == "Released"
    going = bool(volume["metadata"].get("deletionTimestamp"))
    policy = volume["spec"].get("persistentVolumeReclaimPolicy")
    return (key_of(volume),) if ours and released and not going and policy == "Delete" else ()
