"""Reading a patch's body, in Go's words when it is none."""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api.schema import parse
from pilothouse.api.schema.decode import json_type


def read(raw: Any, prefix: str, wanted: type, go_type: str) -> tuple[Any, list[str]]:
    """The decoded patch and its duplicate fields; 400 for what is no JSON or of another JSON type."""
    if not isinstance(raw, (bytes, bytearray)):
        return raw, []
    value, wrong = parse.json_value(raw)
    if wrong:
        raise errors.bad_request(f"{prefix}{wrong}")
    if value is not None and not isinstance(value, wanted):
        found = json_type(value)
        raise errors.bad_request(f"{prefix}json: cannot unmarshal {found} into Go value of type {go_type}")
    duplicates = parse.duplicate_fields(bytes(raw), value) if isinstance(value, dict) else []
    return value, duplicates
