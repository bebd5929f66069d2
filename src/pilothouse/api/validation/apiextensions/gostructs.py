"""How error texts print the internal types: by Go's field names, every field, nil as null
(k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/types.go and types_jsonschema.go).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions.props import Schema
from pilothouse.api.validation.gotext import Maybe, plain, struct

RULE = struct(Rule="", Message="", MessageExpression="", Reason=None, FieldPath="", OptionalOldSelf=None)
_COLUMN = struct(Name="", Type="", Format="", Description="", Priority=0, JSONPath="")
_SELECTABLE = struct(JSONPath="")
_SUBRESOURCES = struct(
    Status=Maybe(struct()),
    Scale=Maybe(struct(SpecReplicasPath="", StatusReplicasPath="", LabelSelectorPath=None)),
)
_DOCS = struct(Description="", URL="")
_VERSION = struct(Name="", Served=False, Storage=False, Deprecated=False, DeprecationWarning=None)
_VERSION_MORE = struct(AdditionalPrinterColumns=Maybe(_COLUMN), SelectableFields=Maybe(_SELECTABLE))


def rule(value: Obj) -> Any:
    return plain(value, RULE)


def versions(values: Sequence[Obj]) -> list[Any]:
    return [_version(value) for value in values]


def _version(value: Obj) -> Any:
    schema, subresources = value.get("schema"), value.get("subresources")
    return {
        **plain(value, _VERSION),
        "Schema": None
        if schema is None
        else {"OpenAPIV3Schema": _maybe(json_schema, schema.get("openAPIV3Schema"))},
        "Subresources": None if subresources is None else plain(subresources, _SUBRESOURCES),
        **plain(value, _VERSION_MORE),
    }


def _maybe(of: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else of(value)


def _list(value: Any) -> Any:
    return _maybe(lambda items: [json_schema(item) for item in items], value)


def _map(value: Any) -> Any:
    return _maybe(lambda entries: {key: json_schema(entries[key]) for key in sorted(entries)}, value)


def json_value(value: Any) -> Any:
    """A JSON value: Go prints maps in the order of their keys."""
    if isinstance(value, dict):
        return {key: json_value(value[key]) for key in sorted(value)}
    return [json_value(item) for item in value] if isinstance(value, list) else value


def items(value: Any) -> Any:
    """JSONSchemaPropsOrArray."""
    return {
        "Schema": json_schema(value) if isinstance(value, dict) else None,
        "JSONSchemas": _list(value) if isinstance(value, list) else None,
    }


def _or_bool(value: Any) -> Any:
    schema = value if isinstance(value, dict) else None
    return {"Allows": schema is not None or value is True, "Schema": _maybe(json_schema, schema)}


def _dependency(value: Any) -> Any:
    return {
        "Schema": json_schema(value) if isinstance(value, dict) else None,
        "Property": value if isinstance(value, list) else None,
    }


def _dependencies(value: Any) -> Any:
    return _maybe(lambda entries: {key: _dependency(entries[key]) for key in sorted(entries)}, value)


_Field = tuple[str, str, Any, Callable[[Any], Any] | None]
_FIELDS: tuple[_Field, ...] = (
    ("ID", "id", "", None),
    ("Schema", "$schema", "", None),
    ("Ref", "$ref", None, None),
    ("Description", "description", "", None),
    ("Type", "type", "", None),
    ("Nullable", "nullable", False, None),
    ("Format", "format", "", None),
    ("Title", "title", "", None),
    ("Default", "default", None, json_value),
    ("Maximum", "maximum", None, None),
    ("ExclusiveMaximum", "exclusiveMaximum", False, None),
    ("Minimum", "minimum", None, None),
    ("ExclusiveMinimum", "exclusiveMinimum", False, None),
    ("MaxLength", "maxLength", None, None),
    ("MinLength", "minLength", None, None),
    ("Pattern", "pattern", "", None),
    ("MaxItems", "maxItems", None, None),
    ("MinItems", "minItems", None, None),
    ("UniqueItems", "uniqueItems", False, None),
    ("MultipleOf", "multipleOf", None, None),
    ("Enum", "enum", None, json_value),
    ("MaxProperties", "maxProperties", None, None),
    ("MinProperties", "minProperties", None, None),
    ("Required", "required", None, None),
    ("Items", "items", None, lambda value: _maybe(items, value)),
    ("AllOf", "allOf", None, _list),
    ("OneOf", "oneOf", None, _list),
    ("AnyOf", "anyOf", None, _list),
    ("Not", "not", None, lambda value: _maybe(json_schema, value)),
    ("Properties", "properties", None, _map),
    ("AdditionalProperties", "additionalProperties", None, lambda value: _maybe(_or_bool, value)),
    ("PatternProperties", "patternProperties", None, _map),
    ("Dependencies", "dependencies", None, _dependencies),
    ("AdditionalItems", "additionalItems", None, lambda value: _maybe(_or_bool, value)),
    ("Definitions", "definitions", None, _map),
    ("ExternalDocs", "externalDocs", None, lambda value: _maybe(lambda v: plain(v, _DOCS), value)),
    ("Example", "example", None, json_value),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", None, None),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", False, None),
    ("XIntOrString", "x-kubernetes-int-or-string", False, None),
    ("XListMapKeys", "x-kubernetes-list-map-keys", None, None),
    ("XListType", "x-kubernetes-list-type", None, None),
    ("XMapType", "x-kubernetes-map-type", None, None),
    (
        "XValidations",
        "x-kubernetes-validations",
        None,
        lambda value: _maybe(lambda rules: [rule(r) for r in rules], value),
    ),
)
"""JSONSchemaProps: Go's name, JSON's, what an absent field prints as, and how a present one is printed."""

GO_NAMES = {json_name: go_name for go_name, json_name, _, _ in _FIELDS}
"""A JSONSchemaProps field's Go name by its JSON name, in Go's order."""


def json_schema(value: Schema) -> Any:
    out = {}
    for go_name, json_name, absent, printed in _FIELDS:
        found = value.get(json_name, absent)
        out[go_name] = printed(found) if printed is not None else found
    return out
