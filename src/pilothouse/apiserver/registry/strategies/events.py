"""The strategy of events, which both core/v1 and events.k8s.io serve (pkg/registry/core/event)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import events
from pilothouse.apiserver.registry.strategy import Context, Strategy

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")


class EventStrategy(Strategy):
    has_status: ClassVar[bool] = False
    allow_create_on_update: ClassVar[bool] = True
    name_message: ClassVar[str] = "path"
    field_names: ClassVar[tuple[str, ...]] = (
        *(f"involvedObject.{key}" for key in _INVOLVED),
        "reason",
        "reportingComponent",
        "source",
        "type",
    )

    def field_labels(self, group_version: str) -> dict[str, str]:
        if group_version == "v1":
            return super().field_labels(group_version)
        regarding = {f"regarding.{key}": f"involvedObject.{key}" for key in _INVOLVED}
        return {
            **regarding,
            "reason": "reason",
            "reportingController": "reportingComponent",
            "type": "type",
        }

    def fields(self, obj: Obj) -> dict[str, str]:
        involved = obj.get("involvedObject") or {}
        component = obj.get("reportingComponent", "")
        out = {f"involvedObject.{key}": involved.get(key, "") for key in _INVOLVED}
        out["reason"] = obj.get("reason", "")
        out["reportingComponent"] = component
        out["source"] = (obj.get("source") or {}).get("component") or component
        out["type"] = obj.get("type", "")
        return out

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return events.event(obj, core=_is_core(ctx))

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return events.event_update(obj, old, core=_is_core(ctx))


def _is_core(ctx: Context) -> bool:
    return ctx.group_version in ("", "v1")


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("", "Event"): EventStrategy(),
    ("events.k8s.io", "Event"): EventStrategy(),
}
