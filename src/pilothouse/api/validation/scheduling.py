"""Validation of the kinds in scheduling.k8s.io (pkg/apis/scheduling/validation)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields

USER_PRIORITY_MAX = 1_000_000_000
SYSTEM_PREFIX = "system-"
SYSTEM_CLASSES = {
    "system-cluster-critical": (2_000_000_000, False),
    "system-node-critical": (2_000_001_000, False),
}
"""Name: value, global default. The only names with the system's prefix, and only with these values."""

PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")


def priority_class(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
    if name.startswith(SYSTEM_PREFIX):
        why = _not_a_system_class(name, value, obj.get("globalDefault", False))
        if why:
            errors.append(
                f.forbidden(
                    "metadata.name",
                    "priority class names with 'system-' prefix are reserved for system use only. "
                    f"error: {why}",
                )
            )
    elif value > USER_PRIORITY_MAX:
        errors.append(
            f.forbidden("value", f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}")
        )
    policy = obj.get("preemptionPolicy")
    if policy is not None:
        if not policy:
            errors.append(f.required("preemptionPolicy"))
        elif policy not in PREEMPTION_POLICIES:
            errors.append(f.not_supported("preemptionPolicy", policy, PREEMPTION_POLICIES))
    return errors


def _not_a_system_class(name: str, value: int, is_global_default: bool) -> str:
    if name not in SYSTEM_CLASSES:
        return f"{name} is not a known system priority class"
    expected_value, expected_default = SYSTEM_CLASSES[name]
    if value != expected_value:
        return f"value of {name} PriorityClass must be {expected_value}"
    if is_global_default != expected_default:
        return f"globalDefault of {name} PriorityClass must be {str(expected_default).lower()}"
    return ""


def priority_class_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    if obj.get("value", 0) != old.get("value", 0):
        errors.append(f.forbidden("value", "may not be changed in an update."))
    errors += fields.immutable(obj.get("preemptionPolicy"), old.get("preemptionPolicy"), "preemptionPolicy")
    return errors


_POLICIES = ("basic", "gang")
_SPEC_FIELDS = ("podGroupTemplateRef", "schedulingPolicy")


def pod_group(obj: Obj) -> f.Errors:
    """pkg/apis/scheduling/v1alpha2/zz_generated.validations.go."""
    path, policy = "spec.schedulingPolicy", obj["spec"].get("schedulingPolicy") or {}
    given = [name for name in _POLICIES if policy.get(name) is not None]
    names = ", ".join(f"`{name}`" for name in _POLICIES)
    if not given:
        return [f.invalid(path, "", f"must specify one of: {names}")]
    errors: f.Errors = []
    if len(given) > 1:
        errors.append(f.invalid(path, f"{{{', '.join(given)}}}", f"must specify exactly one of: {names}"))
    count = (policy.get("gang") or {"minCount": 1}).get("minCount", 0)
    if count < 1:
        errors.append(f.invalid(f"{path}.gang.minCount", count, "must be greater than or equal to 1"))
    return errors


def pod_group_update(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    for name in _SPEC_FIELDS:
        errors += fields.immutable(obj["spec"].get(name), old["spec"].get(name), f"spec.{name}")
    return errors
