"""The strategy of services (pkg/registry/core/service)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import services
from pilothouse.apiserver.registry.allocators import kept
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Reservation, Strategy


class ServiceStrategy(Strategy):
    """Addresses and ports are given before anything else looks at a service; see `allocators`."""

    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    name_message: ClassVar[str] = "label"
    allow_create_on_update: ClassVar[bool] = True
    field_names: ClassVar[tuple[str, ...]] = ("spec.clusterIP", "spec.type")

    def fields(self, obj: Obj) -> dict[str, str]:
        spec = obj.get("spec") or {}
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}

    def reserve_create(self, ctx: Context, obj: Obj) -> Reservation | None:
        assert ctx.services is not None
        return ctx.services.reserve_create(obj, dry_run=ctx.dry_run)

    def reserve_update(self, ctx: Context, obj: Obj, old: Obj) -> Reservation | None:
        assert ctx.services is not None
        return ctx.services.reserve_update(obj, old, dry_run=ctx.dry_run)

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"loadBalancer": {}}

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        kept.drop_dependent(obj["spec"], old["spec"])

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return services.service(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return services.service_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return services.service_status(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        return services.service_warnings(obj)

    async def after_delete(self, ctx: Context, obj: Obj) -> None:
        assert ctx.services is not None
        await ctx.services.release(obj)
