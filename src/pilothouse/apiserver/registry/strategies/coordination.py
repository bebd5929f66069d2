"""The strategy of leases (pkg/registry/coordination/lease)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import coordination
from pilothouse.apiserver.registry.strategy import Context, Strategy


class LeaseStrategy(Strategy):
    known_finalizers: ClassVar[bool] = False
    has_status: ClassVar[bool] = False
    allow_create_on_update: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        _drop_coordinated(obj, None)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        _drop_coordinated(obj, old)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return coordination.lease(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return coordination.lease(obj)


def _drop_coordinated(obj: Obj, old: Obj | None) -> None:
    """Coordinated leader election is off by default: its fields stay only where they were."""
    before = (old or {}).get("spec") or {}
    spec = obj.get("spec") or {}
    for key in ("strategy", "preferredHolder"):
        if before.get(key) is None:
            spec.pop(key, None)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("coordination.k8s.io", "Lease"): LeaseStrategy(),
}
