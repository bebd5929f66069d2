"""Schemas of definitions (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation
ValidateCustomResourceDefinitionOpenAPISchema, pkg/apiserver/schema ValidateStructural): texts as kube-apiserver
1.36 answers them. `$` is the schema's path, or that of its one field.
"""

from __future__ import annotations

from typing import Any

import pytest
from crd_definitions import errors_of, field_errors, schema_errors, version

Obj = dict[str, Any]

STRING: Obj = {"type": "string"}
INTEGER: Obj = {"type": "integer"}
OBJECT: Obj = {"type": "object"}
PRESERVE: Obj = {"x-kubernetes-preserve-unknown-fields": True}
EMBEDDED: Obj = {"type": "object", "x-kubernetes-embedded-resource": True}
TYPES = '"array", "boolean", "integer", "number", "object", "string"'


def array(items: Obj, **more: Any) -> Obj:
    return {"type": "array", "items": items, **more}


def fields(**properties: Obj) -> Obj:
    return {"type": "object", "properties": properties}


# Structural: types everywhere


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({}, ["$.type: Required value: must not be empty for specified object fields"]),
        (array({}), ["$.items.type: Required value: must not be empty for specified array items"]),
        (
            {"type": "object", "additionalProperties": {}},
            ["$.additionalProperties.type: Required value: must not be empty for specified object fields"],
        ),
        ({"type": "array"}, ["$.items: Required value: must be specified"]),
        ({"type": "decimal"}, [f'$.type: Unsupported value: "decimal": supported values: {TYPES}']),
        (
            {"type": "null"},
            [
                f'$.type: Unsupported value: "null": supported values: {TYPES}',
                "$.type: Forbidden: type cannot be set to null, use nullable as an alternative",
            ],
        ),
        (PRESERVE, []),
        ({"x-kubernetes-int-or-string": True}, []),
        (
            {"x-kubernetes-int-or-string": True, **PRESERVE},
            [
                "$.x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if "
                "x-kubernetes-int-or-string is true"
            ],
        ),
        (
            {"x-kubernetes-preserve-unknown-fields": False, "type": "object"},
            ["$.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined"],
        ),
    ],
)
def test_types(field: Obj, expected: list[str]) -> None:
    assert field_errors(field) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, ["$.type: Required value: must not be empty at the root"]),
        ({"type": "string"}, ['$.type: Invalid value: "string": must be object at the root']),
        (
            {"type": "object", "additionalProperties": STRING},
            ["$.additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            {"type": "object", "nullable": True},
            ["$.nullable: Forbidden: nullable cannot be true at the root"],
        ),
        # sorted by text, whatever the order of the fields
        (
            {"properties": {"b": {}, "a": {}}},
            [
                "$.properties[a].type: Required value: must not be empty for specified object fields",
                "$.properties[b].type: Required value: must not be empty for specified object fields",
                "$.type: Required value: must not be empty at the root",
            ],
        ),
    ],
)
def test_the_root(schema: Obj, expected: list[str]) -> None:
    assert schema_errors(schema) == expected


