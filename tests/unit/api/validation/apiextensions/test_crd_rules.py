"""x-kubernetes-validations in definitions (validation.ValidateCustomResourceDefinitionOpenAPISchema,
pkg/apiserver/schema/cel): texts as kube-apiserver 1.36 answers them."""

from __future__ import annotations

from typing import Any

import pytest
from crd_definitions import ESTABLISHED, crd, field_errors, schema_errors, update_errors, version

Obj = dict[str, Any]

INTEGER: Obj = {"type": "integer"}
STRING: Obj = {"type": "string"}
AT = "$.x-kubernetes-validations[0]"


def ruled(schema: Obj, **rule: Any) -> Obj:
    return {**schema, "x-kubernetes-validations": [rule]}


def printed(**rule: Any) -> str:
    """A rule as error texts show it."""
    shown = {"Rule": "", "Message": "", "MessageExpression": "", "Reason": "null", "FieldPath": ""}
    shown |= rule
    reason = shown.pop("Reason")
    parts = [f'"{key}":"{value}"' for key, value in shown.items()]
    parts.insert(3, f'"Reason":{reason}')
    return "{" + ",".join(parts) + ',"OptionalOldSelf":null}'


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"rule": "self > 1"}, []),
        ({"rule": ""}, [f"{AT}.rule: Required value: rule is not specified"]),
        ({"rule": " "}, [f"{AT}.rule: Required value: rule is not specified"]),
        (
            {"rule": "self > 1", "message": " "},
            [f'{AT}.message: Invalid value: " ": must be non-empty if specified'],
        ),
        (
            {"rule": "self > 1", "message": "a\nb"},
            [f'{AT}.message: Invalid value: "a\\nb": must not contain line breaks'],
        ),
        (
            {"rule": "self >\n1"},
            [f"{AT}.message: Required value: message must be specified if rule contains line breaks"],
        ),
        ({"rule": "self >\n1", "message": "a"}, []),
        (
            {"rule": "self > 1", "messageExpression": " "},
            [f"{AT}.messageExpression: Required value: messageExpression must be non-empty if specified"],
        ),
        (
            {"rule": "self > 1", "reason": "Because"},
            [
                f'{AT}.reason: Unsupported value: "Because": supported values: "FieldValueDuplicate", '
                '"FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"'
            ],
        ),
        ({"rule": "self > 1", "reason": "FieldValueRequired"}, []),
        (
            {"rule": "self > 1", "optionalOldSelf": True},
            [f"{AT}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"],
        ),
        ({"rule": "self == oldSelf.orValue(1)", "optionalOldSelf": True}, []),
    ],
)
def test_forms(rule: Obj, expected: list[str]) -> None:
    assert field_errors(ruled(INTEGER, **rule)) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".x", []),
        (".list", []),
        (".map['any']", []),
        (".map.any", []),
        (".deep['x']", []),
        (".free.any", []),
        (".free.any.more", ['Invalid value: ".free.any.more": must be a valid path']),
        (".nope", ['Invalid value: ".nope": must be a valid path']),
        ("x", ['Invalid value: "x": must be a valid path']),
        (".x.y", ['Invalid value: ".x.y": must be a valid path']),
        (".map[any]", ['Invalid value: ".map[any]": must be a valid path']),
        (".", ['Invalid value: ".": must be a valid path']),
        (
            "  ",
            [
                'Invalid value: "  ": must be non-empty if specified',
                'Invalid value: "  ": must be a valid path',
            ],
        ),
        (
            ".x\n",
            [
                'Invalid value: ".x\\n": must not contain line breaks',
                'Invalid value: ".x\\n": must be a valid path',
            ],
        ),
    ],
)
def test_field_paths(path: str, expected: list[str]) -> None:
    schema = {
        "type": "object",
        "properties": {
            "x": STRING,
            "list": {"type": "array", "items": STRING},
            "map": {"type": "object", "additionalProperties": STRING},
            "deep": {"type": "object", "properties": {"x": STRING}},
            "free": {"type": "object", "additionalProperties": True},
        },
    }
    found = field_errors(ruled(schema, rule="true", fieldPath=path))
    assert found == [f"{AT}.fieldPath: {text}" for text in expected]


