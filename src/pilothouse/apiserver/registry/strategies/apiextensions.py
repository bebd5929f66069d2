"""Strategy of CustomResourceDefinition (k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import definition, formats
from pilothouse.apiserver.customresources import conditions
from pilothouse.apiserver.registry.strategy import Context, Strategy


class CustomResourceDefinitionStrategy(Strategy):
    generation: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        obj["status"] = {
            "conditions": None,
            "acceptedNames": {"plural": "", "kind": ""},
            "storedVersions": None,
        }
        _store_in_storage_version(obj)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(ctx, obj, old)
        # The status is the stored object's own, which nobody may change.
        obj["status"] = dict(obj["status"])
        _store_in_storage_version(obj)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return definition.validate(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return definition.validate_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return definition.validate_status(obj)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        return formats.warnings(obj, old)

    def terminate(self, ctx: Context, obj: Obj, options: Obj) -> bool | None:
        """The first deletion leaves a finalizer, so that the objects go before their definition (REST.Delete)."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return None
        now = ctx.world.timestamp()
        finalizers = meta.get("finalizers") or []
        if conditions.FINALIZER not in finalizers:
            meta["finalizers"] = [*finalizers, conditions.FINALIZER]
        meta["deletionTimestamp"] = now
        pending = conditions.made(
            conditions.TERMINATING,
            True,
            "InstanceDeletionPending",
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        )
        obj["status"] = conditions.with_condition(obj.get("status") or {}, pending, now)
        return True


def _store_in_storage_version(obj: Obj) -> None:
    """From now on there may be objects of that version in the store."""
    storage = next((v.get("name", "") for v in obj["spec"].get("versions") or () if v.get("storage")), None)
    stored = obj["status"].get("storedVersions") or []
    if storage is not None and storage not in stored:
        obj["status"]["storedVersions"] = [*stored, storage]


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("apiextensions.k8s.io", "CustomResourceDefinition"): CustomResourceDefinitionStrategy(),
}
