"""Conditions and current metrics of an autoscaler's status (horizontal.go setStatus, setCondition). Pure.

A status is a dict as autoscaling/v2 has it. What was not computed stands in `currentMetrics` as upstream writes it:
{"type": ""}.
"""

from __future__ import annotations

from typing import Any, Literal

from pilothouse.api.quantity import Quantity
from pilothouse.api.types import Obj
from pilothouse.controllers.autoscaling.replicas import Proposal

ABLE, ACTIVE, LIMITED, AT_ZERO = "AbleToScale", "ScalingActive", "ScalingLimited", "ScaledToZero"
UNKNOWN: Obj = {"type": ""}
"""A metric that could not be had."""
Target = Literal["Value", "AverageValue", "Utilization"]


def with_condition(
    conditions: list[Obj], kind: str, is_true: bool, reason: str, message: str, now: str
) -> list[Obj]:
    """In its place, a new one last; the time is that of its last change between True and False."""
    status = "True" if is_true else "False"
    old = next((c for c in conditions if c["type"] == kind), None)
    since = old["lastTransitionTime"] if old is not None and old["status"] == status else now
    new = {
        "type": kind,
        "status": status,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    if old is None:
        return [*conditions, new]
    return [new if c is old else c for c in conditions]


def is_true(conditions: list[Obj], kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def status(old: Obj, current: int, desired: int, metrics: list[Obj] | None, scaled_at: str) -> Obj:
    """`scaled_at` "" keeps the time of the last change. Conditions stay."""
    found: Obj = {}
    at = scaled_at or old.get("lastScaleTime")
    if at:
        found["lastScaleTime"] = at
    if current:
        found["currentReplicas"] = current
    found["desiredReplicas"] = desired
    found["currentMetrics"] = metrics
    if old.get("conditions"):
        found["conditions"] = old["conditions"]
    return found


def milli(value: int) -> str:
    """Thousandths as a quantity."""
    return str(Quantity(value * 10**6))


_FIELDS = {
    "Resource": "resource",
    "ContainerResource": "containerResource",
    "Pods": "pods",
    "Object": "object",
    "External": "external",
}
_NO_OBJECT: Obj = {"kind": "", "name": ""}


def source(metric: Obj) -> Obj:
    """The part of a metric's spec that its type names."""
    found: Obj = metric.get(_FIELDS.get(metric["type"], "")) or {}
    return found


def metric_status(metric: Obj, target: Target, found: Proposal) -> Obj:
    """What a metric is now, of the spec's entry and what was computed from it."""
    kind, given = metric["type"], source(metric)
    shown: Obj = {k: given[k] for k in ("name", "container", "metric") if k in given}
    shown["current"] = _current(target, found)
    if kind == "Object":
        # As upstream: of a target per pod the object is not told.
        shown["describedObject"] = given["describedObject"] if target == "Value" else _NO_OBJECT
    return {"type": kind, _FIELDS[kind]: shown}


def _current(target: Target, found: Proposal) -> dict[str, Any]:
    if target == "Value":
        return {"value": milli(found.usage)}
    current: dict[str, Any] = {"averageValue": milli(found.usage)}
    if target == "Utilization":
        current["averageUtilization"] = found.share
    return current
