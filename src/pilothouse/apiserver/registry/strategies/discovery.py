"""The strategy of endpoint slices (pkg/registry/discovery/endpointslice)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import discovery
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy


class EndpointSliceStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """Anything but metadata, and labels too."""
        if any(
            (obj.get(key) or None) != (old.get(key) or None) for key in ("addressType", "endpoints", "ports")
        ):
            return True
        return (obj["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {})

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return discovery.endpoint_slice(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return discovery.endpoint_slice_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        return discovery.endpoint_slice_warnings(obj)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("discovery.k8s.io", "EndpointSlice"): EndpointSliceStrategy(),
}