def test_a_rule_that_does_not_compile_is_shown_whole() -> None:
    schema = {"type": "object", "properties": {"x": INTEGER}}
    assert field_errors(ruled(schema, rule="self.y > 1", message="m")) == [
        f"{AT}.rule: Invalid value: {printed(Rule='self.y ' + chr(92) + 'u003e 1', Message='m')}: compilation failed: "
        "ERROR: <input>:1:5: undefined field 'y'\n | self.y > 1\n | ....^"
    ]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("self + 1", "cel expression must evaluate to a bool"),
        ("dyn(true)", "cel expression must evaluate to a bool"),
        (
            "self == 'a'",
            "compilation failed: ERROR: <input>:1:6: found no matching overload for '_==_' applied to '(int, string)'\n"
            " | self == 'a'\n | .....^",
        ),
        (
            "selff == 1",
            "compilation failed: ERROR: <input>:1:1: undeclared reference to 'selff' (in container '')\n"
            " | selff == 1\n | ^",
        ),
    ],
)
def test_rules_compile_to_booleans(rule: str, why: str) -> None:
    assert field_errors(ruled(INTEGER, rule=rule)) == [
        f"{AT}.rule: Invalid value: {printed(Rule=rule)}: {why}"
    ]


def test_message_expressions_compile_to_texts() -> None:
    rule = {"rule": "true", "messageExpression": "self"}
    assert field_errors(ruled(INTEGER, **rule)) == [
        f"{AT}.messageExpression: Invalid value: {printed(Rule='true', MessageExpression='self')}: messageExpression "
        "must evaluate to a string"
    ]
    assert field_errors(ruled(STRING, **rule)) == []


def test_rules_are_not_compiled_where_the_schema_is_wrong() -> None:
    """What is wrong below would make the compiler complain of what is right."""
    field = ruled({"type": "object", "properties": {"x": {"type": "stringy"}}}, rule="self.x == 1")
    assert len(field_errors(field)) == 1


def test_what_rules_cannot_see() -> None:
    hidden = ruled({"x-kubernetes-preserve-unknown-fields": True}, rule="true")
    assert field_errors(hidden) == [
        "$.x-kubernetes-validations: Internal error: internal error: failed to construct type information for "
        "x-kubernetes-validations rules: unable to convert structural schema to CEL declarations"
    ]


# Old values


@pytest.mark.parametrize(
    ("wrap", "below", "within"),
    [
        (lambda inner: {"type": "object", "properties": {"b": inner}}, "$.properties[b]", ""),
        (lambda inner: {"type": "object", "additionalProperties": inner}, "$.additionalProperties", ""),
        (lambda inner: {"type": "array", "items": inner}, "$.items", "$"),
        (
            lambda inner: {"type": "array", "items": inner, "x-kubernetes-list-type": "atomic"},
            "$.items",
            "$",
        ),
        (
            lambda inner: {
                "type": "array",
                "items": {"type": "array", "items": inner},
            },
            "$.items.items",
            "$",
        ),
        (
            lambda inner: {
                "type": "array",
                "items": {"type": "object", "required": ["k"], "properties": {"k": STRING, "v": inner}},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
            },
            "$.items.properties[v]",
            "",
        ),
    ],
)
def test_old_values_need_something_that_tells_items_apart(wrap: Any, below: str, within: str) -> None:
    field = wrap(ruled({**INTEGER}, rule="self >= oldSelf"))
    expected = (
        f'{below}.x-kubernetes-validations[0].rule: Invalid value: "self >= oldSelf": oldSelf cannot be used on the '
        f"uncorrelatable portion of the schema within {within}"
    )
    assert field_errors(field) == ([expected] if within else [])


