"""Rules for fields that kinds of many groups have: label keys, immutable fields, conditions, templates.

Sources: k8s.io/apimachinery/pkg/api/validation, pkg/apis/meta/v1/validation, pkg/util/validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import meta, names
from pilothouse.api.validation.gotext import NULL

CONDITION_STATUSES = ("False", "True", "Unknown")
REASON_BYTES_MAX = 1024
MESSAGE_BYTES_MAX = 32 * 1024


def label_name(key: str, path: str) -> f.Errors:
    """A label's key where it stands as a value (ValidateLabelName)."""
    return [f.invalid(path, key, text) for text in names.is_qualified_label_key(key)]


def immutable(new: Any, old: Any, path: str) -> f.Errors:
    """ValidateImmutableField for plain values; None is what is absent."""
    if new == old:
        return []
    return [f.invalid(path, NULL if new is None else new, "field is immutable")]


def fully_qualified_name(name: str, path: str) -> f.Errors:
    """A domain of at least three parts (IsFullyQualifiedName)."""
    if not name:
        return [f.required(path)]
    texts = names.is_dns1123_subdomain(name)
    if texts:
        return [f.invalid(path, name, ",".join(texts))]
    if name.count(".") < 2:
        why = "should be a domain with at least three segments separated by dots"
        return [f.invalid(path, name, why)]
    return []


def template_metadata(metadata: Obj, path: str) -> f.Errors:
    """What of a template's metadata its objects get (ValidateTemplateObjectMeta)."""
    errors = meta.validate_annotations(metadata.get("annotations") or {}, f"{path}.annotations")
    return errors + meta.validate_labels(metadata.get("labels") or {}, f"{path}.labels")


def conditions(items: Sequence[Obj], path: str) -> f.Errors:
    """metav1.Conditions (ValidateConditions)."""
    errors: f.Errors = []
    seen: set[str] = set()
    for i, condition in enumerate(items):
        at, kind = f"{path}[{i}]", condition.get("type", "")
        if kind in seen:
            errors.append(f.duplicate(f"{at}.type", kind))
        seen.add(kind)
        errors += _condition(condition, at)
    return errors


def _condition(condition: Obj, path: str) -> f.Errors:
    errors = label_name(condition.get("type", ""), f"{path}.type")
    status, generation = condition.get("status", ""), condition.get("observedGeneration", 0)
    if status not in CONDITION_STATUSES:
        errors.append(f.not_supported(f"{path}.status", status, CONDITION_STATUSES))
    if generation < 0:
        why = "must be greater than or equal to zero"
        errors.append(f.invalid(f"{path}.observedGeneration", generation, why))
    if not condition.get("lastTransitionTime"):
        errors.append(f.required(f"{path}.lastTransitionTime", "must be set"))
    errors += _reason(condition.get("reason", ""), f"{path}.reason")
    if len(condition.get("message", "").encode()) > MESSAGE_BYTES_MAX:
        errors.append(f.too_long(f"{path}.message", condition["message"], MESSAGE_BYTES_MAX))
    return errors


_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"
_REASON_TEXT = names.regex_error(
    "a condition reason must start with alphabetic character, optionally followed by a string of "
    "alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
    _REASON,
    "my_name",
    "MY_NAME",
    "MyName",
    "ReasonA,ReasonB",
    "ReasonA:ReasonB",
)


def _reason(reason: str, path: str) -> f.Errors:
    if not reason:
        return [f.required(path, "must be set")]
    errors: f.Errors = []
    if not re.fullmatch(_REASON, reason):
        errors.append(f.invalid(path, reason, _REASON_TEXT))
    if len(reason.encode()) > REASON_BYTES_MAX:
        errors.append(f.too_long(path, reason, REASON_BYTES_MAX))
    return errors
