"""Strategies of the kinds in flowcontrol.apiserver.k8s.io (pkg/registry/flowcontrol)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import flowcontrol as validation
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "flowcontrol.apiserver.k8s.io"


class FlowSchemaStrategy(Strategy):
    status_keeps_metadata: ClassVar[bool] = True
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    generation: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.flow_schema(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.flow_schema(obj)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.conditions(obj["status"], "status")


class PriorityLevelConfigurationStrategy(Strategy):
    status_keeps_metadata: ClassVar[bool] = True
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    generation: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.priority_level_configuration(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.priority_level_configuration(obj)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.conditions(obj["status"], "status")


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "FlowSchema"): FlowSchemaStrategy(),
    (GROUP, "PriorityLevelConfiguration"): PriorityLevelConfigurationStrategy(),
}
