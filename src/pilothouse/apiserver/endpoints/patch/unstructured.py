"""Why the result of a strategic merge patch does not fit its type, in the words of Go's unstructured
converter (k8s.io/apimachinery/pkg/runtime/converter.go): other words than its JSON decoder's."""

from __future__ import annotations

from typing import Any

from pilothouse.api.schema.decode import json_type
from pilothouse.api.structure import Type
from pilothouse.apiserver.endpoints.patch.go_text import go_kind, go_type

_SCALARS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int, float),
    "number": (int, float),
}


def misfit(value: Any, type_: Type) -> str:
    """The first value that does not fit; "" when all do. Types that decode themselves (times, quantities, raw
    values) are left to the decoder."""
    if value is None:
        return ""
    kind = type_.kind
    if kind == "struct":
        if not isinstance(value, dict):
            return f"cannot restore struct from: {go_kind(value)}"
        fields = type_.fields
        return _first((child, fields[key].type) for key, child in value.items() if key in fields)
    if kind == "map":
        if not isinstance(value, dict):
            return f"cannot restore map from {go_kind(value)}"
        return _first((child, type_.element) for child in value.values())
    if kind == "list":
        if not isinstance(value, list):
            return f"cannot restore slice from {go_kind(value)}"
        return _first((item, type_.element) for item in value)
    if kind == "intorstring" and (isinstance(value, bool) or not isinstance(value, (int, str))):
        shown = f"number {value}" if isinstance(value, float) else json_type(value)
        return f"json: cannot unmarshal {shown} into Go value of type int32"
    wanted = _SCALARS.get(kind)
    if wanted is None:
        return ""
    whole = kind != "integer" or not isinstance(value, float) or value.is_integer()
    if isinstance(value, wanted) and isinstance(value, bool) == (kind == "boolean") and whole:
        return ""
    return f"cannot convert {go_type(value)} to {type_.name}"


def _first(parts: Any) -> str:
    return next((text for child, type_ in parts if type_ is not None and (text := misfit(child, type_))), "")
