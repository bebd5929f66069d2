"""JSON values as Go's fmt package prints them: %v, %#v and %T."""

from __future__ import annotations

from typing import Any

from pilothouse.api.field import go_quote


def go_value(value: Any) -> str:
    """%v: `map[a:1 b:[x y]]`, keys sorted, strings bare."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{go_value(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(go_value(v) for v in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else _number(value) if isinstance(value, float) else str(value)


def go_literal(value: Any) -> str:
    """%#v: Go syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{go_quote(k)}:{go_literal(v)}" for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(go_literal(v) for v in value)}}}"
    return _number(value) if isinstance(value, float) else str(value)


def go_type(value: Any) -> str:
    """%T of a decoded JSON value."""
    if value is None:
        return "<nil>"
    for python, go in _TYPES:
        if isinstance(value, python):
            return go
    return "interface {}"


def go_kind(value: Any) -> str:
    """reflect.Kind of a decoded JSON value."""
    text = go_type(value)
    return {"map[string]interface {}": "map", "[]interface {}": "slice"}.get(text, text)


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int64"),
    (float, "float64"),
    (str, "string"),
    (dict, "map[string]interface {}"),
    (list, "[]interface {}"),
)


def _number(value: float) -> str:
    """%v of a float64: shortest, exponent from 1e+21."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return repr(value)
