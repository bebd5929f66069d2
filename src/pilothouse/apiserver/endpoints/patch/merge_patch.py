"""JSON merge patch (RFC 7386) as upstream's library applies it (evanphx/json-patch MergePatch): nulls vanish
from every object that the patch brings, also from those inside its lists."""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch import values


def read(raw: Any) -> tuple[Obj, list[str]]:
    """The patch and its duplicate fields; 400 when it is no object."""
    value, duplicates = values.read(raw, "error decoding patch: ", dict, "map[string]interface {}")
    if value is None:
        raise errors.bad_request("Invalid JSON Patch")
    return value, duplicates


def apply(document: Obj, patch: Obj) -> Obj:
    """A new document: null deletes, objects merge, everything else replaces."""
    out = dict(document)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
            continue
        present = out.get(key)
        if isinstance(value, dict) and isinstance(present, dict):
            out[key] = apply(present, value)
        else:
            out[key] = _without_nulls(value)
    return out


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value
