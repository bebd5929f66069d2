"""Strategy of HorizontalPodAutoscaler (pkg/registry/autoscaling/horizontalpodautoscaler/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import autoscaling
from pilothouse.apiserver.registry.strategy import Context, Strategy

TO_ZERO = "HPAScaleToZero"


class AutoscalerStrategy(Strategy):
    to_zero: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {"desiredReplicas": 0, "currentMetrics": None}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return autoscaling.autoscaler(obj, to_zero=self.to_zero)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        """One that may go to zero already may go on to."""
        was_zero = old["spec"].get("minReplicas") == 0
        return autoscaling.autoscaler(obj, to_zero=self.to_zero or was_zero)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return autoscaling.autoscaler_status(obj)


class ToZeroStrategy(AutoscalerStrategy):
    """With the gate HPAScaleToZero."""

    to_zero: ClassVar[bool] = True


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("autoscaling", "HorizontalPodAutoscaler"): AutoscalerStrategy(),
}
GATED: dict[tuple[str, str, str], Strategy] = {
    (TO_ZERO, "autoscaling", "HorizontalPodAutoscaler"): ToZeroStrategy(),
}
"""By feature gate, group and kind."""
