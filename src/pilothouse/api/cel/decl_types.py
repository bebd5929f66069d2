"""A JSON schema as CEL sees it, with sizes (k8s.io/apiserver/pkg/cel/types.go, limits.go and
pkg/cel/common/schemas.go SchemaDeclType).

    {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3}}}
      → object with `tags`: list of at most 3 strings of at most 3 MiB

Sizes bound what a rule can cost: how many elements or characters a value can have, and how few bytes it takes in
JSON, which bounds how often it can stand in a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pilothouse.api.cel import types as t
from pilothouse.api.cel.types import CelType

REQUEST_BYTES_MAX = 3 * 1024 * 1024
_QUOTES = 2
_MIN_STRING, _MIN_BOOL, _MIN_NUMBER = 2, 4, 1
_MIN_DURATION, _MAX_DURATION = 3, 32
_DATE = 12
_MIN_DATETIME, _MAX_DATETIME = 21, 32

JsonSchema = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class DeclType:
    """`cel` is the checker's type. Only objects have `fields` (by escaped name); lists and maps have an element.
    `elements_max` counts characters, bytes, items or entries; `bytes_min` is the least JSON for it."""

    cel: CelType
    bytes_min: int
    elements_max: int = 0
    fields: Mapping[str, DeclType] | None = None
    key: DeclType | None = None
    element: DeclType | None = None

    def named(self, name: str, structs: dict[str, Mapping[str, CelType]]) -> DeclType:
        """The same type with names for its objects, by where they stand; their fields are put in `structs`."""
        if self.fields is not None:
            fields = {key: inner.named(f"{name}.{key}", structs) for key, inner in self.fields.items()}
            structs[name] = _with_keywords({key: inner.cel for key, inner in fields.items()})
            return replace(self, cel=t.struct(name), fields=fields)
        if self.element is None:
            return self
        element = self.element.named(f"{name}.{'@elem' if self.key else '@idx'}", structs)
        of = t.map_of(self.key.cel, element.cel) if self.key is not None else t.list_of(element.cel)
        return replace(self, cel=of, element=element)


@dataclass(slots=True)
class _Object:
    fields: dict[str, DeclType] = field(default_factory=dict)
    bytes_min: int = 2


_STRING = DeclType(t.STRING, _MIN_STRING)
_BOOL = DeclType(t.BOOL, _MIN_BOOL)
_DOUBLE = DeclType(t.DOUBLE, _MIN_NUMBER)
_INT = DeclType(t.INT, _MIN_NUMBER)
_TEXT_MAX = REQUEST_BYTES_MAX - _QUOTES


def declared(schema: JsonSchema, *, is_root: bool = False) -> DeclType | None:
    """None for what no expression may see: a schema without a type, and what is made of such. `is_root`: of a
    whole resource, whose kind, apiVersion and names can always be seen."""
    if schema.get("x-kubernetes-int-or-string"):
        return DeclType(t.DYN, 1, _characters(schema, _TEXT_MAX))
    properties = schema.get("properties") or {}
    if is_root:
        properties = _with_meta(properties)
    match schema.get("type"):
        case "array":
            return _array(schema)
        case "object":
            return _object(schema, properties)
        case "string":
            return _string(schema)
        case "boolean":
            return _BOOL
        case "number":
            return _DOUBLE
        case "integer":
            return _INT
    return None


def _inner(schema: JsonSchema) -> DeclType | None:
    return declared(schema, is_root=bool(schema.get("x-kubernetes-embedded-resource")))


def _limit(schema: JsonSchema, key: str) -> int | None:
    found = schema.get(key)
    return None if found is None else max(0, found)


def _array(schema: JsonSchema) -> DeclType | None:
    items = schema.get("items")
    element = _inner(items) if isinstance(items, Mapping) else None
    if element is None:
        return None
    most = _limit(schema, "maxItems")
    if most is None:
        most = (REQUEST_BYTES_MAX - 2) // (element.bytes_min + 1)
    return DeclType(t.list_of(element.cel), 2, most, element=element)


def _object(schema: JsonSchema, properties: Mapping[str, JsonSchema]) -> DeclType | None:
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        element = _inner(additional)
        return None if element is None else _map(schema, element)
    made, required = _Object(), schema.get("required") or ()
    for name, inner in properties.items():
        of = _inner(inner)
        if of is None:
            continue
        escaped = escape(name)
        if escaped is not None:
            made.fields[escaped] = of
        if name in required and inner.get("default") is None:
            made.bytes_min += len(name.encode()) + of.bytes_min + 4
    return DeclType(t.struct("object"), made.bytes_min, fields=made.fields)


def _map(schema: JsonSchema, element: DeclType) -> DeclType:
    most = _limit(schema, "maxProperties")
    if most is None:
        most = (REQUEST_BYTES_MAX - 2) // (element.bytes_min + 6)
    return DeclType(t.map_of(t.STRING, element.cel), 2, most, key=_STRING, element=element)


_META = {"type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}}


def _with_meta(properties: Mapping[str, JsonSchema]) -> Mapping[str, JsonSchema]:
    """WithTypeAndObjectMeta: what is not fully there already is put in place of what is."""
    metadata = properties.get("metadata", {})
    names = metadata.get("properties") or {}
    texts = [properties.get(key, {}) for key in ("kind", "apiVersion")]
    texts += [names.get(key, {}) for key in ("name", "generateName")]
    if metadata.get("type") == "object" and all(text.get("type") == "string" for text in texts):
        return properties
    return {**properties, "kind": {"type": "string"}, "apiVersion": {"type": "string"}, "metadata": _META}


def _characters(schema: JsonSchema, otherwise: int) -> int:
    """A character may take four bytes."""
    most = _limit(schema, "maxLength")
    return otherwise if most is None else most * 4


def _string(schema: JsonSchema) -> DeclType:
    match schema.get("format"):
        case "byte":
            most = _limit(schema, "maxLength")
            return DeclType(t.BYTES, _MIN_STRING, _TEXT_MAX if most is None else most)
        case "duration":
            return DeclType(t.DURATION, _MIN_DURATION, _MAX_DURATION)
        case "date":
            return DeclType(t.TIMESTAMP, _DATE, _DATE)
        case "date-time":
            return DeclType(t.TIMESTAMP, _MIN_DATETIME, _MAX_DATETIME)
    enum = schema.get("enum")
    longest = max((len(v.encode()) for v in enum if isinstance(v, str)), default=0) if enum else _TEXT_MAX
    return DeclType(t.STRING, _MIN_STRING, _characters(schema, longest))


# Names

RESERVED = frozenset(
    (
        "true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if",
        "import", "let", "loop", "package", "namespace", "return", "var", "void", "while",
    )
)  # fmt: skip
"""Words of the language; a field that is called so can be written escaped or, where the grammar takes it, as it is
(SetRecognizeKeywordAsFieldName)."""
_ESCAPABLE = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


def escape(name: str) -> str | None:
    """A property's name in an expression; None when it has none (k8s.io/apiserver/pkg/cel/escaping.go)."""
    if _ESCAPABLE.fullmatch(name) is None:
        return None
    if name in RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[./-]", lambda match: _ESCAPES[match[0]], name)


def _with_keywords(fields: dict[str, CelType]) -> dict[str, CelType]:
    return fields | {word: fields[f"__{word}__"] for word in RESERVED if f"__{word}__" in fields}
