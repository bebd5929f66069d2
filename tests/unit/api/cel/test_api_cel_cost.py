"""What rules on schemas may cost. Figures are those of upstream's own tests
(k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/compilation_test.go TestCostEstimation): a change of one
makes rules acceptable or not that were the other.
"""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.cel.cost_estimate import UINT64_MAX, Estimate
from pilothouse.api.cel.decl_types import declared, escape
from pilothouse.api.cel.schema_rules import CompiledRule, RuleCompiler, cardinality_max

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
INT_OR_STRING: Schema = {"x-kubernetes-int-or-string": True}
BYTES: Schema = {"type": "string", "format": "byte"}
DURATION: Schema = {"type": "string", "format": "duration"}
DATE: Schema = {"type": "string", "format": "date"}
DATE_TIME: Schema = {"type": "string", "format": "date-time"}


def array(items: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, **({} if most is None else {"maxItems": most})}


def mapping(values: Schema, most: int | None = None) -> Schema:
    limit = {} if most is None else {"maxProperties": most}
    return {"type": "object", "additionalProperties": values, **limit}


def text(most: int | None = None, kind: Schema = STRING) -> Schema:
    return kind if most is None else {**kind, "maxLength": most}


def fields(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


def compile_rule(schema: Schema, rule: str, **more: Any) -> CompiledRule:
    of = declared(schema)
    assert of is not None
    return RuleCompiler(of).compile({"rule": rule, **more})


def cost(schema: Schema, rule: str) -> int:
    compiled = compile_rule(schema, rule)
    assert compiled.error == ""
    return compiled.cost_max


@pytest.mark.parametrize(
    ("items", "rule", "unlimited", "most", "limited"),
    [
        (NUMBER, "self.all(x, true)", 4718591, 10, 32),
        (STRING, "self.all(x, true)", 3145727, 20, 62),
        (BOOLEAN, "self.all(x, true)", 1887437, 5, 17),
        (INT_OR_STRING, "self.all(x, true)", 4718591, 10, 32),
        (DURATION, "self.all(x, true)", 2359295, 5, 17),
        (DATE, "self.all(x, true)", 725936, 15, 47),
        (DATE_TIME, "self.all(x, true)", 428963, 25, 77),
        (array(NUMBER), "self.all(x, true)", 3145727, 100, 302),
        (NUMBER, "self[1] == 0.0", 2, 5000, 2),
        (NUMBER, "self[3] == 0.0", 2, 0, 2),
        (STRING, "self[1] == self[1]", 314577, 8, 314577),
        (NUMBER, "self.all(x, x == 0.0)", 6291454, 3 * 1024 * 2048, 25165826),
        (INT_OR_STRING, "self[0] == 5", 3, 10, 3),
        (BOOLEAN, "self[0] == false", 2, 25, 2),
        (array(NUMBER), "self[0][0] == -1.0", 3, 51, 3),
        (mapping(NUMBER), "self.all(x, x.y == 25.2)", 6291452, 12, 74),
        (mapping(NUMBER), "self[0].x > 2.0", 4, 3000, 4),
        (DURATION, "self[0].getHours() == 2", 4, 525, 4),
        (DATE, "self[2].getDayOfMonth() == 13", 4, 42, 4),
        (DATE_TIME, "self[2].getMinutes() == 45", 4, 99, 4),
    ],
)
def test_of_rules_on_lists(items: Schema, rule: str, unlimited: int, most: int, limited: int) -> None:
    assert cost(array(items), rule) == unlimited
    assert cost(array(items, most), rule) == limited


@pytest.mark.parametrize(
    ("values", "rule", "unlimited", "most", "limited"),
    [
        (NUMBER, "self.all(x, true)", 1348169, 10, 32),
        (STRING, "self.all(x, true)", 1179647, 3, 11),
        (BOOLEAN, "self.all(x, true)", 943718, 100, 302),
        (INT_OR_STRING, "self.all(x, true)", 1348169, 15, 47),
        (DURATION, "self.all(x, true)", 1048577, 5, 17),
        (DATE, "self.all(x, true)", 524288, 10, 32),
        (DATE_TIME, "self.all(x, true)", 349526, 25, 77),
        (mapping(NUMBER), "self.all(x, true)", 1179647, 10, 32),
        (array(NUMBER), "self.all(x, true)", 1179647, 25, 77),
        (NUMBER, 'self["x"] == 0.0', 2, 0, 2),
        (INTEGER, "oldSelf.size() == self.size()", 5, 10, 5),
        (DATE_TIME, 'self["a"] == self["b"]', 8, 7, 8),
    ],
)
def test_of_rules_on_maps(values: Schema, rule: str, unlimited: int, most: int, limited: int) -> None:
    assert cost(mapping(values), rule) == unlimited
    assert cost(mapping(values, most), rule) == limited


@pytest.mark.parametrize(
    ("kind", "rule", "unlimited", "most", "limited"),
    [
        (STRING, "self.contains('test')", 314574, 10, 5),
        (STRING, "self.startsWith('test')", 2, 15, 2),
        (STRING, "self.endsWith('test')", 2, 30, 2),
        (STRING, 'size(self + "hello") > size("hello")', 314578, 4, 7),
        (STRING, 'self.matches("x")', 314574, 50, 22),
        (STRING, '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7),
        (STRING, 'self.matches("")', 1, 100, 1),
        (STRING, 'self == "x"', 2, 0, 1),
        (BYTES, 'self == b"x"', 2, 0, 1),
        (STRING, "self.find('[0-9]+') == ''", 629147, 10, 11),
        (STRING, "self.lowerAscii() == 'lower!'", 314575, 10, 6),
    ],
)
def test_of_rules_on_texts(kind: Schema, rule: str, unlimited: int, most: int, limited: int) -> None:
    assert cost(kind, rule) == unlimited
    assert cost(text(most, kind), rule) == limited


def test_of_functions_that_make_texts_and_lists() -> None:
    names = array(text(10), 10)
    assert cost(array(STRING), "self.join(' ') == 'aa bb'") == 329853068905
    assert cost(names, "self.join(' ') == 'aa bb'") == 43
    assert cost(array(STRING), "self.isSorted() == true") == 329854432052
    assert cost(names, "self.isSorted() == true") == 52
    replaced = "self.str.replace(self.before, self.after) == 'does not matter'"
    assert cost(fields(str=STRING, before=text(2), after=text(4)), replaced) == 629154
    assert cost(fields(str=text(4), before=text(2), after=text(4)), replaced) == 12
    split = "self.str.split(self.separator) == []"
    assert cost(fields(str=STRING, separator=STRING), split) == 629160
    assert cost(fields(str=text(10), separator=text(10)), split) == 22


def test_loops_in_loops_multiply() -> None:
    ten = array(NUMBER, 10)
    assert cost(ten, "self.all(x, self.all(y, true))") == 352
    assert cost(ten, "self.all(x, self.all(y, self.all(z, true)))") == 3552
    assert cost(array(NUMBER), "self.all(x, self.all(y, true))") > 10**12


def test_asking_whether_a_field_is_there_is_nearly_free() -> None:
    """checker.PresenceTestHasCost(false) in k8s.io/apiserver/pkg/cel/environment: only the way there counts."""
    assert cost(fields(a=INTEGER), "has(self.a)") == 1


@pytest.mark.parametrize(
    ("rule", "like"),
    [
        ("self.a.all(i, v, v > i)", "self.a.all(v, v > 1)"),
        ("self.a.exists(i, v, v > i)", "self.a.exists(v, v > 1)"),
    ],
)
def test_loops_with_two_variables_cost_what_they_become(rule: str, like: str) -> None:
    """The index is one name more to read in each turn."""
    schema = fields(a=array(INTEGER, 5))
    assert cost(schema, rule) == cost(schema, like) + 5


def test_optional_macros_cost_what_they_become() -> None:
    """x.hasValue() ? optional.of(bind v = x.value() in v) : optional.none()"""
    schema = fields(a=INTEGER)
    way_there = 2  # self, and the optional selection
    expected = (way_there + 1) + (10 + way_there + 1 + 1 + 1) + 1
    assert cost(schema, "self.?a.optMap(v, v).hasValue()") == expected


def test_numbers_never_grow_past_64_bits() -> None:
    huge = Estimate(1, UINT64_MAX)
    assert huge.plus(huge).most == huge.times(huge).most == huge.scaled(3).most == UINT64_MAX
    assert Estimate(1, 15).scaled(0.1) == (1, 2)


@pytest.mark.parametrize(
    ("schema", "times"),
    [
        (STRING, 3 * 1024 * 1024 // 3),
        (INTEGER, 3 * 1024 * 1024 // 2),
        # {"ab":""} is at least 2 + 2 + 2 + 4 bytes
        ({"type": "object", "required": ["ab"], "properties": {"ab": STRING}}, 3 * 1024 * 1024 // 11),
        # what has a default need not be sent
        (
            {"type": "object", "required": ["ab"], "properties": {"ab": {**STRING, "default": ""}}},
            3 * 1024 * 1024 // 3,
        ),
    ],
)
def test_how_often_a_value_fits_into_a_request(schema: Schema, times: int) -> None:
    of = declared(schema)
    assert of is not None
    assert cardinality_max(of) == times


# Types


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("a", "a"),
        ("a-b", "a__dash__b"),
        ("a.b", "a__dot__b"),
        ("a/b", "a__slash__b"),
        ("a__b", "a__underscores__b"),
        ("namespace", "__namespace__"),
        ("1a", None),
        ("a b", None),
        ("", None),
    ],
)
def test_names_of_properties_in_expressions(name: str, escaped: str | None) -> None:
    """k8s.io/apiserver/pkg/cel/escaping.go"""
    assert escape(name) == escaped


@pytest.mark.parametrize(
    ("schema", "rule"),
    [
        (fields(**{"a-b": INTEGER}), "self.a__dash__b > 1"),
        (fields(namespace=STRING), "self.__namespace__ == 'a' && self.namespace == 'a'"),
        (fields(at=DATE_TIME), "self.at.getFullYear() > 2000"),
        (fields(data=BYTES), "self.data == b'x'"),
        (fields(port=INT_OR_STRING), "type(self.port) == int || self.port == 'x'"),
        (
            fields(inner={**fields(), "x-kubernetes-embedded-resource": True}),
            "self.inner.metadata.name != ''",
        ),
        (array(fields(n=INTEGER)), "self.all(i, i.n > 0)"),
        (mapping(fields(n=INTEGER)), "self.all(k, self[k].n > 0)"),
    ],
)
def test_rules_see_their_schema(schema: Schema, rule: str) -> None:
    assert compile_rule(schema, rule).error == ""


def test_a_resource_shows_its_kind_and_names() -> None:
    root = declared({"type": "object", "properties": {}}, is_root=True)
    assert root is not None
    rule = "self.kind == 'K' && self.apiVersion != '' && self.metadata.name != '' && self.metadata.generateName == ''"
    assert RuleCompiler(root).compile({"rule": rule}).error == ""
    assert (
        "undefined field 'labels'" in RuleCompiler(root).compile({"rule": "has(self.metadata.labels)"}).error
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"x-kubernetes-preserve-unknown-fields": True},
        array({"x-kubernetes-preserve-unknown-fields": True}),
        mapping({"x-kubernetes-preserve-unknown-fields": True}),
    ],
)
def test_what_has_no_type_cannot_be_seen(schema: Schema) -> None:
    assert declared(schema) is None
    hidden = declared(fields(x=schema, y=INTEGER))
    assert hidden is not None
    assert hidden.fields is not None
    assert list(hidden.fields) == ["y"]


# Rules


def test_old_values_are_optional_where_the_rule_says_so() -> None:
    plain = compile_rule(INTEGER, "self >= oldSelf")
    assert plain.uses_old_self
    assert plain.error == ""
    optional = compile_rule(INTEGER, "!oldSelf.hasValue() || self >= oldSelf.value()", optionalOldSelf=True)
    assert optional.error == ""
    assert (
        "found no matching overload" in compile_rule(INTEGER, "self >= oldSelf", optionalOldSelf=True).error
    )
    assert not compile_rule(INTEGER, "self >= 0").uses_old_self


def test_messages_are_texts() -> None:
    good = compile_rule(INTEGER, "self > 0", messageExpression="string(self)")
    assert good.message_error == ""
    assert good.message_cost_max == 2
    number = compile_rule(INTEGER, "self > 0", messageExpression="self")
    assert number.message_error == "messageExpression must evaluate to a string"
    broken = compile_rule(INTEGER, "self > 0", messageExpression="selff")
    assert broken.message_error.startswith(
        "messageExpression compilation failed: ERROR: <input>:1:1: undeclared reference to 'selff'"
    )


def test_a_number_as_text_has_no_known_size() -> None:
    """https://github.com/kubernetes/kubernetes/issues/124234"""
    compiled = compile_rule(INTEGER, "self > 0", messageExpression="'invalid: ' + string(self)")
    assert compiled.message_cost_max > UINT64_MAX // 11


def test_an_empty_rule_is_not_compiled() -> None:
    assert compile_rule(INTEGER, " ") == CompiledRule()