# Structural: conditions only restrict


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        ({"type": "string"}, ["$.{0}.type: Forbidden: must be empty to be structural"]),
        ({"default": "x"}, ["$.{0}.default: Forbidden: must be undefined to be structural"]),
        ({"title": "x"}, ["$.{0}.title: Forbidden: must be empty to be structural"]),
        ({"description": "x"}, ["$.{0}.description: Forbidden: must be empty to be structural"]),
        ({"nullable": True}, ["$.{0}.nullable: Forbidden: must be false to be structural"]),
        (
            PRESERVE,
            ["$.{0}.x-kubernetes-preserve-unknown-fields: Forbidden: must be false to be structural"],
        ),
        (
            {"x-kubernetes-int-or-string": True},
            ["$.{0}.x-kubernetes-int-or-string: Forbidden: must be false to be structural"],
        ),
        ({"minLength": 1}, []),
        ({"enum": ["a"]}, []),
        (
            {"pattern": "("},
            [
                '$.{0}.pattern: Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing '
                "regexp: missing closing ): `(`"
            ],
        ),
    ],
)
@pytest.mark.parametrize("junctor", ["anyOf[0]", "allOf[0]", "oneOf[0]", "not"])
def test_conditions_say_nothing_but_what_values_may_be(inner: Obj, expected: list[str], junctor: str) -> None:
    key = junctor.removesuffix("[0]")
    given = inner if key == "not" else [inner]
    assert field_errors({"type": "string", key: given}) == [text.format(junctor) for text in expected]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            {**OBJECT, "anyOf": [{"required": ["x"], "properties": {"x": {"minLength": 1}}}]},
            ["$.properties[x]: Required value: because it is defined in {path}.anyOf[0].properties[x]"],
        ),
        (
            {**OBJECT, "not": {"items": {"minLength": 1}}},
            ["$.items: Required value: because it is defined in {path}.not.items"],
        ),
        (
            {**OBJECT, "oneOf": [{"anyOf": [{"properties": {"x": {}}}]}]},
            [
                "$.properties[x]: Required value: because it is defined in {path}.oneOf[0].anyOf[0].properties[x]"
            ],
        ),
        ({**fields(x=STRING), "oneOf": [{"properties": {"x": {"minLength": 1}}}]}, []),
        (
            {**OBJECT, **PRESERVE, "allOf": [{"properties": {"metadata": {}}}]},
            [
                "$.allOf[0].properties[metadata]: Forbidden: must not be specified in a nested context",
                "$.properties[metadata]: Required value: because it is defined in {path}.allOf[0].properties[metadata]",
            ],
        ),
        # upstream looks at the root's conditions alone
        (fields(a={**OBJECT, "not": {"items": {"minLength": 1}}}), []),
    ],
)
def test_what_conditions_speak_of_is_on_the_spine(schema: Obj, expected: list[str]) -> None:
    path = "spec.validation.openAPIV3Schema"
    found = errors_of(version(schema=schema))
    assert [text.replace(path, "$", 1) for text in found] == [text.format(path=path) for text in expected]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({"anyOf": [INTEGER, STRING]}, []),
        ({"allOf": [{"anyOf": [INTEGER, STRING]}, {"minimum": 1}]}, []),
        (
            {"anyOf": [STRING, INTEGER]},
            [
                "$.anyOf[0].type: Forbidden: must be empty to be structural",
                "$.anyOf[1].type: Forbidden: must be empty to be structural",
            ],
        ),
    ],
)
def test_int_or_string_may_say_so_in_two_ways(conditions: Obj, expected: list[str]) -> None:
    assert field_errors({"x-kubernetes-int-or-string": True, **conditions}) == expected


# Metadata and embedded objects


@pytest.mark.parametrize(
    ("metadata", "is_fine"),
    [
        (OBJECT, True),
        (fields(name={"type": "string", "pattern": "^a"}), True),
        (fields(name=STRING, generateName=STRING), True),
        (fields(labels=OBJECT), False),
        (fields(name=STRING, labels=OBJECT), False),
        ({**OBJECT, "description": "x"}, False),
        ({**OBJECT, "required": ["name"]}, False),
    ],
)
def test_of_metadata_only_the_names_may_be_restricted(metadata: Obj, is_fine: bool) -> None:
    why = (
        "$.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata "
        "is implicitly specified"
    )
    assert schema_errors(fields(metadata=metadata)) == ([] if is_fine else [why])


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (
            fields(metadata=STRING),
            ['$.properties[metadata].type: Invalid value: "string": must be object'],
        ),
        (fields(kind=INTEGER), ['$.properties[kind].type: Invalid value: "integer": must be string']),
        (
            fields(apiVersion=INTEGER),
            ['$.properties[apiVersion].type: Invalid value: "integer": must be string'],
        ),
        (
            fields(kind={"type": "string", "default": "x"}),
            ["$.properties[kind].default: Forbidden: must not be set in top-level kind"],
        ),
        (
            fields(metadata=fields(name={"type": "string", "default": "x"})),
            [
                "$.properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"
            ],
        ),
    ],
)
def test_the_root_is_a_resource(schema: Obj, expected: list[str]) -> None:
    assert schema_errors(schema) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({**EMBEDDED, **PRESERVE}, []),
        ({**EMBEDDED, **fields(spec=OBJECT)}, []),
        (
            EMBEDDED,
            [
                "$.properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without "
                "x-kubernetes-preserve-unknown-fields"
            ],
        ),
        (
            {**EMBEDDED, **PRESERVE, "type": "string"},
            ['$.type: Invalid value: "string": must be object if x-kubernetes-embedded-resource is true'],
        ),
        (
            {"x-kubernetes-embedded-resource": True, **PRESERVE},
            ["$.type: Required value: must be object if x-kubernetes-embedded-resource is true"],
        ),
        (
            {**EMBEDDED, **PRESERVE, "additionalProperties": STRING},
            ["$.additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set"],
        ),
        (
            {**EMBEDDED, **fields(kind=INTEGER)},
            ['$.properties[kind].type: Invalid value: "integer": must be string'],
        ),
        (
            {**EMBEDDED, **fields(metadata={**EMBEDDED, **PRESERVE})},
            [
                "$.properties[metadata].x-kubernetes-embedded-resource: Forbidden: must not be used inside of "
                "resource meta"
            ],
        ),
    ],
)
def test_embedded_objects(field: Obj, expected: list[str]) -> None:
    assert field_errors(field) == expected


