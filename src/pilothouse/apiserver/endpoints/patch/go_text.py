"""JSON values as Go prints them: its fmt package's %v, %#v and %T, and what its patch library leaves of an
object's order."""

from __future__ import annotations

from typing import Any

import msgspec

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.storage.item import ordered_metadata


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


def patched_json(patched: Obj, live: Obj, operations: list[Obj] | None = None) -> str:
    """A patched object as JSON text. The patch library leaves alone what a patch did not touch (the text of the
    live object, in the struct's order), and writes the objects on a touched path anew, keys in order; a value
    that a JSON patch brought stays as it was sent."""
    untouched = {id(live["metadata"]): ordered_metadata(live["metadata"])}
    _remember(live, untouched)
    untouched.pop(id(live))
    for operation in operations or ():
        _remember(operation.get("value"), untouched)
    return msgspec.json.encode(_arranged(patched, untouched)).decode()


def sorted_json(patched: Obj) -> str:
    """A patched custom resource as JSON text: Go marshals it as a map, keys in order."""
    return msgspec.json.encode(patched, order="sorted").decode()


def _remember(value: Any, untouched: dict[int, Any]) -> None:
    if isinstance(value, dict):
        untouched.setdefault(id(value), value)
        for child in value.values():
            _remember(child, untouched)
    elif isinstance(value, list):
        for child in value:
            _remember(child, untouched)


def _arranged(value: Any, untouched: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        kept = untouched.get(id(value))
        if kept is not None:
            return kept
        return {key: _arranged(value[key], untouched) for key in sorted(value)}
    if isinstance(value, list):
        return [_arranged(child, untouched) for child in value]
    return value
