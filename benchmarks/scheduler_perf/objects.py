"""What the operations make: nodes, volumes with their claims, resource slices (test/utils, dra.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.kit.world import World

HOSTNAME = "kubernetes.io/hostname"


class BaseNode:
    """The node of a createNodes without a template (scheduler_perf makeBaseNode); its name begins with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def object(self, index: int = 0, count: int = 1) -> Obj:
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"generateName": self._prefix},
            "spec": {},
            "status": {
                "capacity": {"pods": "110", "cpu": "4", "memory": "32Gi"},
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }


def base_pod() -> Obj:
    """The pod of a createPods where neither it nor its case names a template (makeBasePod)."""
    room = {"cpu": "100m", "memory": "500Mi"}
    container = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10.1",
        "ports": [{"containerPort": 80}],
        "resources": {"limits": room, "requests": room},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "pod-"},
        "spec": {"containers": [container]},
    }


class Preparation:
    """What a createNodes adds to its nodes. Upstream patches it in after all are made; here a node is made with it,
    which leaves the same nodes."""

    def __init__(self, values: Mapping[str, Any], world: World) -> None:
        self._world = world
        self._allocatable: Mapping[str, Any] = values.get("nodeAllocatableStrategy") or {}
        self._label: Mapping[str, Any] = values.get("labelNodePrepareStrategy") or {}
        self._unique: Mapping[str, Any] = values.get("uniqueNodeLabelStrategy") or {}

    def prepare(self, node: Obj, index: int) -> None:
        meta = node["metadata"]
        if not meta.get("name"):
            meta["name"] = f"{meta.pop('generateName', '')}{self._world.suffix()}"
        labels = meta["labels"] = {**(meta.get("labels") or {}), HOSTNAME: meta["name"]}
        if self._label:
            values = self._label["labelValues"]
            labels[self._label["labelKey"]] = values[index % len(values)]
        if self._unique:
            labels[self._unique["labelKey"]] = self._world.uid()
        extra = self._allocatable.get("nodeAllocatable")
        if extra:
            status = node.setdefault("status", {})
            status["allocatable"] = {**(status.get("allocatable") or {}), **extra}

    def csi_node(self, name: str) -> Obj | None:
        """What goes with a node; None for nothing."""
        if not self._allocatable:
            return None
        drivers = [
            {"name": driver, "nodeID": name, "allocatable": allocatable}
            for driver, allocatable in (self._allocatable.get("csiNodeAllocatable") or {}).items()
        ]
        migrated = ",".join(self._allocatable.get("migratedPlugins") or ())
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {
                "name": name,
                "annotations": {"storage.alpha.kubernetes.io/migrated-plugins": migrated},
            },
            "spec": {"drivers": drivers},
        }


def bound_volume(claim: Obj, volume: Obj, namespace: str, index: int) -> tuple[Obj, Obj]:
    """A claim and a volume that are bound to each other (CreatePodWithPersistentVolume)."""
    claim_name, volume_name = f"pvc-{index}", f"{namespace}-vol-{index}"
    claim["metadata"] = {**(claim.get("metadata") or {}), "name": claim_name, "namespace": namespace}
    claim["spec"]["volumeName"] = volume_name
    volume["metadata"] = {**(volume.get("metadata") or {}), "name": volume_name}
    spec = volume["spec"]
    if "csi" in spec:
        spec["csi"]["volumeHandle"] = volume_name
    elif "awsElasticBlockStore" in spec:
        spec["awsElasticBlockStore"]["volumeID"] = f"vol-{index}"
    spec["claimRef"] = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": namespace,
        "name": claim_name,
    }
    return {**claim, "status": {"phase": "Bound"}}, {**volume, "status": {"phase": "Bound"}}


def with_claim(pod: Obj, index: int) -> Obj:
    pod["spec"]["volumes"] = [{"name": "vol", "persistentVolumeClaim": {"claimName": f"pvc-{index}"}}]
    return pod


def resource_slice(driver: str, node: str, devices: int) -> Obj:
    """As many devices of one driver on a node as claims may be there (dra.go resourceSlice)."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": node},
        "spec": {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "resourceSliceCount": 1, "generation": 0},
            "devices": [
                {
                    "name": f"instance-{number}",
                    "attributes": {
                        "model": {"string": "A100"},
                        "family": {"string": "GPU"},
                        "driverVersion": {"version": "1.2.3"},
                        "dra.example.com/numa": {"int": number},
                    },
                    "capacity": {"memory": {"value": "1Gi"}},
                }
                for number in range(devices)
            ],
        },
    }
