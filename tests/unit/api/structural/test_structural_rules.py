"""x-kubernetes-validations at run time
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.structural.rules import Outcome, Rules, normalized_path
from pilothouse.api.structural.schema import structural


def run(schema: dict[str, Any], value: Any, old: Any = None) -> Outcome:
    return Rules(structural(schema), root=False).run(value, old)


def errors_of(schema: dict[str, Any], value: Any, old: Any = None) -> list[str]:
    return [str(error) for error in run(schema, value, old).errors]


def spec(*rules: dict[str, Any], **properties: Any) -> dict[str, Any]:
    inner = {"type": "object", "x-kubernetes-validations": list(rules), "properties": properties}
    return {"type": "object", "properties": {"spec": inner}}


_INT, _STRING = {"type": "integer"}, {"type": "string"}


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, "spec: Invalid value: failed rule: self.a < self.b"),
        ({"message": "a must be less"}, "spec: Invalid value: a must be less"),
        ({"messageExpression": "'not ' + string(self.b)"}, "spec: Invalid value: not 1"),
        ({"messageExpression": "self.c", "message": "so"}, "spec: Invalid value: so"),
        (
            {"reason": "FieldValueForbidden", "fieldPath": ".a"},
            "spec.a: Forbidden: failed rule: self.a < self.b",
        ),
        ({"reason": "FieldValueRequired"}, "spec: Required value: failed rule: self.a < self.b"),
        ({"reason": "FieldValueDuplicate"}, "spec: Duplicate value"),
    ],
)
def test_how_a_broken_rule_reads(rule: dict[str, Any], told: str) -> None:
    schema = spec({"rule": "self.a < self.b", **rule}, a=_INT, b=_INT, c=_STRING)
    assert errors_of(schema, {"spec": {"a": 2, "b": 1}}) == [told]
    assert errors_of(schema, {"spec": {"a": 1, "b": 2}}) == []


def test_a_simple_value_is_shown_and_the_root_has_no_path() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {**_STRING, "x-kubernetes-validations": [{"rule": "self == 'x'"}]}},
    }
    assert errors_of(schema, {"a": "y"}) == ["a: Invalid value: \"y\": failed rule: self == 'x'"]
    root = {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "has(self.a)"}],
        "properties": {"a": _INT},
    }
    assert errors_of(root, {}) == ["<nil>: Invalid value: failed rule: has(self.a)"]


def test_transition_rules_ask_only_where_an_old_value_corresponds() -> None:
    immutable = {**_STRING, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "stays"}]}
    schema = {"type": "object", "properties": {"a": immutable}}
    assert errors_of(schema, {"a": "x"}) == []
    assert errors_of(schema, {"a": "x"}, {}) == []
    assert errors_of(schema, {"a": "x"}, {"a": "y"}) == ['a: Invalid value: "x": stays']


def test_list_elements_are_correlated_by_key_alone() -> None:
    element = {
        "type": "object",
        "properties": {"k": _STRING, "v": _INT},
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "only up"}],
    }
    plain = {"type": "array", "items": element}
    keyed = {**plain, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    new, old = [{"k": "b", "v": 1}, {"k": "a", "v": 1}], [{"k": "a", "v": 2}]
    assert errors_of(keyed, new, old) == ["[1]: Invalid value: only up"]
    assert errors_of(plain, new, old) == []


def test_an_optional_old_value() -> None:
    rule = {"rule": "oldSelf.hasValue() || self == 'new'", "optionalOldSelf": True}
    schema = {**_STRING, "x-kubernetes-validations": [rule]}
    assert errors_of(schema, "new") == []
    assert len(errors_of(schema, "other")) == 1
    assert errors_of(schema, "other", "old") == []


def test_a_rule_that_was_broken_before_is_a_warning() -> None:
    """KEP-4008."""
    schema = spec({"rule": "self.a < 5", "message": "small"}, a=_INT)
    same = {"spec": {"a": 9}}
    outcome = run(schema, {**same, "other": 1}, same)
    assert (outcome.errors, outcome.warnings) == ([], ["spec: Invalid value: small"])
    assert errors_of(schema, {"spec": {"a": 8}}, same) == ["spec: Invalid value: small"]


def test_errors_while_a_rule_runs() -> None:
    schema = spec({"rule": "self.a > 1"}, a=_INT)
    assert errors_of(schema, {"spec": {}}) == [
        "spec: Invalid value: no such key: a evaluating rule: self.a > 1"
    ]
    either = spec({"rule": "self.a > 1"}, a={"x-kubernetes-int-or-string": True})
    assert errors_of(either, {"spec": {"a": "x"}}) == [
        "spec: Invalid value: 'no such overload': call arguments did not match a supported operator, function or "
        "macro signature for rule: self.a > 1"
    ]


@pytest.mark.parametrize(
    ("property_", "value", "rule"),
    [
        ({**_STRING, "format": "date-time"}, "2020-01-02T03:04:05Z", "self.x.getFullYear() == 2020"),
        ({**_STRING, "format": "duration"}, "1h", "self.x == duration('60m')"),
        ({**_STRING, "format": "byte"}, "AAE=", "size(self.x) == 2"),
        ({"type": "number"}, 1, "self.x < 1.5"),
        (
            {"type": "array", "items": _STRING, "x-kubernetes-list-type": "set"},
            ["a", "b"],
            "self.x == ['b', 'a']",
        ),
        ({"type": "object", "additionalProperties": _INT}, {"k": 1}, "self.x.all(k, self.x[k] == 1)"),
    ],
)
def test_values_have_the_types_that_cel_knows(property_: dict[str, Any], value: Any, rule: str) -> None:
    assert errors_of(spec({"rule": rule}, x=property_), {"spec": {"x": value}}) == []


def test_names_that_cel_cannot_spell_are_escaped() -> None:
    schema = spec(
        {"rule": "self.a__dash__b == 1 && self.__namespace__ == 'n'"}, **{"a-b": _INT, "namespace": _STRING}
    )
    assert errors_of(schema, {"spec": {"a-b": 1, "namespace": "n"}}) == []


def test_the_root_knows_its_name() -> None:
    schema = {"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name == 'x'"}]}
    rules = Rules(structural(schema))
    assert rules.run({"metadata": {"name": "x"}}).errors == []
    assert len(rules.run({"metadata": {"name": "y"}}).errors) == 1


def test_what_a_rule_may_cost_is_limited() -> None:
    numbers = {"type": "array", "items": _INT}
    schema = spec({"rule": "self.x.all(a, self.x.all(b, a + b >= 0))", "message": "m"}, x=numbers)
    assert errors_of(schema, {"spec": {"x": list(range(600))}}) == [
        "spec: Invalid value: 'operation cancelled: actual cost limit exceeded': no further validation rules will "
        "be run due to call cost exceeds limit for rule: m"
    ]


def test_a_field_path_as_errors_show_it() -> None:
    labels = {"type": "object", "additionalProperties": _STRING}
    schema = structural({"properties": {"a.b": {"properties": {"labels": labels}}}})
    assert normalized_path("['a.b'].labels.x", schema) == "a.b.labels[x]"


def test_rules_inside_all_of_are_asked_too() -> None:
    schema = {**_INT, "allOf": [{"x-kubernetes-validations": [{"rule": "self > 1"}]}]}
    assert errors_of(schema, 1) == ["<nil>: Invalid value: 1: failed rule: self > 1"]


@pytest.mark.parametrize(
    ("rule", "value", "broken"),
    [
        ("!format.dns1123Label().validate(self).hasValue()", "ok-1", False),
        ("!format.dns1123Label().validate(self).hasValue()", "Not", True),
        ("!format.named('uuid').value().validate(self).hasValue()", "no", True),
        ("format.named('made-up').hasValue()", "x", True),
        ("format.dns1123LabelPrefix().validate(self) == optional.none()", "begin-", False),
    ],
)
def test_named_formats(rule: str, value: str, broken: bool) -> None:
    """https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-format-library"""
    assert bool(errors_of({**_STRING, "x-kubernetes-validations": [{"rule": rule}]}, value)) is broken
