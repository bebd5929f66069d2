"""Table columns of events, the same for both groups (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.conversions.events import to_core
from pilothouse.apiserver.registry.tables.cells import name, since
from pilothouse.apiserver.registry.tables.column import NAME, Column, Table

_COLUMNS = (
    Column("Last Seen", describe="The time at which the most recent occurrence of this event was recorded."),
    Column("Type", describe="Type of this event (Normal, Warning), new types could be added in the future"),
    Column(
        "Reason",
        describe="This should be a short, machine understandable string that gives the reason for the "
        "transition into the object's current status.",
    ),
    Column("Object", describe="The object that this event is about."),
    Column(
        "Subobject",
        describe="If referring to a piece of an object instead of an entire object, this string should contain "
        "a valid JSON/Go field access statement, such as desiredState.manifest.containers[2]. For example, if "
        "the object reference is to a container within a pod, this would take on a value like: "
        '"spec.containers{name}" (where "name" refers to the name of the container that triggered the event) or '
        'if no container name is specified "spec.containers[2]" (container with index 2 in this pod). This '
        "syntax is chosen only to have some well-defined way of referencing a part of an object.",
        priority=1,
    ),
    Column(
        "Source",
        describe="The component reporting this event. Should be a short machine understandable string.",
        priority=1,
    ),
    Column("Message", describe="A human-readable description of the status of this operation."),
    Column(
        "First Seen",
        describe="The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
        priority=1,
    ),
    Column("Count", describe="The number of times this event has occurred.", priority=1),
    NAME._replace(priority=1),
)


def _event(obj: Obj, now_s: float) -> list[Any]:
    involved, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    first = since(obj.get("firstTimestamp") or obj.get("eventTime"), now_s)
    last = since(obj["lastTimestamp"], now_s) if obj.get("lastTimestamp") else first
    count = obj.get("count") or 1
    series = obj.get("series")
    if series is not None:
        last, count = since(series.get("lastObservedTime"), now_s), series.get("count", 0)
    component = source.get("component") or obj.get("reportingComponent", "")
    instance = source.get("host") or obj.get("reportingInstance", "")
    return [
        last,
        obj.get("type", ""),
        obj.get("reason", ""),
        "/".join(part for part in (involved.get("kind", "").lower(), involved.get("name", "")) if part),
        involved.get("fieldPath", ""),
        f"{component}, {instance}" if instance else component,
        obj.get("message", "").strip(),
        first,
        count,
        name(obj),
    ]


def _new_event(obj: Obj, now_s: float) -> list[Any]:
    return _event(to_core(obj), now_s)


TABLES: dict[tuple[str, str], Table] = {
    ("", "Event"): Table(_COLUMNS, _event),
    ("events.k8s.io", "Event"): Table(_COLUMNS, _new_event),
}
