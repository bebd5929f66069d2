"""Strategies of the kinds in node.k8s.io (pkg/registry/node)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import node as validation
from pilothouse.api.validation.labels import deprecated_label
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy


class RuntimeClassStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    has_status: ClassVar[bool] = False
    allow_unconditional_update: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.runtime_class(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.runtime_class(obj) + validation.runtime_class_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        selector = (obj.get("scheduling") or {}).get("nodeSelector") or {}
        reasons = (deprecated_label(key) for key in selector)
        return [f"scheduling.nodeSelector: {why}" for why in reasons if why]


STRATEGIES: dict[tuple[str, str], Strategy] = {("node.k8s.io", "RuntimeClass"): RuntimeClassStrategy()}
