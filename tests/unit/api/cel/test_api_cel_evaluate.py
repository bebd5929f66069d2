"""Values of expressions: CEL's semantics (the CEL specification) and Kubernetes' libraries."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilothouse.api.cel import types as t
from pilothouse.api.cel.compiler import Environment
from pilothouse.api.cel.evaluate import EvalError

SELF: dict[str, Any] = {"replicas": 3, "names": ["a", "b"], "m": {"x": 1}, "cpu": "500m"}
ENVIRONMENT = Environment(variables={"self": t.DYN, "a": t.INT, "b": t.INT})


def run(expression: str, **variables: Any) -> Any:
    return ENVIRONMENT.program(expression).evaluate({"self": SELF, **variables})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("self.replicas >= 3 && self.names.all(n, n.size() == 1)", True),
        ("self.names.exists_one(n, n == 'a')", True),
        ("self.names.map(n, n + '!')", ["a!", "b!"]),
        ("self.names.filter(n, n != 'a')", ["b"]),
        ("self.m.all(k, self.m[k] == 1)", True),
        ("self.names.all(i, v, i < 2)", True),
        ("self.?nope.orValue(7)", 7),
        ("has(self.nope)", False),
        ("self.nope == 1 || true", True),
        ("self.names.exists(n, n == 'b' || n.nope)", True),
        ("self.replicas == 3.0", True),
        ("true == self.replicas", False),
        ("quantity(self.cpu).isLessThan(quantity('1'))", True),
        ("quantity('1Gi').add(quantity('1Gi')).compareTo(quantity('2Gi'))", 0),
        ("semver('1.2.3').isGreaterThan(semver('1.2.3-rc.1'))", True),
        ("cidr('10.0.0.0/8').containsIP('10.1.1.1')", True),
        ("ip('::1').isLoopback()", True),
        ("url('https://u@x.example:80/p?q=1').getHostname()", "x.example"),
        ("duration('1h30m') > duration('1h')", True),
        ("timestamp('2020-02-03T04:05:06Z').getMonth()", 1),
        ("'%s has %s'.format(['x', 'y'])", "x has y"),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'hello'.substring(1, 3)", "el"),
        ("['b', 'a'].isSorted()", False),
        ("[1, 2, 3].sum()", 6),
        ("sets.contains([1, 2], [2])", True),
        ("optional.of(1).optMap(x, x + 1).value()", 2),
        ("type(1) == int", True),
        ("{'a': 1, ?'b': optional.none()}.size()", 1),
        ("'abc'.find('b.')", "bc"),
    ],
)
def test_an_expression_has_a_value(expression: str, value: Any) -> None:
    assert run(expression) == value


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("self.nope", "no such key: nope"),
        ("self.names[5]", "index out of bounds: 5"),
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("self.names.all(n, n.nope)", "no such overload"),
        ("self.names + 1", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
        ("int('x')", 'strconv.ParseInt: parsing "x": invalid syntax'),
    ],
)
def test_an_error_has_a_text(expression: str, text: str) -> None:
    with pytest.raises(EvalError) as caught:
        run(expression)
    assert str(caught.value) == text


@given(st.integers(-(2**62), 2**62), st.integers(1, 2**62))
@example(2**53 + 1, 2**53 + 2)
def test_division_rounds_toward_zero(a: int, b: int) -> None:
    assert run("a / b * b + a % b == a", a=a, b=b) is True


def test_variables_are_only_read() -> None:
    before = {"names": ["a"]}
    assert run("self.names + ['b']", self=before) == ["a", "b"]
    assert before == {"names": ["a"]}
