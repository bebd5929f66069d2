"""Strategies of the kinds in apiregistration.k8s.io (kube-aggregator's pkg/registry/apiservice)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import apiregistration as validation
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy


class APIServiceStrategy(Strategy):
    status_keeps_metadata: ClassVar[bool] = True
    known_finalizers: ClassVar[bool] = False
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    allow_unconditional_update: ClassVar[bool] = False
    name_message: ClassVar[str] = "path"

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        """What this server serves itself is available at once."""
        super().prepare_for_create(ctx, obj)
        obj["status"] = {}
        if obj["spec"].get("service") is None:
            obj["status"]["conditions"] = [
                {
                    "type": "Available",
                    "status": "True",
                    "lastTransitionTime": ctx.world.timestamp(),
                    "reason": "Local",
                    "message": "Local APIServices are always available",
                }
            ]

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.api_service(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.api_service(obj)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.api_service_status(obj)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("apiregistration.k8s.io", "APIService"): APIServiceStrategy(),
}
