"""Reading a JSONSchemaProps: a dict in Go round-trip form, with upstream's few unions told apart.

    items                 one schema, or a list of them
    additionalProperties  a boolean, or one schema
    dependencies          one schema, or a list of property names

`walk` visits a schema and all that stand inside it (validation.SchemaHas).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pilothouse.api.types import Obj

Schema = Obj

_LISTS = ("allOf", "anyOf", "oneOf")


def same(first: Any, second: Any) -> bool:
    """Equality of JSON values; Python's own holds true, 1 and 1.0 for one."""
    encode = msgspec.json.encode
    return encode(first, order="deterministic") == encode(second, order="deterministic")


def type_of(schema: Schema) -> str:
    return str(schema.get("type", ""))


def items_schema(schema: Schema) -> Schema | None:
    found = schema.get("items")
    return found if isinstance(found, dict) else None


def items_schemas(schema: Schema) -> list[Schema]:
    found = schema.get("items")
    return found if isinstance(found, list) else []


def schema_of(schema: Schema, key: str) -> Schema | None:
    """The schema under additionalProperties, additionalItems or not, if one stands there."""
    found = schema.get(key)
    return found if isinstance(found, dict) else None


def properties(schema: Schema) -> dict[str, Schema]:
    return schema.get("properties") or {}


def walk(schema: Schema | None) -> Iterator[Schema]:
    if schema is None:
        return
    yield schema
    inner = [items_schema(schema), *items_schemas(schema)]
    for key in _LISTS:
        inner += schema.get(key) or ()
    inner.append(schema.get("not"))
    inner += properties(schema).values()
    inner.append(schema_of(schema, "additionalProperties"))
    inner += (schema.get("patternProperties") or {}).values()
    inner.append(schema_of(schema, "additionalItems"))
    inner += (schema.get("definitions") or {}).values()
    inner += [d for d in (schema.get("dependencies") or {}).values() if isinstance(d, dict)]
    for child in inner:
        yield from walk(child)


def has(schema: Schema | None, wanted: Callable[[Schema], bool]) -> bool:
    return any(wanted(found) for found in walk(schema))
