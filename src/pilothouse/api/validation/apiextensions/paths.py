"""JSON paths in a definition: the simple ones of columns and scale, and field paths that a schema must know
(validation.validateSimpleJSONPath, pkg/apiserver/schema/cel ValidFieldPath)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pilothouse.api import field as f
from pilothouse.api.validation.apiextensions.props import Schema, properties, schema_of


def simple_json_path(path: str, at: str) -> f.Errors:
    if not path:
        return [f.invalid(at, path, "must not be empty")]
    if not path.startswith("."):
        return [f.invalid(at, path, "must be a simple json path starting with .")]
    return []


class BadPath(ValueError):
    """The text is upstream's reason."""


class FieldPath(NamedTuple):
    """A path that a schema knows: as error texts show it, its first step, and the schema it leads to."""

    text: str
    root: str
    schema: Schema


_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\",
}  # fmt: skip


def field_path(path: str, schema: Schema, *, allow_keys: bool = True) -> FieldPath:
    """Follow `.field` and `['key']` steps through a schema. `allow_keys`: whether the latter form may be used.
    Raises BadPath."""
    text = root = ""
    tokens = _tokens(path)
    for token in tokens:
        if token == "[":
            if not allow_keys:
                raise BadPath("array notation is not allowed")
            name = _quoted(_next(tokens))
            text, schema = _step(text, schema, name)
            closing = _next(tokens)
            if closing != "]":
                raise BadPath(f"expected ] but got {closing}")
        elif token == ".":
            name = _next(tokens)
            text, schema = _step(text, schema, name)
        else:
            raise BadPath(f"expected [ or . but got: {token}")
        root = root or name
    return FieldPath(text, root, schema)


def _tokens(path: str) -> Iterator[str]:
    """Delimiters, quoted strings, and what stands between them."""
    at = 0
    while at < len(path):
        if path[at] == "'":
            match = re.compile(r"'.*?(?<!\\)'", re.DOTALL).match(path, at)
        else:
            match = re.compile(r"[.\[\]]|[^.\[\]]+").match(path, at)
        found = match[0] if match is not None else path[at:]
        yield found
        at += len(found)


def _next(tokens: Iterator[str]) -> str:
    found = next(tokens, None)
    if found is None:
        raise BadPath("unexpected end of JSON path")
    return found


def _quoted(token: str) -> str:
    if len(token) < 2 or token[0] != "'" or token[-1] != "'":
        raise BadPath(f"expected single quoted string but got {token}")
    return re.sub(r"\\(.)", _unescaped, token[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    if match[1] not in _ESCAPES:
        raise BadPath(f"invalid string literal: invalid escape char {match[0]}")
    return _ESCAPES[match[1]]


def _step(text: str, schema: Schema, name: str) -> tuple[str, Schema]:
    fields = properties(schema)
    if fields:
        if name not in fields:
            raise BadPath("does not refer to a valid field")
        return f"{text}.{name}" if text else name, fields[name]
    if "additionalProperties" not in schema:
        raise BadPath("does not refer to a valid field")
    return f"{text}[{name}]", schema_of(schema, "additionalProperties") or {}
