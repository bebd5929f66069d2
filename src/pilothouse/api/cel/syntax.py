"""From text to tree. The parser is cel-expr-python's; its answer, a serialized ParsedExpr, is read here.

Its messages are google/cel's own, and differ from the Go parser's in a few words; `_GO_TEXTS` has those.
It gives up at a depth of 32, where the Go parser goes on: deep_syntax is for those.
Field numbers are those of cel/expr/syntax.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from struct import unpack
from typing import Any

from pilothouse.api.cel.deep_syntax import parse_deep, refuse_unsupported
from pilothouse.api.cel.macros import NO_IDENTIFIER, NO_NAME
from pilothouse.api.cel.nodes import CelSyntaxError, Entry, Expr, Tree, Unsigned

_SIMPLE_NAME = "() variable name must be a simple identifier"
_GO_TEXTS = {
    "has() argument must be a field selection": "invalid argument to has() macro",
    **dict.fromkeys([name + _SIMPLE_NAME for name in ("all", "exists", "exists_one")], NO_NAME),
    **dict.fromkeys([name + _SIMPLE_NAME for name in ("map", "filter")], NO_IDENTIFIER),
    "invalid hex int literal": "invalid int literal",
    "invalid hex uint literal": "invalid uint literal",
}
_GO_PATTERNS = [
    (re.compile(r"Invalid string literal: Illegal escape sequence: .*"), "invalid unicode code point"),
    (re.compile(r"Invalid bytes literal: Illegal escape sequence: .*"), "unable to unescape string"),
]
_LEFT = ("Expression recursion limit exceeded", "Exceeded max recursion depth", "variable name cannot be")
"""Errors after which our own parser has its turn: too deep, or placed elsewhere."""
_NO_TREE = "<<nil>> parsetree"
_OWN_WAY = re.compile(r"existsOne|\w\s*\{")
"""A macro that cel-expr-python has not, and messages, which it places elsewhere."""


@cache
def _parser() -> Any:
    # Imported with the first expression: they take 15 MB, and many a cluster never has one.
    from cel_expr_python import cel
    from cel_expr_python.ext import ext_optional

    return cel.NewEnv(extensions=[ext_optional.ExtOptional()])


def parse(expression: str) -> Tree:
    """Raises CelSyntaxError."""
    try:
        parsed = _parser().compile(expression, disable_check=True)
    except RuntimeError as error:
        if any(text in str(error) for text in _LEFT):
            return parse_deep(expression, _literal)
        raise CelSyntaxError(_go_text(str(error))) from None
    refuse_unsupported(expression)
    if _OWN_WAY.search(expression):
        return parse_deep(expression, _literal)
    return _tree(parsed.serialize())


def _literal(text: str) -> Any:
    return parse(text).root.value


def _go_text(text: str) -> str:
    text = text.removeprefix("INVALID_ARGUMENT: ").removesuffix(" [INVALID_ARGUMENT]")
    lines: list[str] = []
    for line in text.split("\n"):
        if line.endswith(_NO_TREE) and lines:
            # The Go parser leaves out what follows from an error that it has told.
            continue
        if line.startswith("ERROR: "):
            head, separator, message = line.partition(": ")[2].partition(": ")
            line = f"ERROR: {head}{separator}{_go_message(message)}"
        lines.append(line)
    return "\n".join(lines)


def _go_message(message: str) -> str:
    for pattern, ours in _GO_PATTERNS:
        if pattern.fullmatch(message):
            return ours
    return _GO_TEXTS.get(message, message)


# Reading protobuf: a message is a list of (field number, value); length-delimited values stay bytes.


def _varint(data: bytes, at: int) -> tuple[int, int]:
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _message(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
                yield tag >> 3, value
            case 1:
                yield tag >> 3, data[at : at + 8]
                at += 8
            case 2:
                size, at = _varint(data, at)
                yield tag >> 3, data[at : at + size]
                at += size
            case _:
                yield tag >> 3, data[at : at + 4]
                at += 4


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _tree(data: bytes) -> Tree:
    parsed = dict(_message(dict(_message(data))[2]))
    positions: dict[int, int] = {}
    for number, value in _message(parsed.get(3, b"")):
        if number == 4:
            entry = dict(_message(value))
            positions[entry.get(1, 0)] = entry.get(2, 0)
    return Tree(_expr(parsed[2]), positions)


def _constant(data: bytes) -> Any:
    for number, value in _message(data):
        match number:
            case 1:
                return None
            case 2:
                return bool(value)
            case 3:
                return _signed(value)
            case 4:
                return Unsigned(value)
            case 5:
                return unpack("<d", value)[0]
            case 6:
                return value.decode()
            case 7:
                return value
    return None


def _expr(data: bytes) -> Expr:
    node = Expr(0, "const")
    for number, value in _message(data):
        match number:
            case 2:
                node.id = value
            case 3:
                node.value = _constant(value)
            case 4:
                node.kind, node.name = "ident", dict(_message(value)).get(1, b"").decode()
            case 5:
                _read_select(node, value)
            case 6:
                _read_call(node, value)
            case 7:
                _read_list(node, value)
            case 8:
                _read_struct(node, value)
            case 9:
                _read_comprehension(node, value)
    return node


def _read_select(node: Expr, data: bytes) -> None:
    fields = dict(_message(data))
    node.kind, node.name = "select", fields.get(2, b"").decode()
    node.target, node.test_only = _expr(fields[1]), bool(fields.get(3))


def _read_call(node: Expr, data: bytes) -> None:
    node.kind = "call"
    for number, value in _message(data):
        match number:
            case 1:
                node.target = _expr(value)
            case 2:
                node.name = value.decode()
            case 3:
                node.args.append(_expr(value))


def _read_list(node: Expr, data: bytes) -> None:
    node.kind = "list"
    optional: list[int] = []
    for number, value in _message(data):
        if number == 1:
            node.args.append(_expr(value))
        elif isinstance(value, bytes):
            at = 0
            while at < len(value):
                index, at = _varint(value, at)
                optional.append(index)
        else:
            optional.append(value)
    node.optional = frozenset(optional)


def _read_struct(node: Expr, data: bytes) -> None:
    node.kind = "map"
    for number, value in _message(data):
        if number == 1:
            node.kind, node.name = "struct", value.decode()
        elif number == 2:
            parts = dict(_message(value))
            key = parts[2].decode() if 2 in parts else _expr(parts[3])
            node.entries.append(Entry(parts.get(1, 0), key, _expr(parts[4]), bool(parts.get(5))))


def _read_comprehension(node: Expr, data: bytes) -> None:
    parts = dict(_message(data))
    node.kind = "comprehension"
    node.target = _expr(parts[2])
    node.args = [_expr(parts[number]) for number in (4, 5, 6, 7)]
    node.variables = tuple(parts.get(number, b"").decode() for number in (1, 8, 3))