# Costs

TOO_DEAR = (
    "more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, "
    "and strings are declared)"
)


def test_a_rule_that_costs_too_much() -> None:
    field = ruled({"type": "array", "items": STRING}, rule="self.all(x, self.all(y, x == y))")
    at = "$.properties[a].x-kubernetes-validations[0].rule"
    assert schema_errors({"type": "object", "properties": {"a": field}}) == [
        f"{at}: Forbidden: estimated rule cost exceeds budget by factor of {TOO_DEAR}",
        f"{at}: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        "$: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget "
        f"by factor of {TOO_DEAR}",
    ]


def test_a_message_that_costs_too_much() -> None:
    """https://github.com/kubernetes/kubernetes/issues/124234"""
    field = ruled(INTEGER, rule="self >= 0", messageExpression="'invalid: ' + string(self)")
    at = "$.properties[a].x-kubernetes-validations[0].messageExpression"
    assert schema_errors({"type": "object", "properties": {"a": field}}) == [
        f"{at}: Forbidden: estimated messageExpression cost exceeds budget by factor of {TOO_DEAR}",
        f"{at}: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        "$: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget "
        f"by factor of {TOO_DEAR}",
    ]


@pytest.mark.parametrize(
    ("most", "factor"),
    [
        (10_000, None),
        # 3 a turn and 2 around: 10,200,002 of 10,000,000
        (3_400_000, "1.020000x"),
        (5_000_000, "1.5x"),
        (10_000_000, "3.0x"),
    ],
)
def test_how_much_too_much_is_told(most: int, factor: str | None) -> None:
    found = field_errors(
        ruled({"type": "array", "items": INTEGER, "maxItems": most}, rule="self.all(x, true)")
    )
    assert len(found) == (0 if factor is None else 1)
    assert factor is None or f"estimated rule cost exceeds budget by factor of {factor} (try" in found[0]


def test_a_rule_costs_as_often_as_its_place_can_occur() -> None:
    def nested(**limit: int) -> Obj:
        return {
            "type": "array",
            "items": ruled({**STRING, "maxLength": 100}, rule="self.contains(self)"),
            **limit,
        }

    # contains: (100 * 4 / 10) squared, and two names
    assert field_errors(nested(maxItems=1000)) == []
    (found, *_) = field_errors(nested(maxItems=10_000))
    assert "factor of 1.6x (try" in found
    # without a limit, as often as an empty text and a comma fit into three megabytes
    (found, *_) = field_errors(nested())
    assert "more than 100x" in found


def test_many_rules_together_cost_too_much() -> None:
    """Each within its own limit, the sum beyond the schema's; the four dearest are named."""
    dear = {"type": "array", "items": INTEGER, "maxItems": 3_000_000}
    rules = [{"rule": "self.all(x, true)"}] * 13
    found = field_errors({**dear, "x-kubernetes-validations": rules})
    why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    assert found[:4] == [f"$.x-kubernetes-validations[{i}].rule: Forbidden: {why}" for i in range(4)]
    assert found[4].startswith(
        "$: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget "
        "by factor of 1.170000x (try"
    )
    assert len(found) == 5


def test_an_unchanged_schema_keeps_rules_that_are_too_dear_now() -> None:
    """validation.suppressExpressionCostForUnchangedSchema: the limit of one, not that of all."""
    dear = ruled({"type": "array", "items": INTEGER, "maxItems": 10_000_000}, rule="self.all(x, true)")
    schema = {"type": "object", "properties": {"a": dear}}
    old = crd(version(schema=schema), status=ESTABLISHED)
    assert update_errors(old, crd(version(schema=schema), names={"plural": "things", "kind": "Thing"})) == []
    changed = {**schema, "description": "new"}
    assert len(update_errors(old, crd(version(schema=changed)))) == 1
