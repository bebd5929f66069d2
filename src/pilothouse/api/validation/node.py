"""Validation of the kinds in node.k8s.io (pkg/apis/node/validation)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, gotext, meta, names

CONTAINER_RESOURCES = ("cpu", "memory", "ephemeral-storage")
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def runtime_class(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    handler = obj.get("handler", "")
    if not handler:
        errors.append(f.required("handler"))
    else:
        errors += [f.invalid("handler", handler, text) for text in names.is_dns1123_label(handler)]
    overhead, scheduling = obj.get("overhead"), obj.get("scheduling")
    if overhead is not None:
        errors += _overhead(overhead.get("podFixed") or {}, "overhead.limits")
    if scheduling is not None:
        errors += _scheduling(scheduling, "scheduling")
    return errors


def _overhead(resources: Obj, path: str) -> f.Errors:
    """What a pod costs beyond its containers: resources that a container could have."""
    errors: f.Errors = []
    for name, quantity in resources.items():
        at = f"{path}[{name}]"
        errors += [f.invalid(at, name, text) for text in names.is_qualified_name(name)]
        if "/" not in name and not _is_container_resource(name):
            errors.append(f.invalid(at, name, "must be a standard resource for containers"))
        if str(quantity).startswith("-"):
            errors.append(f.invalid(at, quantity, "must be greater than or equal to 0"))
    return errors


def _is_container_resource(name: str) -> bool:
    return name in CONTAINER_RESOURCES or name.startswith("hugepages-")


def _scheduling(scheduling: Obj, path: str) -> f.Errors:
    errors = meta.validate_labels(scheduling.get("nodeSelector") or {}, f"{path}.nodeSelector")
    tolerations = scheduling.get("tolerations") or []
    for i, toleration in enumerate(tolerations):
        at = f"{path}.tolerations[{i}]"
        errors += _toleration(toleration, at)
        if toleration in tolerations[:i]:
            errors.append(f.duplicate(at, gotext.text(toleration, _TOLERATION)))
    return errors


_TOLERATION = gotext.struct(Key="", Operator="", Value="", Effect="", TolerationSeconds=None)


def _toleration(toleration: Obj, path: str) -> f.Errors:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    value, effect = toleration.get("value", ""), toleration.get("effect", "")
    errors = fields.label_name(key, f"{path}.key") if key else []
    if not key and operator != "Exists":
        why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(f.invalid(f"{path}.operator", operator, why))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(f.invalid(f"{path}.effect", effect, why))
    if operator in ("", "Equal"):
        texts = names.is_label_value(value)
        if texts:
            errors.append(f.invalid(f"{path}.operator", value, ";".join(texts)))
    elif operator == "Exists":
        if value:
            why = "value must be empty when `operator` is 'Exists'"
            errors.append(f.invalid(f"{path}.operator", gotext.text(toleration, _TOLERATION), why))
    else:
        errors.append(f.not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in TAINT_EFFECTS:
        errors.append(f.not_supported(f"{path}.effect", effect, TAINT_EFFECTS))
    return errors


def runtime_class_update(obj: Obj, old: Obj) -> f.Errors:
    return fields.immutable(obj.get("handler", ""), old.get("handler", ""), "handler")
