"""Validation of events (pkg/apis/core/validation/events.go): lenient for core/v1, strict for events.k8s.io.

An event here is in its stored form, core/v1."""

from __future__ import annotations

from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, names

TYPES = ("Normal", "Warning")
SHORT_MAX = 128
NOTE_MAX = 1024
NAMESPACES_OF_CLUSTER_OBJECTS = ("default", "kube-system")
_REFERENCE = gotext.struct(
    Kind="", Namespace="", Name="", UID="", APIVersion="", ResourceVersion="", FieldPath=""
)
_SOURCE = gotext.struct(Component="", Host="")


def event(obj: Obj, *, core: bool) -> f.Errors:
    """`core`: the request came by core/v1, whose clients may send nearly anything."""
    errors = _lenient(obj, core=core)
    if core:
        return errors
    name = obj["metadata"].get("name", "")
    errors += [f.invalid("metadata.name", name, why) for why in names.is_dns1123_subdomain(name) if name]
    errors += _series(obj)
    if not obj.get("eventTime"):
        errors.append(f.required("eventTime"))
    if obj.get("type", "") not in TYPES:
        errors.append(f.invalid("type", "", f"has invalid value: {obj.get('type', '')}"))
    for key in ("firstTimestamp", "lastTimestamp", "count", "source"):
        if obj.get(key):
            errors.append(f.invalid(key, "", "needs to be unset"))
    return errors


def _lenient(obj: Obj, *, core: bool) -> f.Errors:
    errors: f.Errors = []
    path = "involvedObject.namespace"
    namespace = obj["metadata"].get("namespace", "")
    involved = (obj.get("involvedObject") or {}).get("namespace", "")
    is_new = bool(obj.get("eventTime"))
    if involved:
        matches = is_new or namespace == involved
    else:
        homes = NAMESPACES_OF_CLUSTER_OBJECTS if is_new else ("", "default")
        matches = namespace in homes
    if not matches:
        errors.append(f.invalid(path, involved, "does not match event.namespace"))
    if is_new:
        _complete(obj, "reportingComponent" if core else "reportingController", errors)
    errors += [f.invalid("namespace", namespace, why) for why in names.is_dns1123_subdomain(namespace)]
    return errors


def _complete(obj: Obj, controller_path: str, out: f.Errors) -> None:
    controller = obj.get("reportingComponent", "")
    if not controller:
        out.append(f.required(controller_path))
    out += [f.invalid(controller_path, controller, why) for why in names.is_qualified_name(controller)]
    for key in ("reportingInstance", "action", "reason"):
        value = obj.get(key, "")
        if not value:
            out.append(f.required(key))
        if len(value.encode()) > SHORT_MAX:
            out.append(f.invalid(key, "", f"can have at most {SHORT_MAX} characters"))
    if len(obj.get("message", "").encode()) > NOTE_MAX:
        out.append(f.invalid("message", "", f"can have at most {NOTE_MAX} characters"))


def _series(obj: Obj) -> f.Errors:
    series = obj.get("series")
    if series is None:
        return []
    errors: f.Errors = []
    if (series.get("count") or 0) < 2:
        errors.append(f.invalid("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(f.required("series.lastObservedTime"))
    return errors


_IMMUTABLE = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "reason",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)


def event_update(obj: Obj, old: Obj, *, core: bool) -> f.Errors:
    errors = _lenient(obj, core=core)
    if core:
        return errors
    if obj.get("series") != old.get("series"):
        errors += _series(obj)
    for key in _IMMUTABLE:
        new, before = obj.get(key) or None, old.get(key) or None
        if new != before:
            path = "reportingController" if key == "reportingComponent" else key
            errors.append(f.invalid(path, _shown(key, obj.get(key)), "field is immutable"))
    return errors


def _shown(key: str, value: Any) -> Any:
    if key == "involvedObject":
        return gotext.text(value or {}, _REFERENCE)
    if key == "related":
        return gotext.text(value, _REFERENCE)
    if key == "source":
        return gotext.text(value or {}, _SOURCE)
    if value is None:
        return 0 if key == "count" else gotext.NULL if key.endswith(("Time", "Timestamp")) else ""
    return value
