"""The v2 document as protobuf: the messages of gnostic's openapi.v2 package, which older clients ask for.

A message is described by a table of JSON key → (field number, how its value is written); the tables hold the
fields that our documents use. Source: google/gnostic openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pilothouse.api.types import Obj

Writer = Callable[[Any], bytes]
"""The bytes of a value, without tag and length."""
_Table = dict[str, tuple[int, Callable[[int, Any], bytes]]]
"""JSON key → field number, and what writes the whole field (tag, length, value; repeated as needed)."""


def varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _block(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def _text(number: int, value: Any) -> bytes:
    return _block(number, value.encode())


def _texts(number: int, values: Any) -> bytes:
    return b"".join([_text(number, v) for v in values])


def _bool(number: int, value: Any) -> bytes:
    return varint(number << 3) + b"\x01" if value else b""


def _int(number: int, value: Any) -> bytes:
    return varint(number << 3) + varint(value)


def _any(number: int, value: Any) -> bytes:
    """gnostic's Any holds YAML; JSON is YAML."""
    return _block(number, _block(2, msgspec.json.encode(value) + b"\n"))


def _anys(number: int, values: Any) -> bytes:
    return b"".join([_any(number, v) for v in values])


def _one(writer: Writer) -> Callable[[int, Any], bytes]:
    return lambda number, value: _block(number, writer(value))


def _many(writer: Writer) -> Callable[[int, Any], bytes]:
    return lambda number, values: b"".join([_block(number, writer(v)) for v in values])


def _named(number: int, writer: Writer, values: Mapping[str, Any]) -> bytes:
    """A map as repeated (name, value) pairs."""
    return b"".join(
        [_block(number, _text(1, name) + _block(2, writer(value))) for name, value in values.items()]
    )


def _table_writer(table: _Table, extension: int) -> Writer:
    """A message by its table; keys that begin with x- go to the field of extensions."""

    def write(value: Any) -> bytes:
        parts = []
        for key, inner in value.items():
            entry = table.get(key)
            if entry is not None:
                parts.append(entry[1](entry[0], inner))
            elif key[:2] == "x-":
                parts.append(_block(extension, _text(1, key) + _any(2, inner)))
        return b"".join(parts)

    return write


def schema(value: Any) -> bytes:
    return _schema(value)


def _type(number: int, value: Any) -> bytes:
    return _block(number, _text(1, value))


def _items(number: int, value: Any) -> bytes:
    return _block(number, _block(1, schema(value)))


def _additional(number: int, value: Any) -> bytes:
    if isinstance(value, bool):
        return _block(number, _bool(2, value))
    return _block(number, _block(1, schema(value)))


def _properties(number: int, value: Any) -> bytes:
    return _block(number, _named(1, schema, value))


_schema = _table_writer(
    {
        "$ref": (1, _text),
        "format": (2, _text),
        "title": (3, _text),
        "description": (4, _text),
        "default": (5, _any),
        "maxLength": (11, _int),
        "minLength": (12, _int),
        "pattern": (13, _text),
        "maxItems": (14, _int),
        "minItems": (15, _int),
        "uniqueItems": (16, _bool),
        "required": (19, _texts),
        "enum": (20, _anys),
        "additionalProperties": (21, _additional),
        "type": (22, _type),
        "items": (23, _items),
        "allOf": (24, _many(schema)),
        "properties": (25, _properties),
    },
    31,
)
_body_parameter = _table_writer(
    {
        "description": (1, _text),
        "name": (2, _text),
        "in": (3, _text),
        "required": (4, _bool),
        "schema": (5, _one(schema)),
    },
    6,
)
_query_parameter = _table_writer(
    {
        "required": (1, _bool),
        "in": (2, _text),
        "description": (3, _text),
        "name": (4, _text),
        "type": (6, _text),
        "format": (7, _text),
        "uniqueItems": (20, _bool),
    },
    23,
)
_path_parameter = _table_writer(
    {
        "required": (1, _bool),
        "in": (2, _text),
        "description": (3, _text),
        "name": (4, _text),
        "type": (5, _text),
        "format": (6, _text),
        "uniqueItems": (19, _bool),
    },
    22,
)


def _parameter(value: Obj) -> bytes:
    if value["in"] == "body":
        return _block(1, _body_parameter(value))
    if value["in"] == "path":
        return _block(2, _block(4, _path_parameter(value)))
    return _block(2, _block(3, _query_parameter(value)))


def _parameters_item(value: Obj) -> bytes:
    if "$ref" in value:
        return _block(2, _text(1, value["$ref"]))
    return _block(1, _parameter(value))


def _response_schema(number: int, value: Any) -> bytes:
    return _block(number, _block(1, schema(value)))


_response = _table_writer({"description": (1, _text), "schema": (2, _response_schema)}, 5)


def _responses(number: int, value: Any) -> bytes:
    return _block(number, _named(1, lambda r: _block(1, _response(r)), value))


def _security(value: Obj) -> bytes:
    return _named(1, lambda scopes: _texts(1, scopes), value)


_operation = _table_writer(
    {
        "tags": (1, _texts),
        "description": (3, _text),
        "operationId": (5, _text),
        "produces": (6, _texts),
        "consumes": (7, _texts),
        "parameters": (8, _many(_parameters_item)),
        "responses": (9, _responses),
        "schemes": (10, _texts),
        "deprecated": (11, _bool),
    },
    13,
)
_path_item = _table_writer(
    {
        "get": (2, _one(_operation)),
        "put": (3, _one(_operation)),
        "post": (4, _one(_operation)),
        "delete": (5, _one(_operation)),
        "options": (6, _one(_operation)),
        "head": (7, _one(_operation)),
        "patch": (8, _one(_operation)),
        "parameters": (9, _many(_parameters_item)),
    },
    10,
)
_api_key = _table_writer(
    {"type": (1, _text), "name": (2, _text), "in": (3, _text), "description": (4, _text)}, 5
)
_info = _table_writer({"title": (1, _text), "version": (2, _text)}, 7)


def _map(inner: int, writer: Writer) -> Callable[[int, Any], bytes]:
    return lambda number, value: _block(number, _named(inner, writer, value))


_document = _table_writer(
    {
        "swagger": (1, _text),
        "info": (2, _one(_info)),
        "paths": (8, _map(2, _path_item)),
        "definitions": (9, _map(1, schema)),
        "parameters": (10, _map(1, _parameter)),
        "security": (12, _many(_security)),
        "securityDefinitions": (13, _map(1, lambda value: _block(2, _api_key(value)))),
    },
    16,
)


def encode(document: Obj) -> bytes:
    """An openapi.v2.Document of a v2 document as JSON has it."""
    return _document(document)
