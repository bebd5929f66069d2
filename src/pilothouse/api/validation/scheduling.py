"""Validation of the kinds in scheduling.k8s.io (pkg/apis/scheduling/validation)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, names

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


# -- scheduling.k8s.io/v1alpha2 (pkg/apis/scheduling/v1alpha2/zz_generated.validations.go) ----------------------------

_POLICIES = ("basic", "gang")
_GROUP_FIELDS = ("podGroupTemplateRef", "schedulingPolicy")
_WORKLOAD_FIELDS = ("controllerRef", "podGroupTemplates")
_TEMPLATES_MAX = 8
GATED_FIELDS = ("schedulingConstraints", "resourceClaims", "disruptionMode", "priorityClassName", "priority")
"""Of PodGroups and of Workloads' templates: the gates TopologyAwareWorkloadScheduling, DRAWorkloadResourceClaims and
WorkloadAwarePreemption are off in 1.36, and a server without them drops these."""

_Rule = Callable[[str], list[str]]


def pod_group(obj: Obj) -> f.Errors:
    spec = obj["spec"]
    errors: f.Errors = []
    reference = spec.get("podGroupTemplateRef")
    if reference is not None:
        errors += _template_reference(reference, "spec.podGroupTemplateRef")
    return errors + _policy(spec.get("schedulingPolicy") or {}, "spec.schedulingPolicy")


def pod_group_update(obj: Obj, old: Obj) -> f.Errors:
    return _unchanged(obj, old, _GROUP_FIELDS)


def pod_group_status_update(obj: Obj) -> f.Errors:
    return fields.conditions((obj.get("status") or {}).get("conditions") or [], "status.conditions")


def workload(obj: Obj) -> f.Errors:
    spec = obj["spec"]
    errors: f.Errors = []
    controller = spec.get("controllerRef")
    if controller is not None:
        path = "spec.controllerRef"
        if controller.get("apiGroup"):
            errors += _named(controller["apiGroup"], f"{path}.apiGroup", names.is_dns1123_subdomain)
        errors += _named(controller.get("kind", ""), f"{path}.kind", names.path_segment)
        errors += _named(controller.get("name", ""), f"{path}.name", names.path_segment)
    return errors + _templates(spec.get("podGroupTemplates") or [], "spec.podGroupTemplates")


def workload_update(obj: Obj, old: Obj) -> f.Errors:
    return _unchanged(obj, old, _WORKLOAD_FIELDS)


def _unchanged(obj: Obj, old: Obj, names_: Iterable[str]) -> f.Errors:
    errors: f.Errors = []
    for name in names_:
        errors += fields.immutable(obj["spec"].get(name), old["spec"].get(name), f"spec.{name}")
    return errors


def _templates(templates: list[Obj], path: str) -> f.Errors:
    if len(templates) > _TEMPLATES_MAX:
        return [f.too_many(path, len(templates), _TEMPLATES_MAX)]
    if not templates:
        return [f.required(path)]
    errors: f.Errors = []
    seen: set[str] = set()
    for i, template in enumerate(templates):
        name = template.get("name", "")
        if name in seen:
            errors.append(f.duplicate(f"{path}[{i}]", template))
        seen.add(name)
    for i, template in enumerate(templates):
        errors += _named(template.get("name", ""), f"{path}[{i}].name", names.is_dns1123_label)
        errors += _policy(template.get("schedulingPolicy") or {}, f"{path}[{i}].schedulingPolicy")
    return errors


def _template_reference(reference: Obj, path: str) -> f.Errors:
    found = reference.get("workload")
    if found is None:
        return [f.invalid(path, "", "must specify one of: `workload`")]
    path = f"{path}.workload"
    errors = _named(found.get("workloadName", ""), f"{path}.workloadName", names.is_dns1123_subdomain)
    name = found.get("podGroupTemplateName", "")
    return errors + _named(name, f"{path}.podGroupTemplateName", names.is_dns1123_label)


def _named(value: str, path: str, rule: _Rule) -> f.Errors:
    if not value:
        return [f.required(path)]
    return [f.invalid(path, value, why) for why in rule(value)]


def _policy(policy: Obj, path: str) -> f.Errors:
    given = [name for name in _POLICIES if policy.get(name) is not None]
    choice = ", ".join(f"`{name}`" for name in _POLICIES)
    if not given:
        return [f.invalid(path, "", f"must specify one of: {choice}")]
    errors: f.Errors = []
    if len(given) > 1:
        errors.append(f.invalid(path, f"{{{', '.join(given)}}}", f"must specify exactly one of: {choice}"))
    count = (policy.get("gang") or {}).get("minCount", 0)
    if "gang" in given and not count:
        errors.append(f.required(f"{path}.gang.minCount"))
    elif "gang" in given and count < 1:
        errors.append(f.invalid(f"{path}.gang.minCount", count, "must be greater than or equal to 1"))
    return errors
