"""Strategies of the kinds in scheduling.k8s.io (pkg/registry/scheduling)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import scheduling as validation
from pilothouse.apiserver.registry.strategy import Context, Strategy


class PriorityClassStrategy(Strategy):
    has_status: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        """The generation is set here and never rises."""
        obj["metadata"]["generation"] = 1

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.priority_class(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.priority_class_update(obj, old)


class PodGroupStrategy(Strategy):
    """pkg/registry/scheduling/podgroup."""

    generation: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        _drop_gated(obj["spec"], {})

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(ctx, obj, old)
        _drop_gated(obj["spec"], old["spec"])

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.pod_group(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.pod_group_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.pod_group_status_update(obj)


class WorkloadStrategy(Strategy):
    """pkg/registry/scheduling/workload."""

    generation: ClassVar[bool] = False
    has_status: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        for template in obj["spec"].get("podGroupTemplates") or ():
            _drop_gated(template, {})

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(ctx, obj, old)
        before = {each.get("name"): each for each in old["spec"].get("podGroupTemplates") or ()}
        for template in obj["spec"].get("podGroupTemplates") or ():
            _drop_gated(template, before.get(template.get("name"), {}))

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.workload(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.workload_update(obj, old)


def _drop_gated(obj: Obj, old: Obj) -> None:
    """What is in use stays."""
    for name in validation.GATED_FIELDS:
        if not old.get(name):
            obj.pop(name, None)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("scheduling.k8s.io", "PriorityClass"): PriorityClassStrategy(),
    ("scheduling.k8s.io", "PodGroup"): PodGroupStrategy(),
    ("scheduling.k8s.io", "Workload"): WorkloadStrategy(),
}
