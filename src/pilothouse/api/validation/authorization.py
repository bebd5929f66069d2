"""Validation of the access reviews (pkg/apis/authorization/validation).

What a review answers is authorization's business. The registry answers their errors with an empty kind.
"""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, gotext, names

NEITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


def subject_access_review(obj: Obj) -> f.Errors:
    return _spec(obj["spec"], subject=True) + _metadata(obj["metadata"], "must be empty")


def self_subject_access_review(obj: Obj) -> f.Errors:
    return _spec(obj["spec"], subject=False) + _metadata(obj["metadata"], "must be empty")


def local_subject_access_review(obj: Obj) -> f.Errors:
    spec, metadata = obj["spec"], obj["metadata"]
    errors = _spec(spec, subject=True)
    errors += _metadata(metadata, "must be empty except for namespace", except_for=("namespace",))
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and resource.get("namespace", "") != metadata.get("namespace", ""):
        at = "spec.resourceAttributes.namespace"
        errors.append(f.invalid(at, resource.get("namespace", ""), "must match metadata.namespace"))
    if other is not None:
        why = "disallowed on this kind of request"
        errors.append(f.invalid("spec.nonResourceAttributes", gotext.text(other, _NON_RESOURCE), why))
    return errors


def _metadata(metadata: Obj, why: str, except_for: tuple[str, ...] = ()) -> f.Errors:
    """A review is no object: it has no name. Managed fields, which the server adds itself, don't count."""
    if set(metadata) <= {"managedFields", *except_for}:
        return []
    return [f.invalid("metadata", metadata, why)]


_NON_RESOURCE = gotext.struct(Path="", Verb="")


def _spec(spec: Obj, subject: bool) -> f.Errors:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    errors: f.Errors = []
    if resource is not None and other is not None:
        why = "cannot be specified in combination with resourceAttributes"
        errors.append(f.invalid("spec.nonResourceAttributes", gotext.text(other, _NON_RESOURCE), why))
    if resource is None and other is None:
        errors.append(f.invalid("spec.resourceAttributes", gotext.NULL, NEITHER))
    if subject and not spec.get("user") and not spec.get("groups"):
        errors.append(f.invalid("spec.user", "", "at least one of user or group must be specified"))
    for key, requirement in (("fieldSelector", _field_requirement), ("labelSelector", _label_requirement)):
        selector = (resource or {}).get(key)
        if selector is not None:
            errors += _selector(selector, f"spec.resourceAttributes.{key}", requirement)
    return errors


def _selector(selector: Obj, path: str, requirement: Callable[[Obj, str], f.Errors]) -> f.Errors:
    raw, requirements = selector.get("rawSelector", ""), selector.get("requirements") or []
    errors: f.Errors = []
    if raw and requirements:
        why = "may not specified at the same time as requirements"
        errors.append(f.invalid(f"{path}.rawSelector", raw, why))
    if not raw and not requirements:
        why = f"when {path} is specified, requirements or rawSelector is required"
        errors.append(f.required(f"{path}.requirements", why))
    for i, item in enumerate(requirements):
        errors += requirement(item, f"{path}.requirements[{i}]")
    return errors


def _field_requirement(requirement: Obj, path: str) -> f.Errors:
    errors = [] if requirement.get("key") else [f.required(f"{path}.key", "must be specified")]
    return errors + _operator(requirement, path)


def _label_requirement(requirement: Obj, path: str) -> f.Errors:
    errors = _operator(requirement, path) + fields.label_name(requirement.get("key", ""), f"{path}.key")
    for i, value in enumerate(requirement.get("values") or ()):
        errors += [f.invalid(f"{path}.values[{i}]", value, text) for text in names.is_label_value(value)]
    return errors


def _operator(requirement: Obj, path: str) -> f.Errors:
    """Operators that we don't know pass: a newer client may know them."""
    operator, values = requirement.get("operator", ""), requirement.get("values")
    if operator in ("In", "NotIn") and not values:
        return [f.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")]
    if operator in ("Exists", "DoesNotExist") and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [f.forbidden(f"{path}.values", why)]
    return []
