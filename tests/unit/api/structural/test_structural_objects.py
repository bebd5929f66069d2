"""Pruning, defaults, nulls, embedded objects, list keys
(https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.structural.objects import ObjectSchema
from pilothouse.api.structure import Field, Type

_STRING = Type("string", "string")
_LABELS = Type("map", "map[string]string", element=_STRING)
_META = Type("struct", "v1.ObjectMeta", {"name": Field(_STRING), "labels": Field(_LABELS)})


def schema(**properties: Any) -> ObjectSchema:
    return ObjectSchema({"type": "object", "properties": properties}, _META, "Thing")


def decoded(made: ObjectSchema, **parts: Any) -> tuple[dict[str, Any], list[str]]:
    value = {"apiVersion": "g/v1", "kind": "Thing", "metadata": {"name": "x"}, **parts}
    obj, unknown = made.decode(value)
    made.default(obj)
    return {k: v for k, v in obj.items() if k not in ("apiVersion", "kind", "metadata")}, unknown


_FREE = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_INT = {"type": "integer"}


@pytest.mark.parametrize(
    ("property_", "value", "kept", "unknown"),
    [
        ({"type": "object"}, {"b": 1}, {}, ["a.b"]),
        (_FREE, {"b": {"c": 1}}, {"b": {"c": 1}}, []),
        (
            {**_FREE, "properties": {"b": {"type": "object"}}},
            {"b": {"c": 1}, "d": 1},
            {"b": {}, "d": 1},
            ["a.b.c"],
        ),
        (
            {"type": "object", "additionalProperties": {"type": "object"}},
            {"b": {"c": 1}},
            {"b": {}},
            ["a.b.c"],
        ),
        ({"type": "array", "items": {"type": "object"}}, [{"b": 1}], [{}], ["a[0].b"]),
        ({"type": "object", "properties": {"z": _INT}}, {"c": 1, "b": 2, "z": 3}, {"z": 3}, ["a.b", "a.c"]),
    ],
)
def test_what_a_schema_does_not_name_goes(property_: Any, value: Any, kept: Any, unknown: list[str]) -> None:
    assert decoded(schema(a=property_), a=value) == ({"a": kept}, unknown)


def test_nothing_of_what_was_sent_is_changed() -> None:
    sent = {"b": {"c": 1}}
    decoded(schema(a={"type": "object", "properties": {"b": {"type": "object"}}}), a=sent)
    assert sent == {"b": {"c": 1}}


def test_unknown_metadata_is_told_before_the_rest() -> None:
    _, unknown = decoded(schema(), extra=1, metadata={"name": "x", "bogus": 1})
    assert unknown == ["metadata.bogus", "extra"]


def test_metadata_of_the_wrong_type_is_refused_in_gos_words() -> None:
    with pytest.raises(ValueError, match=r"cannot unmarshal number into Go struct field ObjectMeta.labels"):
        decoded(schema(), metadata={"labels": {"a": 1}})


@pytest.mark.parametrize(
    ("property_", "sent", "kept"),
    [
        ({"type": "string", "default": "d"}, {}, {"a": "d"}),
        ({"type": "string", "default": "d"}, {"a": None}, {"a": "d"}),
        ({"type": "string", "default": "d", "nullable": True}, {"a": None}, {"a": None}),
        ({"type": "string"}, {"a": None}, {}),
        ({"type": "string", "nullable": True}, {"a": None}, {"a": None}),
        ({"type": "object", "properties": {"b": {"type": "integer", "default": 1}}}, {}, {}),
        (
            {"type": "object", "properties": {"b": {"type": "integer", "default": 1}}},
            {"a": {}},
            {"a": {"b": 1}},
        ),
        ({"type": "object", "default": {}, "properties": {"b": {"default": 1}}}, {}, {"a": {"b": 1}}),
        ({"type": "array", "items": {"properties": {"b": {"default": 1}}}}, {"a": [{}]}, {"a": [{"b": 1}]}),
        ({"type": "array", "items": {"type": "string"}}, {"a": [None]}, {"a": [None]}),
        ({"additionalProperties": {"type": "string", "default": "d"}}, {"a": {"k": None}}, {"a": {"k": "d"}}),
        ({"additionalProperties": {"type": "string"}}, {"a": {"k": None}}, {"a": {}}),
    ],
)
def test_defaults_and_nulls(property_: Any, sent: Any, kept: Any) -> None:
    assert decoded(schema(a=property_), **sent)[0] == kept


def test_a_default_is_nobody_elses() -> None:
    made = schema(a={"type": "object", "default": {"b": []}, "x-kubernetes-preserve-unknown-fields": True})
    first, _ = decoded(made)
    first["a"]["b"].append(1)
    assert decoded(made)[0] == {"a": {"b": []}}


def test_embedded_objects_have_metadata_of_their_own() -> None:
    made = schema(a={**_FREE, "x-kubernetes-embedded-resource": True})
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "bogus": 1}, "spec": {"q": 1}}
    kept, unknown = decoded(made, a=pod)
    assert kept["a"] == {**pod, "metadata": {"name": "p"}}
    assert unknown == ["a.metadata.bogus"]
    assert [str(e) for e in made.embedded_errors({"a": {"kind": "p_d"}})] == [
        "a.apiVersion: Required value",
        'a.kind: Invalid value: "p_d": may have mixed case, but should otherwise match: a DNS-1035 label must '
        "consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with "
        "an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
        "'[a-z]([-a-z0-9]*[a-z0-9])?')",
    ]


def test_sets_and_maps_hold_no_duplicates() -> None:
    keyed = {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object"},
    }
    made = schema(s={"x-kubernetes-list-type": "set"}, m=keyed)
    bad = {"s": ["x", "y", "x", "x"], "m": [{"k": 1}, {"k": 1}, {}, {}]}
    told = ['s[2]: Duplicate value: "x"', 'm[1]: Duplicate value: {"k":1}', "m[3]: Duplicate value: {}"]
    assert [str(e) for e in made.list_errors(bad)] == told
    assert made.list_errors(bad, {"s": ["z", "z"]}) == [], "the old object had duplicates already"
    assert made.list_errors({"s": [True, 1, "1"]}) == [], "of different types"


def test_rules_are_not_asked_of_an_object_whose_shape_is_wrong() -> None:
    made = schema(a={"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]})
    found = made.value_errors({"a": "x"})
    assert [str(e) for e in made.rule_errors({"a": "x"}, None, found).errors] == [
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation"
    ]
