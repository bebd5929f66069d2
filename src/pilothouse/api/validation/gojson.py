"""What Go's encoding/json says about text that is no JSON object. For the few fields that hold JSON as text."""

from __future__ import annotations

import json
from typing import Any


def unmarshal_object_error(raw: bytes) -> str:
    """The error of decoding into a map[string]any."""
    if not raw.strip():
        return "unexpected end of JSON input"
    text = raw.decode("utf-8", "replace")
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        return _syntax(text, error.pos)
    found = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}[type(value)]
    return f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"


def _syntax(text: str, at: int) -> str:
    if at >= len(text):
        return "unexpected end of JSON input"
    char = text[at]
    shown = {"'": "'\\''", '"': "'\"'"}.get(char, f"'{char}'")
    before = text[:at].strip()
    if not before:
        return f"invalid character {shown} looking for beginning of value"
    if before[-1] == "{":
        return f"invalid character {shown} looking for beginning of object key string"
    return f"invalid character {shown} looking for beginning of value"
