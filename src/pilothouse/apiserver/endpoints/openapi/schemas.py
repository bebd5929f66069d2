"""Definitions as the documents show them, in OpenAPI v3 and in v2 form.

Version 3 tells more: defaults, enumerations, alternatives. A reference cannot have siblings there, so it is
wrapped in `allOf` when it has any (k8s.io/kube-openapi/pkg/builder3).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import Types, short_name
from pilothouse.api.structure import Field, Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.openapi import facts

V2_PREFIX = "#/definitions/"
V3_PREFIX = "#/components/schemas/"
_SOURCE_PREFIX = "#/$defs/"
_API_TYPE = ("apiVersion", "kind")
_ZEROS: dict[str, object] = {"string": "", "integer": 0, "boolean": False, "number": 0}


class Schemas:
    """Reads the descriptions anew for each document: they are large and documents are kept."""

    def __init__(self, definitions: Definitions, types: Types) -> None:
        self._definitions = definitions
        self._types = types

    def v2(self, names: Iterable[str]) -> dict[str, Obj]:
        """Definitions and all that they refer to, by name."""
        source = self._definitions.full()
        return {name: _v2(name, source[name]) for name in closure(source, names)}

    def v3(self, names: Iterable[str]) -> dict[str, Obj]:
        source = self._definitions.full()
        return {name: self._v3(name, source[name]) for name in closure(source, names)}

    def _v3(self, name: str, source: Obj) -> Obj:
        if name == facts.QUANTITY:
            alternatives = [{"type": "string"}, {"type": "number"}]
            return {"description": facts.DESCRIPTIONS[name], "oneOf": alternatives}
        if name == facts.INT_OR_STRING:
            return {
                "description": facts.DESCRIPTIONS[name],
                "format": "int-or-string",
                "oneOf": [{"type": "integer"}, {"type": "string"}],
            }
        type_ = self._types.get(name)
        owner = short_name(name)
        out = _head(source)
        properties = source.get("properties")
        if properties:
            out["properties"] = {
                key: _v3_field(owner, key, prop, type_.fields.get(key)) for key, prop in properties.items()
            }
        return out


def closure(source: Obj, names: Iterable[str]) -> list[str]:
    """Names and everything that they refer to, sorted."""
    found: set[str] = set()
    waiting = [n for n in names if n in source]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting.extend(_references(source[name]))
    return sorted(found)


def _references(schema: Any) -> Iterable[str]:
    if isinstance(schema, dict):
        ref = schema.get("$ref")
        if isinstance(ref, str):
            yield ref.removeprefix(_SOURCE_PREFIX)
        for value in schema.values():
            if isinstance(value, (dict, list)):
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _simple(type_: Any) -> str:
    """The type without the "null" that the package's schemas add."""
    if isinstance(type_, list):
        return next((t for t in type_ if t != "null"), "")
    return str(type_ or "")


def _head(source: Obj) -> Obj:
    """All of a definition but its properties."""
    out = {k: v for k, v in source.items() if k not in ("properties", "type", "enum")}
    if source.get("type"):
        out["type"] = _simple(source["type"])
    return out


def _v2(name: str, source: Obj) -> Obj:
    if name == facts.QUANTITY:
        return {"description": facts.DESCRIPTIONS[name], "type": "string"}
    if name == facts.INT_OR_STRING:
        return {"description": facts.DESCRIPTIONS[name], "format": "int-or-string", "type": "string"}
    out = _head(source)
    if source.get("properties"):
        out["properties"] = {key: _v2_part(prop) for key, prop in source["properties"].items()}
    return out


def _v2_part(source: Obj) -> Obj:
    out = {k: v for k, v in source.items() if k != "enum"}
    if "$ref" in out:
        out["$ref"] = V2_PREFIX + out["$ref"].removeprefix(_SOURCE_PREFIX)
    if "type" in out:
        out["type"] = _simple(out["type"])
    for inner in ("items", "additionalProperties"):
        if isinstance(out.get(inner), dict):
            out[inner] = _v2_part(out[inner])
    return out


def _v3_field(owner: str, key: str, source: Obj, field: Field | None) -> Obj:
    out = _v3_part(source, field.type if field else None)
    default = facts.DEFAULTS.get((owner, key))
    if default is None and field is not None and field.required and not field.pointer:
        default = _zero(field.type)
    if default is not None and key not in _API_TYPE:
        out["default"] = default
    values = facts.ENUMS.get((owner, key))
    if values:
        if out.get("type") == "array":
            out["items"]["enum"] = list(values)
        else:
            out["enum"] = list(values)
            notes = facts.ENUM_NOTES.get((owner, key), {})
            lines = [
                f' - `"{value}"`{" " if notes.get(value) else ""}{notes.get(value, "")}' for value in values
            ]
            heading = "\n\nPossible enum values:\n"
            out["description"] = out.get("description", "") + heading + "\n".join(lines)
    if "$ref" in out and len(out) > 1:
        out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _v3_part(source: Obj, type_: Type | None) -> Obj:
    out = {k: v for k, v in source.items() if k != "enum"}
    if "$ref" in out:
        out["$ref"] = V3_PREFIX + out["$ref"].removeprefix(_SOURCE_PREFIX)
    if "type" in out:
        out["type"] = _simple(out["type"])
    element = type_.element if type_ is not None else None
    for inner in ("items", "additionalProperties"):
        if isinstance(out.get(inner), dict):
            out[inner] = _v3_element(out[inner], element)
    return out


def _v3_element(source: Obj, type_: Type | None) -> Obj:
    out = _v3_part(source, type_)
    default = _zero(type_) if type_ is not None else None
    if default is not None:
        out["default"] = default
        if "$ref" in out:
            out["allOf"] = [{"$ref": out.pop("$ref")}]
    return out


def _zero(type_: Type) -> object | None:
    """The default that a Go value brings by itself."""
    return {} if type_.kind == "struct" else _ZEROS.get(type_.kind)
