"""What upstream says of values that a schema does not allow (kube-openapi's pkg/validation/validate and
pkg/validation/errors; apiextensions-apiserver's pkg/apiserver/validation)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api import field as f
from pilothouse.api.structural.values import validator


def errors_of(schema: dict[str, Any], value: Any, *old: Any, base: str = "") -> list[str]:
    found: f.Errors = []
    validator({"type": "object", "properties": {"a": schema}})({"a": value}, found, *old, base=base)
    return [str(error) for error in found]


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        (
            {"type": "integer"},
            "x",
            ['a: Invalid value: "string": a in body must be of type integer: "string"'],
        ),
        (
            {"type": "integer"},
            1.5,
            [
                'a: Invalid value: "number": a in body must be of type integer: "number"',
                '<nil>: Invalid value: "": Checked value must be of type integer (default format) in a',
            ],
        ),
        ({"type": "integer"}, 2.0, []),
        ({"type": "number"}, 2, []),
        (
            {"type": "integer", "minimum": 1},
            0,
            ["a: Invalid value: 0: a in body should be greater than or equal to 1"],
        ),
        (
            {"type": "integer", "minimum": 1, "exclusiveMinimum": True},
            1,
            ["a: Invalid value: 1: a in body should be greater than 1"],
        ),
        (
            {"type": "number", "maximum": 1.5},
            1.75,
            ["a: Invalid value: 1.75: a in body should be less than or equal to 1.5"],
        ),
        (
            {"type": "integer", "multipleOf": 3},
            4,
            ["a: Invalid value: 4: a in body should be a multiple of 3"],
        ),
        ({"type": "number", "multipleOf": 0.1}, 0.3, []),
        ({"type": "number", "multipleOf": 0.5}, 2, []),
        ({"type": "number", "minimum": 0.5}, 0, []),
        ({"type": "string", "maxLength": 3}, "äöüß", ["a: Too long: may not be more than 3 bytes"]),
        (
            {"type": "string", "minLength": 2},
            "x",
            ['a: Invalid value: "x": a in body should be at least 2 chars long'],
        ),
        (
            {"type": "string", "pattern": "^x$"},
            "x\n",
            ["a: Invalid value: \"x\\n\": a in body should match '^x$'"],
        ),
        (
            {"type": "string", "enum": ["b", "c"]},
            "d",
            ['a: Unsupported value: "d": supported values: "b", "c"'],
        ),
        ({"type": "integer", "enum": [1, 2]}, 3, ['a: Unsupported value: 3: supported values: "1", "2"']),
        ({"type": "integer", "enum": [1, 2]}, 1.0, []),
        (
            {"type": "boolean"},
            1,
            ['a: Invalid value: "integer": a in body must be of type boolean: "integer"'],
        ),
        ({"type": "string"}, None, ['a: Invalid value: "null": a in body must be of type string: "null"']),
        ({"type": "string", "nullable": True}, None, []),
        (
            {"type": "string", "format": "date"},
            "2020-13-01",
            ['a: Invalid value: "2020-13-01": a in body must be of type date: "2020-13-01"'],
        ),
        ({"type": "string", "format": "made-up"}, "x", []),
        (
            {"x-kubernetes-int-or-string": True},
            True,
            ['a: Invalid value: "boolean": a in body must be of type integer,string: "boolean"'],
        ),
        (
            {"type": "array", "items": {"type": "string"}},
            [1],
            ['a[0]: Invalid value: "integer": a[0] in body must be of type string: "integer"'],
        ),
        ({"type": "array", "maxItems": 1}, [1, 2], ["a: Too many: 2: must have at most 1 items"]),
        (
            {"type": "array", "minItems": 1},
            [],
            ["a: Invalid value: 0: a in body should have at least 1 items"],
        ),
        (
            {"type": "array", "uniqueItems": True},
            [1, 1],
            ['a: Invalid value: "": a in body shouldn\'t contain duplicates'],
        ),
        (
            {"type": "object", "maxProperties": 1},
            {"x": 1, "y": 2},
            ["a: Too many: 2: must have at most 1 items"],
        ),
        (
            {"type": "object", "minProperties": 1},
            {},
            ["a: Invalid value: 0: a in body should have at least 1 properties"],
        ),
        ({"type": "object", "required": ["b"]}, {}, ["a.b: Required value"]),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {"x": "y"},
            ['a.x: Invalid value: "string": a.x in body must be of type integer: "string"'],
        ),
    ],
)
def test_each_rule_in_upstreams_words(schema: dict[str, Any], value: Any, told: list[str]) -> None:
    assert errors_of(schema, value) == told


def test_alternatives_tell_of_the_branch_that_came_furthest() -> None:
    near = {"required": ["b"], "properties": {"c": {"type": "string"}, "d": {"type": "string"}}}
    far = {"required": ["e"]}
    schema = {"type": "object", "oneOf": [far, near]}
    assert errors_of(schema, {"c": "x", "d": "y"}) == [
        '<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf). Found none valid',
        "a.b: Required value",
    ]
    assert errors_of(schema, {"b": 1, "e": 1}) == [
        '<nil>: Invalid value: "": "a" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"anyOf": [{"minimum": 5}, {"multipleOf": 2}]}, '"a" must validate at least one schema (anyOf)'),
        ({"allOf": [{"minimum": 5}]}, '"a" must validate all the schemas (allOf). None validated'),
        ({"allOf": [{"minimum": 5}, {"maximum": 5}]}, '"a" must validate all the schemas (allOf)'),
        ({"not": {"maximum": 5}}, '"a" must not validate the schema (not)'),
    ],
)
def test_combinations(schema: dict[str, Any], told: str) -> None:
    assert f'<nil>: Invalid value: "": {told}' in errors_of({"type": "integer", **schema}, 3)


def test_a_status_alone_is_told_by_its_own_paths() -> None:
    assert errors_of({"type": "string"}, 5, base="status") == [
        'status.a: Invalid value: "integer": a in body must be of type string: "integer"'
    ]


def test_what_an_update_leaves_alone_is_forgiven() -> None:
    """KEP-4008: errors of parts that did not change."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}}
    assert errors_of(schema, {"x": "bad", "y": 1}, {"a": {"x": "bad", "y": 0}}) == []
    assert len(errors_of(schema, {"x": "worse", "y": 1}, {"a": {"x": "bad", "y": 0}})) == 1


def test_list_elements_correspond_by_key_or_by_position() -> None:
    items = {"type": "object", "properties": {"k": {"type": "string"}, "v": {"maximum": 5}}}
    plain: dict[str, Any] = {"type": "array", "items": items}
    keyed = {**plain, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    bad, new = {"k": "b", "v": 9}, {"k": "n", "v": 1}
    assert errors_of(keyed, [new, bad], {"a": [bad]}) == []
    assert len(errors_of(plain, [new, bad], {"a": [bad]})) == 1
    assert errors_of(plain, [bad, new], {"a": [bad]}) == []
    atomic = {**plain, "x-kubernetes-list-type": "atomic"}
    assert len(errors_of(atomic, [bad, new], {"a": [bad]})) == 1