# What OpenAPI has and Kubernetes has not


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"id": "x"}, ["$.id: Forbidden: id is not supported"]),
        ({"$ref": "#/x"}, ["$.$ref: Forbidden: $ref is not supported"]),
        (
            {"additionalItems": True},
            ["$.additionalItems: Forbidden: additionalItems is not supported"],
        ),
        (
            {"patternProperties": {"x": STRING}},
            ["$.patternProperties: Forbidden: patternProperties is not supported"],
        ),
        ({"definitions": {"x": STRING}}, ["$.definitions: Forbidden: definitions is not supported"]),
        ({"dependencies": {"x": ["y"]}}, ["$.dependencies: Forbidden: dependencies is not supported"]),
        (
            {"type": "array", "items": [STRING]},
            ["$.items: Forbidden: items must be a schema object and not an array"],
        ),
        (
            {"type": "array", "items": STRING, "uniqueItems": True},
            [
                "$.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes "
                "quadratic"
            ],
        ),
        (
            {**fields(x=STRING), "additionalProperties": STRING},
            ["$.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
        ),
        (
            {**fields(x=STRING), "additionalProperties": False},
            ["$.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"],
        ),
        ({**fields(x=STRING), "additionalProperties": True}, []),
        ({"type": "object", "additionalProperties": False}, []),
    ],
)
def test_unsupported_keywords(more: Obj, expected: list[str]) -> None:
    assert field_errors({**OBJECT, **more}) == expected


def test_what_only_the_conversion_refuses_is_told_when_nothing_else_is() -> None:
    schema = {"type": "object", "$schema": "http://json-schema.org/schema#"}
    assert schema_errors(schema) == ["$: Invalid value: \"\": OpenAPIV3Schema 'schema' is not supported"]
    assert schema_errors({**schema, "uniqueItems": True}) == [
        "$.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
    ]


# Lists and maps

KEYED = fields(k=STRING)
MUST_DEFAULT = (
    "Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required "
    "property"
)


def map_list(items: Obj, *keys: str) -> Obj:
    return array(items, **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (map_list({**KEYED, "required": ["k"]}, "k"), []),
        (map_list(fields(k={"type": "string", "default": "x"}), "k"), []),
        (map_list(KEYED, "k"), [f"$.items.properties[k].default: {MUST_DEFAULT}"]),
        (
            map_list({**KEYED, "required": ["k"]}, "z"),
            [
                '$.x-kubernetes-list-map-keys: Invalid value: ["z"]: entries must all be names of item properties',
            ],
        ),
        (
            map_list({**KEYED, "required": ["k"]}, "k", "k"),
            ['$.x-kubernetes-list-map-keys: Invalid value: ["k","k"]: must not contain duplicate entries'],
        ),
        (
            map_list({**fields(k=OBJECT), "required": ["k"]}, "k"),
            [
                '$.items.properties[k].type: Invalid value: "object": must be a scalar type if parent array\'s '
                "x-kubernetes-list-type is map"
            ],
        ),
        (
            map_list(STRING, "k"),
            [
                '$.items.type: Invalid value: "string": must be object if parent array\'s x-kubernetes-list-type is map'
            ],
        ),
        (
            map_list({**KEYED, "required": ["k"]}),
            [
                "$.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"
            ],
        ),
        (
            map_list({**KEYED, "required": ["k"], "nullable": True}, "k"),
            ["$.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map"],
        ),
        (
            map_list({**fields(k={"type": "string", "nullable": True}), "required": ["k"]}, "k"),
            [
                "$.items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it "
                "cannot be nullable"
            ],
        ),
        (
            array(STRING, **{"x-kubernetes-list-map-keys": ["k"]}),
            [
                "$.x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty"
            ],
        ),
        (
            array(STRING, **{"x-kubernetes-list-type": "set", "x-kubernetes-list-map-keys": ["k"]}),
            [
                '$.x-kubernetes-list-type: Invalid value: "set": must be map if x-kubernetes-list-map-keys is '
                "non-empty"
            ],
        ),
        (
            array(STRING, **{"x-kubernetes-list-type": "bag"}),
            ['$.x-kubernetes-list-type: Unsupported value: "bag": supported values: "atomic", "set", "map"'],
        ),
        (
            {"type": "string", "x-kubernetes-list-type": "atomic"},
            ['$.type: Invalid value: "string": must be array if x-kubernetes-list-type is specified'],
        ),
        (array(STRING, **{"x-kubernetes-list-type": "set"}), []),
        (array({**OBJECT, "x-kubernetes-map-type": "atomic"}, **{"x-kubernetes-list-type": "set"}), []),
        (
            array(OBJECT, **{"x-kubernetes-list-type": "set"}),
            [
                "$.items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with "
                "x-kubernetes-list-type=set"
            ],
        ),
        (
            array(array(STRING, **{"x-kubernetes-list-type": "set"}), **{"x-kubernetes-list-type": "set"}),
            [
                '$.items.x-kubernetes-list-type: Invalid value: "set": must be atomic as item of a list with '
                "x-kubernetes-list-type=set"
            ],
        ),
        (
            array({"type": "string", "nullable": True}, **{"x-kubernetes-list-type": "set"}),
            ["$.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set"],
        ),
        (
            {"type": "string", "x-kubernetes-map-type": "atomic"},
            ['$.type: Invalid value: "string": must be object if x-kubernetes-map-type is specified'],
        ),
        (
            {**OBJECT, "x-kubernetes-map-type": "odd"},
            ['$.x-kubernetes-map-type: Unsupported value: "odd": supported values: "atomic", "granular"'],
        ),
    ],
)
def test_lists_and_maps(field: Obj, expected: list[str]) -> None:
    assert field_errors(field) == expected


