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

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.pod_group(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.pod_group_update(obj, old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("scheduling.k8s.io", "PriorityClass"): PriorityClassStrategy(),
    ("scheduling.k8s.io", "PodGroup"): PodGroupStrategy(),
}
