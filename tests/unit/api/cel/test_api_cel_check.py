"""Types and error texts of the checker; texts as kube-apiserver 1.36 answers them."""

from __future__ import annotations

import pytest

from pilothouse.api.cel import types as t
from pilothouse.api.cel.compiler import DEVICE, POLICY, WITH_AUTHORIZER, CompileError


def failure(expression: str, *wanted: t.CelType) -> str:
    with pytest.raises(CompileError) as caught:
        WITH_AUTHORIZER.compile(expression, *wanted)
    return str(caught.value)


@pytest.mark.parametrize(
    ("expression", "printed"),
    [
        ("object.spec.replicas < 5", "bool"),
        ("object.spec.containers.all(c, c.image.startsWith('x'))", "bool"),
        ("[1, 2].map(x, x + 1)", "list(int)"),
        ("{'a': 1}", "map(string, int)"),
        ("object.?spec.?x.orValue(1)", "dyn"),
        ("has(object.spec) ? 'a' : 'b'", "string"),
        ("quantity('1').isLessThan(quantity('2'))", "bool"),
        ("request.userInfo.groups.exists(g, g == 'a')", "bool"),
        ("authorizer.group('a').resource('b').check('get').allowed()", "bool"),
        ("authorizer.requestResource.check('get').reason()", "string"),
        ("[1, 2].all(i, v, i < v)", "bool"),
        ("timestamp('2020-01-01T00:00:00Z') - duration('1h')", "google.protobuf.Timestamp"),
        ("object == null", "bool"),
        ("[]", "list(dyn)"),
        ("null", "null_type"),
    ],
)
def test_an_expression_has_a_type(expression: str, printed: str) -> None:
    assert str(WITH_AUTHORIZER.check(expression)) == printed


@pytest.mark.parametrize(
    ("expression", "text", "column"),
    [
        ("foo.bar", "undeclared reference to 'foo' (in container '')", 1),
        ("request.foo", "undefined field 'foo'", 8),
        ("'a' + 1", "found no matching overload for '_+_' applied to '(string, int)'", 5),
        ("'x'.contains(1)", "found no matching overload for 'contains' applied to 'string.(int)'", 13),
        ("'abc'.foo()", "undeclared reference to 'foo' (in container '')", 10),
        ("[1, 'a']", "expected type 'int' but found 'string'", 5),
        ("1.size", "type 'int' does not support field selection", 2),
        (
            "1.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
            1,
        ),
        ("duration('1 hour')", "invalid duration argument", 10),
        ("'a'.matches('[')", "invalid matches argument", 13),
        ("has(object)", "invalid argument to has() macro", 5),
        ("object.a.(", "Syntax error: no viable alternative at input '.('", 10),
    ],
)
def test_a_mistake_is_told_with_its_place(expression: str, text: str, column: int) -> None:
    dots = "." * (column - 1)
    expected = f"compilation failed: ERROR: <input>:1:{column}: {text}\n | {expression}\n | {dots}^"
    assert failure(expression) == expected


def test_every_mistake_is_told_and_one_mistake_once() -> None:
    text = failure("foo.bar.baz + foo2 == 1")
    assert text.count("ERROR") == 2


def test_the_line_of_a_mistake_is_shown() -> None:
    assert failure("true &&\n  foo") == (
        "compilation failed: ERROR: <input>:2:3: undeclared reference to 'foo' (in container '')\n"
        " |   foo\n | ..^"
    )


def test_the_result_must_be_of_the_wanted_type() -> None:
    assert failure("1 + 1", t.BOOL) == "must evaluate to bool but got int"
    assert failure("1", t.STRING, t.NULL) == "must evaluate to one of [string null_type] but got int"


def test_a_message_cannot_ask_the_authorizer() -> None:
    with pytest.raises(CompileError, match="undeclared reference to 'authorizer'"):
        POLICY.check("authorizer.path('/x').check('get').allowed()")


def test_structs_may_have_any_field() -> None:
    environment = POLICY.with_struct("Object", lambda _: t.DYN).with_struct("Object.*", lambda _: t.DYN)
    assert environment.check("Object{metadata: Object.metadata{labels: {'a': 'b'}}}") == t.struct("Object")


def test_a_device_has_its_fields_and_no_others() -> None:
    assert DEVICE.check("device.attributes['d'].x > 1 && device.driver == 'd'") == t.BOOL
    with pytest.raises(CompileError, match="undefined field 'nope'"):
        DEVICE.check("device.nope")


def test_errors_come_by_where_they_are() -> None:
    """cel-go's common/errors.go ToDisplayString."""
    lines = failure("[1].all(x)").split("\n")
    assert [line for line in lines if line.startswith(("compilation failed", "ERROR"))] == [
        "compilation failed: ERROR: <input>:1:8: undeclared reference to 'all' (in container '')",
        "ERROR: <input>:1:9: undeclared reference to 'x' (in container '')",
    ]


def test_patterns_are_go_s() -> None:
    """Lookahead is Python's, and not Go's."""
    assert failure("object.metadata.name.matches('(?=a)')").startswith(
        "compilation failed: ERROR: <input>:1:30: invalid matches argument"
    )


def test_what_follows_from_a_syntax_error_is_not_told() -> None:
    assert failure("true ? 1") == (
        "compilation failed: ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting ':'\n"
        " | true ? 1\n | ........^"
    )
