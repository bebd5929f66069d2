"""A schema as an `api.structure.Type`: what field ownership, apply and patches walk
(pkg/controller/openapi/builder, and structured-merge-diff's schemaconv).

Where unknown fields are kept and none are named, values have no type and are taken as they come.
"""

from __future__ import annotations

from typing import Literal

from pilothouse.api.structural.schema import Structural
from pilothouse.api.structure import Field, Kind, Type

_SCALARS: dict[str, tuple[Kind, str]] = {
    "string": ("string", "string"),
    "integer": ("integer", "int64"),
    "number": ("number", "float64"),
    "boolean": ("boolean", "bool"),
}
_ANY = Type("any", "interface {}")
_LIST_TYPES: dict[str, Literal["set", "map"]] = {"set": "set", "map": "map"}


def object_type(schema: Structural, metadata: Type, name: str) -> Type:
    """The type of a whole object; `metadata` is ObjectMeta's, `name` the kind."""
    made = _object(schema, metadata, name) or Type("struct", name, element=_ANY, preserve_unknown=True)
    _add_meta(made, metadata)
    return made


def _add_meta(made: Type, metadata: Type) -> None:
    text = Type("string", "string")
    for key in ("apiVersion", "kind"):
        made.fields[key] = _field(text)
    made.fields["metadata"] = _field(metadata)


def _field(type_: Type) -> Field:
    """Custom fields are like pointers: absent is not the same as zero."""
    return Field(type_, pointer=True)


def _of(schema: Structural, metadata: Type) -> Type:
    if schema.int_or_string:
        return Type("intorstring", "intstr.IntOrString")
    if schema.type in _SCALARS:
        kind, name = _SCALARS[schema.type]
        return Type(kind, name)
    if schema.type == "array":
        return _list(schema, metadata)
    return _object(schema, metadata, "") or _ANY


def _list(schema: Structural, metadata: Type) -> Type:
    items = schema.items
    element = _of(items, metadata) if items is not None else _ANY
    made = Type("list", f"[]{element.name}", element=element)
    made.list_type = _LIST_TYPES.get(schema.list_type, "atomic")
    made.list_keys = schema.list_keys
    if items is not None:
        for key in schema.list_keys:
            described = items.properties.get(key)
            if described is not None and described.default is not None:
                made.key_defaults[key] = described.default
    return made


def _object(schema: Structural, metadata: Type, name: str) -> Type | None:
    """None for a value without a type of its own."""
    map_type: Literal["granular", "atomic"] = "atomic" if schema.map_type == "atomic" else "granular"
    if schema.properties or schema.embedded:
        fields = {key: _field(_of(inner, metadata)) for key, inner in schema.properties.items()}
        made = Type("struct", name, fields, map_type=map_type)
        if schema.preserve_unknown:
            made.element, made.preserve_unknown = _ANY, True
        elif schema.described is not None:
            made.element = _of(schema.described, metadata)
        if schema.embedded:
            _add_meta(made, metadata)
        return made
    if schema.additional is not None:
        element = _of(schema.described, metadata) if schema.described is not None else _ANY
        return Type("map", f"map[string]{element.name}", element=element, map_type=map_type)
    if schema.preserve_unknown:
        if map_type == "atomic":
            return Type("map", "map[string]interface {}", element=_ANY, map_type=map_type)
        return None
    return Type("struct", name, map_type=map_type) if schema.type == "object" else None
