"""Table columns of the kinds in storage.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

GROUP = "storage.k8s.io"

DEFAULT_CLASS_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def _storage_class(obj: Obj, now_s: float) -> list[Any]:
    annotations = obj["metadata"].get("annotations") or {}
    is_default = any(annotations.get(key) == "true" for key in DEFAULT_CLASS_ANNOTATIONS)
    return [
        f"{name(obj)} (default)" if is_default else name(obj),
        obj.get("provisioner", ""),
        obj.get("reclaimPolicy", "Delete"),
        obj.get("volumeBindingMode", "<unset>"),
        obj.get("allowVolumeExpansion", False),
        age(obj, now_s),
    ]


def _csi_driver(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    audiences = [request.get("audience", "") for request in spec.get("tokenRequests") or ()]
    modes = spec.get("volumeLifecycleModes") or ()
    return [
        name(obj),
        spec.get("attachRequired", True),
        spec.get("podInfoOnMount", False),
        spec.get("storageCapacity", False),
        ",".join(audiences) if audiences else "<unset>",
        spec.get("requiresRepublish", False),
        ",".join(modes) if modes else "<none>",
        age(obj, now_s),
    ]


def _csi_node(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), len(obj["spec"].get("drivers") or ()), age(obj, now_s)]


def _volume_attachment(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    return [
        name(obj),
        spec.get("attacher", ""),
        spec["source"].get("persistentVolumeName", ""),
        spec.get("nodeName", ""),
        obj["status"].get("attached", False),
        age(obj, now_s),
    ]


def _volume_attributes_class(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), obj.get("driverName", ""), age(obj, now_s)]


TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "StorageClass"): Table(
        (
            NAME,
            Column("Provisioner", describe="@provisioner"),
            Column("ReclaimPolicy", describe="@reclaimPolicy"),
            Column("VolumeBindingMode", describe="@volumeBindingMode"),
            Column("AllowVolumeExpansion", describe="@allowVolumeExpansion"),
            AGE,
        ),
        _storage_class,
    ),
    (GROUP, "CSIDriver"): Table(
        (
            NAME,
            Column("AttachRequired", "boolean", describe="@spec.attachRequired"),
            Column("PodInfoOnMount", "boolean", describe="@spec.podInfoOnMount"),
            Column("StorageCapacity", "boolean", describe="@spec.storageCapacity"),
            Column("TokenRequests", describe="@spec.tokenRequests"),
            Column("RequiresRepublish", "boolean", describe="@spec.requiresRepublish"),
            Column("Modes", describe="@spec.volumeLifecycleModes"),
            AGE,
        ),
        _csi_driver,
    ),
    (GROUP, "CSINode"): Table(
        (
            NAME,
            Column(
                "Drivers",
                "integer",
                describe="Drivers indicates the number of CSI drivers registered on the node",
            ),
            AGE,
        ),
        _csi_node,
    ),
    (GROUP, "VolumeAttachment"): Table(
        (
            NAME,
            Column("Attacher", format="name", describe="@spec.attacher"),
            Column("PV", describe="@spec.source.persistentVolumeName"),
            Column("Node", describe="@spec.nodeName"),
            Column("Attached", "boolean", describe="@status.attached"),
            AGE,
        ),
        _volume_attachment,
    ),
    (GROUP, "VolumeAttributesClass"): Table(
        (NAME, Column("DriverName", describe="@driverName"), AGE), _volume_attributes_class
    ),
}
