"""JSON merge patch (RFC 7386)."""

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
        elif isinstance(value, dict):
            present = out.get(key)
            out[key] = apply(present if isinstance(present, dict) else {}, value)
        else:
            out[key] = value
    return out
