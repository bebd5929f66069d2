"""A schema as CEL sees it: the types of `self`, and values in those types
(k8s.io/apiserver/pkg/cel/common SchemaDeclType, UnstructuredToVal).

What has no type in CEL (fields that only x-kubernetes-preserve-unknown-fields lets in) cannot be named in a
rule. Most objects are handed to CEL as they are; a converter exists only for schemas with formats that CEL has
types of its own for, associative lists, or names that CEL cannot spell.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.cel import types as t
from pilothouse.api.cel.decl_types import RESERVED, escape
from pilothouse.api.cel.evaluate import Associative, EvalError
from pilothouse.api.cel.functions import FUNCTIONS
from pilothouse.api.cel.types import CelType
from pilothouse.api.structural.lists import list_key
from pilothouse.api.structural.schema import Structural

Convert = Callable[[Any], Any]


@dataclass(slots=True)
class Declared:
    """A node's CEL type; `convert` brings a value into it, None when it is in it as it is. `structs` are the
    object types of the node and everything below, by name."""

    type: CelType
    convert: Convert | None = None
    structs: dict[str, dict[str, CelType]] = field(default_factory=dict)


_STRINGS: dict[str, CelType] = {
    "byte": t.BYTES,
    "duration": t.DURATION,
    "date": t.TIMESTAMP,
    "date-time": t.TIMESTAMP,
}
_SCALARS: dict[str, CelType] = {
    "boolean": t.BOOL,
    "number": t.DOUBLE,
    "integer": t.INT,
}


def declare(schema: Structural, *, root: bool, name: str = "object") -> Declared | None:
    """None for a value that has no type in CEL. `root`: a whole object, with its kind, apiVersion and the
    names in its metadata. `name` is the object type's, those below are called after it."""
    if schema.int_or_string:
        return Declared(t.DYN)
    if schema.type == "array":
        return _list(schema, name)
    if schema.type == "object":
        inner = schema.described
        if inner is not None and not schema.properties:
            return _map(inner, name)
        return _object(schema, root, name)
    if schema.type == "string":
        return _string(schema)
    if schema.type == "number":
        return Declared(t.DOUBLE, _to_double)
    found = _SCALARS.get(schema.type)
    return Declared(found) if found is not None else None


def _to_double(value: Any) -> Any:
    return float(value) if type(value) is int else value


def _string(schema: Structural) -> Declared:
    wanted = _STRINGS.get(schema.raw.get("format", ""))
    if wanted is None:
        return Declared(t.STRING)
    return Declared(wanted, _TO[wanted])


def _to_bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


def _to_duration(value: Any) -> Any:
    return FUNCTIONS["duration"](value) if isinstance(value, str) else value


def _to_timestamp(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return FUNCTIONS["timestamp"](value if "T" in value.upper() else f"{value}T00:00:00Z")


_TO: dict[CelType, Convert] = {t.BYTES: _to_bytes, t.DURATION: _to_duration, t.TIMESTAMP: _to_timestamp}


def _list(schema: Structural, name: str) -> Declared | None:
    element = declare(schema.items, root=schema.items.embedded, name=f"{name}.@idx") if schema.items else None
    if element is None:
        return None
    inner = element.convert
    associative = schema.list_type in ("set", "map")
    convert: Convert | None = None
    if inner is not None or associative:

        def convert(value: Any) -> Any:
            if type(value) is not list:
                return value
            items = value if inner is None else [_or_null(inner, item) for item in value]
            return Associative(items, _key_of(schema)) if associative else items

    return Declared(t.list_of(element.type), convert, element.structs)


def _key_of(schema: Structural) -> Callable[[Any], Any]:
    if schema.list_type == "map":
        return lambda item: list_key(schema, item)
    return lambda item: item


def _or_null(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _map(inner: Structural, name: str) -> Declared | None:
    element = declare(inner, root=inner.embedded, name=f"{name}.@elem")
    if element is None:
        return None
    inside = element.convert
    convert: Convert | None = None
    if inside is not None:

        def convert(value: Any) -> Any:
            if type(value) is not dict:
                return value
            return {key: _or_null(inside, item) for key, item in value.items()}

    return Declared(t.map_of(t.STRING, element.type), convert, element.structs)


_METADATA = {"name": t.STRING, "generateName": t.STRING}


def _object(schema: Structural, root: bool, name: str) -> Declared:
    fields: dict[str, CelType] = {}
    structs: dict[str, dict[str, CelType]] = {name: fields}
    converters: dict[str, tuple[str, Convert | None]] = {}
    for key, inner in schema.properties.items():
        escaped = escape(key)
        if escaped is None or (root and key in ("apiVersion", "kind", "metadata")):
            continue
        declared = declare(inner, root=inner.embedded, name=f"{name}.{key}")
        if declared is None:
            continue
        fields[escaped] = declared.type
        if key in RESERVED:
            fields[key] = declared.type
        structs |= declared.structs
        if declared.convert is not None or escaped != key:
            converters[key] = (escaped, declared.convert)
    if root:
        fields |= {"apiVersion": t.STRING, "kind": t.STRING, "metadata": t.struct(f"{name}.metadata")}
        structs[f"{name}.metadata"] = _METADATA
    return Declared(t.struct(name), _object_converter(converters), structs)


def _object_converter(converters: dict[str, tuple[str, Convert | None]]) -> Convert | None:
    if not converters:
        return None

    def convert(value: Any) -> Any:
        if type(value) is not dict:
            return value
        out = dict(value)
        for key, (escaped, inner) in converters.items():
            if key in out:
                item = out[key] if key in RESERVED else out.pop(key)
                out[escaped] = item if inner is None else _or_null(inner, item)
                if key in RESERVED:
                    out[key] = out[escaped]
        return out

    return convert


def to_cel(declared: Declared, value: Any) -> Any:
    """A value for CEL. Raises EvalError for a text that is not what its format says."""
    if declared.convert is None or value is None:
        return value
    try:
        return declared.convert(value)
    except (TypeError, ValueError) as error:
        raise EvalError(str(error)) from None
