"""What cel-go reads and cel-expr-python does not, or not so (cel-go's parser/parser.go and parser/macro.go)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.cel import syntax
from pilothouse.api.cel.compiler import DEVICE
from pilothouse.api.cel.deep_syntax import parse_deep
from pilothouse.api.cel.nodes import CelSyntaxError, Expr, Tree
from pilothouse.api.cel.syntax import parse

SAME = """
a.b.c(d)
f(1, x)
- -1
--1
---1
-a
--a
!a
!!a
!!!a
a ? b : c ? d : e
a[1]
a[?1].?b
[1, ?2, 3u, 0x1F, 1.5e3, .5, -1.5, -1]
{1: 2, ?3: 4,}
a && b && c && d || e || f
has(a.b)
[1].all(x, x > 1)
y.exists(x, x >= 1 && x != 2)
y.exists_one(x, x > 1)
y.map(x, x)
y.map(x, x > 1, x % 2)
y.filter(x, x in [1, 2])
y.optMap(x, x)
y.optFlatMap(x, x)
.a.b.f(1).g()
1 - -1
1 -1 + 2 * 3
-a.b
b'x' + r"\\d" + 'a\\n\\'b' + "" + '''it's'''
true || false || null == null
a // a remark
a.all(x, y, z)
all(x, y)
a.has(b.c)
""".strip().split("\n")


def shown(node: Expr | str, tree: Tree) -> Any:
    if isinstance(node, str):
        return node
    entries = [(shown(e.key, tree), shown(e.value, tree), e.optional) for e in node.entries]
    name = (node.kind, node.name, node.test_only, sorted(node.optional), node.variables)
    target = shown(node.target, tree) if node.target else None
    # Where the name after `.?` stands is in no message.
    at = 0 if node.kind == "const" and isinstance(node.value, str) else tree.positions[node.id]
    return (*name, repr(node.value), at, target, [shown(arg, tree) for arg in node.args], entries)


@pytest.mark.parametrize("text", SAME)
def test_the_same_tree(text: str) -> None:
    theirs, ours = parse(text), parse_deep(text, lambda literal: parse(literal).root.value)
    assert shown(ours.root, ours) == shown(theirs.root, theirs)


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["1"] * 240) + " == 240",
        "(" * 240 + "true" + ")" * 240,
        "false ? true : " * 240 + "true",
        "!(" * 240 + "true" + ")" * 240,
        "'a'" + ".lowerAscii()" * 240 + " == 'a'",
        "[1, 2].existsOne(x, x == 2)",
        "[1, 2].existsOne(x, x < 3) == false",
    ],
)
def test_read_and_run(text: str) -> None:
    assert DEVICE.program(text).evaluate({"device": {}}) is True


def test_what_is_deeper_than_250() -> None:
    for text in ("(" * 250 + "1" + ")" * 250, "+".join(["1"] * 260)):
        with pytest.raises(
            CelSyntaxError, match=r"^ERROR: <input>:-1:0: expression recursion limit exceeded: 250$"
        ):
            parse(text)
    assert parse("&&".join(["a"] * 1000)).root.kind == "call"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a.`b-c`", 3, "unsupported syntax: '`'"),
        ("1e999 > 1.0", 1, "invalid double literal"),
        ("0xfffffffffffffffffffff", 1, "invalid int literal"),
        ("99999999999999999999u", 1, "invalid uint literal"),
        ("'\\ud800'", 1, "invalid unicode code point"),
        ("b'\\u00ff'", 1, "unable to unescape string"),
        ("[1].all(a.b, true)", 10, "argument must be a simple name"),
        ("[1].exists_one(1, true)", 16, "argument must be a simple name"),
        ("[1].existsOne(1, true)", 15, "argument must be a simple name"),
        ("[1].map(1, true)", 9, "argument is not an identifier"),
        ("[1].filter(a.b, true)", 13, "argument is not an identifier"),
        ("[1].all(__result__, true)", 9, "iteration variable overwrites accumulator variable"),
        ("optional.of(1).optMap(1, 2)", 23, "optMap() variable name must be a simple identifier"),
        ("has(a)", 5, "invalid argument to has() macro"),
        ("for", 1, "reserved identifier: for"),
    ],
)
def test_errors(text: str, column: int, message: str) -> None:
    mark = "." * (column - 1)
    with pytest.raises(CelSyntaxError) as error:
        parse(text)
    assert str(error.value) == f"ERROR: <input>:1:{column}: {message}\n | {text}\n | {mark}^"
    if column > 1 and "`" not in text:
        with pytest.raises(CelSyntaxError) as error:
            parse_deep(text, lambda literal: syntax.parse(literal).root.value)
        assert str(error.value) == f"ERROR: <input>:1:{column}: {message}\n | {text}\n | {mark}^"


def test_messages_stand_where_their_brace_is() -> None:
    tree = parse("Object.spec{a: 1}")
    assert (tree.root.name, tree.positions[tree.root.id]) == ("Object.spec", 11)
