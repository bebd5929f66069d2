"""Validation of claims to storage (ValidatePersistentVolumeClaim in pkg/apis/core/validation). What a claim's
spec must be is in `claims`; this says what may become of it."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, names
from pilothouse.api.validation.claims import claim_spec
from pilothouse.api.validation.persistent_volumes import CLASS_ANNOTATION
from pilothouse.api.validation.pods.diff import diff
from pilothouse.api.validation.pods.resources import is_native
from pilothouse.api.validation.volume_structs import CLAIM_SPEC

RESIZE_STATUSES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
SPEC_IMMUTABLE = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
    "claims"
)


def persistent_volume_claim(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    claim_spec(obj["spec"], "spec", errors)
    return errors


def persistent_volume_claim_update(obj: Obj, old: Obj) -> f.Errors:
    errors = persistent_volume_claim(obj)
    spec, before = _comparable(obj, old, errors)
    if spec != before:
        left, right = (gotext.plain(value, CLAIM_SPEC) for value in (before, spec))
        errors.append(f.forbidden("spec", f"{SPEC_IMMUTABLE}\n{diff(left, right)}"))
    _size(obj, old, errors)
    mode = obj["spec"].get("volumeMode")
    if mode != old["spec"].get("volumeMode"):
        errors.append(f.invalid("volumeMode", gotext.NULL if mode is None else mode, "field is immutable"))
    _attributes_class(obj["spec"], old["spec"], errors)
    return errors


def _comparable(obj: Obj, old: Obj, out: f.Errors) -> tuple[Obj, Obj]:
    """Both specs, with what may change made equal."""
    spec, before = dict(obj["spec"]), dict(old["spec"])
    if not before.get("volumeName") and "volumeName" in spec:
        before["volumeName"] = spec["volumeName"]
    _storage_class(obj, old, spec, before, out)
    if (obj.get("status") or {}).get("phase") == "Bound":
        _bound(spec, before, old["spec"])
    return spec, before


def _storage_class(obj: Obj, old: Obj, spec: Obj, before: Obj, out: f.Errors) -> None:
    """A class may be given to a claim that had none, or had it as the annotation of old."""
    annotations = obj["metadata"].get("annotations") or {}
    annotated = (old["metadata"].get("annotations") or {}).get(CLASS_ANNOTATION)
    name = spec.get("storageClassName")
    unset = before.get("storageClassName") is None
    same_annotation = annotations.get(CLASS_ANNOTATION, annotated) == annotated
    if annotated is not None and unset and name == annotated and same_annotation:
        spec.pop("storageClassName", None)
        return
    if annotations.get(CLASS_ANNOTATION, "") != (annotated or ""):
        path = "metadata"
        out.append(f.invalid(path, annotations.get(CLASS_ANNOTATION, ""), "field is immutable"))
    if name is not None and unset and annotated in (None, name):
        spec.pop("storageClassName")


def _bound(spec: Obj, before: Obj, old_spec: Obj) -> None:
    resources = spec.get("resources") or {}
    if resources.get("requests") is not None:
        amount = ((old_spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
        spec["resources"] = {**resources, "requests": {**resources["requests"], "storage": amount}}
    if spec.get("volumeAttributesClassName") is not None:
        spec.pop("volumeAttributesClassName")
        if "volumeAttributesClassName" in before:
            spec["volumeAttributesClassName"] = before["volumeAttributesClassName"]


def _size(obj: Obj, old: Obj, out: f.Errors) -> None:
    """An expansion that failed may be taken back, but not below what there is."""
    wanted, was = (_storage(o["spec"].get("resources") or {}) for o in (obj, old))
    if wanted >= was:
        return
    capacity = quantity.parse(((old.get("status") or {}).get("capacity") or {}).get("storage", "0")).nano
    if wanted <= capacity:
        path = "spec.resources.requests.storage"
        out.append(f.forbidden(path, "field can not be less than status.capacity"))


def _storage(resources: Obj) -> int:
    return quantity.parse((resources.get("requests") or {}).get("storage", "0")).nano


def _attributes_class(spec: Obj, before: Obj, out: f.Errors) -> None:
    name, was = spec.get("volumeAttributesClassName"), before.get("volumeAttributesClassName")
    if was is None or name == was:
        return
    path = "spec.volumeAttributesClassName"
    if name is None:
        out.append(f.forbidden(path, "update from non-nil value to nil is forbidden"))
    elif not name:
        out.append(f.forbidden(path, "update from non-nil value to an empty string is forbidden"))


def persistent_volume_claim_status(obj: Obj, old: Obj) -> f.Errors:
    errors: f.Errors = []
    status = obj.get("status") or {}
    if not obj["spec"].get("accessModes"):
        errors.append(f.required("Spec.accessModes"))
    for name, amount in (status.get("capacity") or {}).items():
        _not_negative(amount, f"status.capacity[{name}]", errors)
    path = "status.allocatedResourceStatus"
    for name, state in (status.get("allocatedResourceStatuses") or {}).items():
        faults = _resource_key(name, path)
        if faults:
            errors += faults
        elif state not in RESIZE_STATUSES:
            errors.append(f.not_supported(path, name, RESIZE_STATUSES))
    path = "status.allocatedResources"
    for name, amount in (status.get("allocatedResources") or {}).items():
        faults = _resource_key(name, path)
        if faults:
            errors += faults
        else:
            _not_negative(amount, f"{path}[{name}]", errors)
    return errors


def _not_negative(amount: str, path: str, out: f.Errors) -> None:
    value = quantity.parse(amount).value
    if value < 0:
        out.append(f.invalid(path, value, "must be a valid resource quantity"))


def _resource_key(name: str, path: str) -> f.Errors:
    faults = names.is_qualified_name(name)
    if faults:
        return [f.invalid(path, name, why) for why in faults]
    if is_native(name) and name != "storage":
        return [f.not_supported(path, name, ("storage",))]
    return []


def claim_warnings(obj: Obj) -> list[str]:
    """pkg/api/persistentvolumeclaim GetWarningsForPersistentVolumeClaim."""
    found = []
    if CLASS_ANNOTATION in (obj["metadata"].get("annotations") or {}):
        found.append(
            f'metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use "storageClassName" '
            "attribute instead"
        )
    resources = obj["spec"].get("resources") or {}
    for key in ("requests", "limits"):
        amount = (resources.get(key) or {}).get("storage", "0")
        if quantity.parse(amount).milli % 1000:
            found.append(
                f'spec.resources.{key}[storage]: fractional byte value "{amount}" is invalid, must be an integer'
            )
    return found
