"""Strategy of PodDisruptionBudget (pkg/registry/policy/poddisruptionbudget/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import policy
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy


class DisruptionBudgetStrategy(Strategy):
    known_finalizers: ClassVar[bool] = False
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ()
    generation: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False
    name_message: ClassVar[str] = "path"

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
        obj["status"] = dict.fromkeys(counts, 0)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return policy.disruption_budget(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return policy.disruption_budget(obj)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return policy.disruption_budget_status(obj)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("policy", "PodDisruptionBudget"): DisruptionBudgetStrategy(),
}
