"""Strategies of the kinds in storage.k8s.io (pkg/registry/storage)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import storage as validation
from pilothouse.api.validation.labels import deprecated_label
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "storage.k8s.io"
UNSET_SECRETS = (
    "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent "
    "possible logging of tokens in volume attributes"
)


class StorageClassStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    has_status: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.storage_class(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.storage_class(obj) + validation.storage_class_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        found = []
        for i, term in enumerate(obj.get("allowedTopologies") or ()):
            for j, expression in enumerate(term.get("matchLabelExpressions") or ()):
                why = deprecated_label(expression.get("key", ""))
                if why:
                    found.append(f"allowedTopologies[{i}].matchLabelExpressions[{j}].key: {why}")
        return found


class CSIDriverStrategy(Strategy):
    has_status: ClassVar[bool] = False
    allow_unconditional_update: ClassVar[bool] = False

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        """The generation counts changes only: a new driver has none."""
        if obj["spec"] != old["spec"]:
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.csi_driver(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.csi_driver(obj) + validation.csi_driver_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        spec = obj["spec"]
        if old is None and spec.get("tokenRequests") and spec.get("serviceAccountTokenInSecrets") is None:
            return [UNSET_SECRETS]
        return []


class CSINodeStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    has_status: ClassVar[bool] = False
    allow_unconditional_update: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.csi_node(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.csi_node(obj) + validation.csi_node_update(obj, old)


class CSIStorageCapacityStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    has_status: ClassVar[bool] = False
    allow_unconditional_update: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.csi_storage_capacity(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.csi_storage_capacity(obj, old) + validation.csi_storage_capacity_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        topology = obj.get("nodeTopology") or {}
        keys = [(f"nodeTopology.matchLabels[{key}]", key) for key in topology.get("matchLabels") or ()]
        keys += [
            (f"nodeTopology.matchExpressions[{i}].key", expression.get("key", ""))
            for i, expression in enumerate(topology.get("matchExpressions") or ())
        ]
        return [f"{path}: {deprecated_label(key)}" for path, key in keys if deprecated_label(key)]


class VolumeAttachmentStrategy(Strategy):
    status_keeps_metadata: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        obj["status"] = {"attached": False}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.volume_attachment_create(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.volume_attachment(obj) + validation.volume_attachment_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return self.validate_update(ctx, obj, old)


class VolumeAttributesClassStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    has_status: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.volume_attributes_class(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.volume_attributes_class(obj) + validation.volume_attributes_class_update(obj, old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "StorageClass"): StorageClassStrategy(),
    (GROUP, "CSIDriver"): CSIDriverStrategy(),
    (GROUP, "CSINode"): CSINodeStrategy(),
    (GROUP, "CSIStorageCapacity"): CSIStorageCapacityStrategy(),
    (GROUP, "VolumeAttachment"): VolumeAttachmentStrategy(),
    (GROUP, "VolumeAttributesClass"): VolumeAttributesClassStrategy(),
}