# The status subresource


def test_what_the_root_may_say_when_the_status_is_apart() -> None:
    """Only what is not lost when the status is validated alone."""
    status = {"status": {}}
    assert schema_errors({"type": "object", "description": "d"}, subresources=status) == []
    (found,) = schema_errors({"type": "object", "maxProperties": 1}, subresources=status)
    assert found.startswith(
        '$: Invalid value: {"ID":"","Schema":"","Ref":null,"Description":"","Type":"object",'
    )
    assert '"MaxProperties":1,"MinProperties":null,' in found
    assert found.endswith(
        "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength "
        "Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example "
        "XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource "
        "is enabled"
    )
    assert schema_errors({"type": "string"}, subresources=status) == [
        '$.type: Invalid value: "string": only "object" is allowed as the type at the root of the schema if the status '
        "subresource is enabled",
        '$.type: Invalid value: "string": must be object at the root',
    ]


# Defaults


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ({"type": "integer", "default": 1}, []),
        (
            {"type": "integer", "default": "x"},
            ['$.default: Invalid value: "string":  in body must be of type integer: "string"'],
        ),
        (
            {"type": "integer", "minimum": 2, "default": 1},
            ["$.default: Invalid value: 1:  in body should be greater than or equal to 2"],
        ),
        (
            {"type": "string", "enum": ["a"], "default": "b"},
            ['$.default: Unsupported value: "b": supported values: "a"'],
        ),
        ({**fields(x=STRING), "default": {"x": "y"}}, []),
        (
            {**fields(x=STRING), "default": {"z": "y", "x": ""}},
            ['$.default: Invalid value: {"x":"","z":"y"}: must not have unknown fields'],
        ),
        ({**fields(x=STRING), **PRESERVE, "default": {"z": "y"}}, []),
        (
            {**fields(x=STRING), "default": {"x": 1}},
            ['$.default.x: Invalid value: "integer": x in body must be of type string: "integer"'],
        ),
        (
            {**fields(x=STRING), "required": ["x"], "default": {}},
            ["$.default.x: Required value"],
        ),
        ({"type": "string", "nullable": True, "default": None}, []),
        (
            {"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > 1"}]},
            ["$.default: Invalid value: 1: failed rule: self > 1"],
        ),
        (
            {**EMBEDDED, **PRESERVE, "default": {"metadata": {}}},
            ["$.default.apiVersion: Required value", "$.default.kind: Required value"],
        ),
        ({**EMBEDDED, **PRESERVE, "default": {"apiVersion": "v1", "kind": "Pod"}}, []),
        (
            {**EMBEDDED, **fields(kind={"type": "string", "default": "a b"}, metadata=OBJECT)},
            [],
        ),
    ],
)
def test_defaults_fit(field: Obj, expected: list[str]) -> None:
    assert field_errors(field) == expected


def test_defaults_in_an_embedded_objects_metadata_make_valid_metadata() -> None:
    named = fields(metadata=fields(name={"type": "string", "default": "a/b"}))
    (found,) = field_errors({**EMBEDDED, **named})
    assert found == (
        '$.properties[metadata].properties[name].default: Invalid value: "a/b": must result in valid metadata: '
        "metadata.name: Invalid value: \"a/b\": may not contain '/'"
    )


def test_defaults_under_any_key_of_metadata_are_refused() -> None:
    labels = {"type": "object", "additionalProperties": {"type": "string", "default": "x"}}
    (found,) = field_errors({**EMBEDDED, **fields(metadata=fields(labels=labels))})
    assert found == (
        "$.properties[metadata].properties[labels].additionalProperties.default: Forbidden: must not be set inside "
        "additionalProperties applying to object metadata"
    )
