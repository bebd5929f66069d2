"""events.k8s.io/v1 and core/v1 Event: one stored kind, other names (pkg/apis/events/v1/conversion.go)."""

from __future__ import annotations

from pilothouse.api.types import Obj

_TO_CORE = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {new: old for old, new in _TO_CORE.items()}


def to_core(obj: Obj) -> Obj:
    out = {_TO_CORE.get(k, k): v for k, v in obj.items()} | {"apiVersion": "v1"}
    out.setdefault("source", {})
    out.setdefault("involvedObject", {})
    out.setdefault("firstTimestamp", None)
    out.setdefault("lastTimestamp", None)
    out.setdefault("reportingComponent", "")
    out.setdefault("reportingInstance", "")
    return out


def from_core(obj: Obj) -> Obj:
    out = {_FROM_CORE.get(k, k): v for k, v in obj.items()} | {"apiVersion": "events.k8s.io/v1"}
    for key in ("reportingController", "reportingInstance"):
        if out.get(key) == "":
            del out[key]
    return out
