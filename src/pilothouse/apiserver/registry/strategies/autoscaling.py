"""Strategy of HorizontalPodAutoscaler (pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import autoscaling
from pilothouse.apiserver.registry.strategy import Context, Strategy


class AutoscalerStrategy(Strategy):
    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"desiredReplicas": 0, "currentMetrics": None}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return autoscaling.autoscaler(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return autoscaling.autoscaler(obj)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return autoscaling.autoscaler_status(obj)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("autoscaling", "HorizontalPodAutoscaler"): AutoscalerStrategy(),
}
