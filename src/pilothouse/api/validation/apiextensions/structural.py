"""Structural schemas: what every schema's skeleton must look like
(k8s.io/apiextensions-apiserver/pkg/apiserver/schema: convert.go, validation.go, complete.go).

A structural schema has a type everywhere, and says in not, allOf, anyOf and oneOf nothing but what values may be:

    spine     type, properties, items, additionalProperties, default, nullable, x-kubernetes-*
    value     minimum, pattern, enum, required, …: on the spine and under the junctors

Upstream converts to a type of its own before it checks; here the dict itself is read.
"""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.go_regex_syntax import regexp_error
from pilothouse.api.validation.apiextensions.props import (
    Schema,
    items_schema,
    items_schemas,
    properties,
    schema_of,
    type_of,
)

_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_UNSUPPORTED = (
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
)


def conversion_error(schema: Schema | None) -> str:
    """Why a schema cannot become a structural one at all, or "" (NewStructural). The first reason found."""
    if schema is None:
        return ""
    why = _unsupported(schema)
    if why:
        return why
    junctors = [schema.get("not")]
    for key in ("allOf", "anyOf", "oneOf"):
        junctors += schema.get(key) or ()
    for inner in (*junctors, schema_of(schema, "additionalProperties")):
        why = conversion_error(inner)
        if why:
            return why
    if schema.get(_PRESERVE) is False:
        return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    if items_schemas(schema):
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    for inner in (items_schema(schema), *properties(schema).values()):
        why = conversion_error(inner)
        if why:
            return why
    return ""


def _unsupported(schema: Schema) -> str:
    for key, name in _UNSUPPORTED:
        if schema.get(key):
            return f"OpenAPIV3Schema '{name}' is not supported"
    if schema.get("additionalItems") is not None:
        return "OpenAPIV3Schema 'additionalItems' is not supported"
    return "OpenAPIV3Schema 'definitions' is not supported" if schema.get("definitions") else ""


def validate(schema: Schema, path: str) -> f.Errors:
    """ValidateStructural, for a schema without a conversion error. Sorted by text, as upstream does because its
    maps have no order."""
    errors = _spine(schema, "root", path) + _completeness(schema, schema, path, path)
    return sorted(errors, key=str)


_EMPTY_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}


def _spine(schema: Schema, level: str, path: str) -> f.Errors:
    """Invariants of one node and all below it. `level`: root, item or field."""
    errors: f.Errors = []
    items, additional = items_schema(schema), schema.get("additionalProperties")
    if type_of(schema) == "array" and items is None:
        errors.append(f.required(f"{path}.items", "must be specified"))
    if items is not None:
        errors += _spine(items, "item", f"{path}.items")
    for key, inner in properties(schema).items():
        errors += _spine(inner, "field", f"{path}.properties[{key}]")
    if additional is not None and level == "root":
        errors.append(f.forbidden(f"{path}.additionalProperties", "must not be used at the root"))
    if isinstance(additional, dict):
        errors += _spine(additional, "field", f"{path}.additionalProperties")
    errors += _extensions(schema, path)
    errors += _values(
        schema,
        path,
        skip_any_of=_is_int_or_string(schema.get("anyOf")),
        skip_first_all_of=_first_all_of(schema),
    )
    errors += _types(schema, level, path)
    errors += _metadata(schema, level, path)
    if schema.get(_EMBEDDED) and not schema.get(_PRESERVE) and not properties(schema):
        why = (
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        )
        errors.append(f.required(f"{path}.properties", why))
    return errors


def _extensions(schema: Schema, path: str) -> f.Errors:
    if not schema.get(_INT_OR_STRING):
        return []
    why = "must be false if x-kubernetes-int-or-string is true"
    return [f.invalid(f"{path}.{key}", True, why) for key in (_PRESERVE, _EMBEDDED) if schema.get(key)]


def _types(schema: Schema, level: str, path: str) -> f.Errors:
    errors: f.Errors = []
    kind, at = type_of(schema), f"{path}.type"
    if schema.get(_EMBEDDED) and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        errors.append(f.invalid(at, kind, why) if kind else f.required(at, why))
    elif not kind and not schema.get(_INT_OR_STRING) and not schema.get(_PRESERVE):
        errors.append(f.required(at, _EMPTY_TYPE[level]))
    if schema.get(_EMBEDDED) and schema.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        errors.append(f.forbidden(f"{path}.additionalProperties", why))
    if level == "root" and kind and kind != "object":
        errors.append(f.invalid(at, kind, "must be object at the root"))
    return errors


def _metadata(schema: Schema, level: str, path: str) -> f.Errors:
    """What a resource's root may say of apiVersion, kind and metadata."""
    errors: f.Errors = []
    fields, is_resource = properties(schema), level == "root" or bool(schema.get(_EMBEDDED))
    for key in ("kind", "apiVersion"):
        if is_resource and key in fields and type_of(fields[key]) != "string":
            at = f"{path}.properties[{key}].type"
            errors.append(f.invalid(at, type_of(fields[key]), "must be string"))
    if "metadata" not in fields:
        return errors
    metadata, at = fields["metadata"], f"{path}.properties[metadata]"
    if is_resource and type_of(metadata) != "object":
        errors.append(f.invalid(f"{at}.type", type_of(metadata), "must be object"))
    if level == "root" and not _names_only(metadata):
        why = (
            "must not specify anything other than name and generateName, but metadata is implicitly specified"
        )
        errors.append(f.forbidden(at, why))
    return errors


_NOT_STRUCTURAL = frozenset(("externalDocs", "example"))
"""Fields that the structural form leaves out."""


def _names_only(metadata: Schema) -> bool:
    """Type and default are looked at elsewhere; of properties, there may be the two names."""
    left = {
        key: value
        for key, value in metadata.items()
        if key not in ("type", "default") and key not in _NOT_STRUCTURAL
    }
    if set(properties(metadata)) <= {"name", "generateName"}:
        left.pop("properties", None)
    return not left


_INT, _STRING = {"type": "integer"}, {"type": "string"}


def _is_int_or_string(any_of: object) -> bool:
    return any_of == [_INT, _STRING]


def _first_all_of(schema: Schema) -> bool:
    all_of = schema.get("allOf") or []
    return bool(all_of) and _is_int_or_string(all_of[0].get("anyOf"))


def _values(
    schema: Schema, path: str, *, skip_any_of: bool = False, skip_first_all_of: bool = False
) -> f.Errors:
    """Value validation: junctors, whose insides know only value validation, and patterns. The two `skip`s are
    the forms that int-or-string fields may have."""
    errors: f.Errors = []
    if not skip_any_of:
        for i, inner in enumerate(schema.get("anyOf") or ()):
            errors += _nested(inner, f"{path}.anyOf[{i}]")
    for i, inner in enumerate(schema.get("allOf") or ()):
        errors += _nested(inner, f"{path}.allOf[{i}]", skip_any_of=skip_first_all_of and i == 0)
    for i, inner in enumerate(schema.get("oneOf") or ()):
        errors += _nested(inner, f"{path}.oneOf[{i}]")
    if schema.get("not") is not None:
        errors += _nested(schema["not"], f"{path}.not")
    pattern = schema.get("pattern", "")
    why = regexp_error(pattern) if pattern else ""
    if why:
        text = f"must be a valid regular expression, but isn't: {why}"
        errors.append(f.invalid(f"{path}.pattern", pattern, text))
    return errors


_FORBIDDEN = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (_PRESERVE, "must be false to be structural"),
    (_EMBEDDED, "must be false to be structural"),
    (_INT_OR_STRING, "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def _nested(schema: Schema, path: str, *, skip_any_of: bool = False) -> f.Errors:
    """A schema under a junctor."""
    errors = _values(schema, path, skip_any_of=skip_any_of)
    items = items_schema(schema)
    if items is not None:
        errors += _nested(items, f"{path}.items")
    for key, inner in properties(schema).items():
        errors += _nested(inner, f"{path}.properties[{key}]")
    errors += [f.forbidden(f"{path}.{key}", why) for key, why in _FORBIDDEN if schema.get(key) is not None]
    if "metadata" in properties(schema):
        why = "must not be specified in a nested context"
        errors.append(f.forbidden(f"{path}.properties[metadata]", why))
    return errors


def _completeness(values: Schema, spine: Schema, path: str, values_path: str) -> f.Errors:
    """Every field and item under a junctor is on the spine too."""
    errors: f.Errors = []
    if values.get("not") is not None:
        errors += _nested_completeness(values["not"], spine, path, f"{values_path}.not")
    for key in ("allOf", "anyOf", "oneOf"):
        for i, inner in enumerate(values.get(key) or ()):
            errors += _nested_completeness(inner, spine, path, f"{values_path}.{key}[{i}]")
    return errors


def _nested_completeness(values: Schema, spine: Schema | None, path: str, values_path: str) -> f.Errors:
    if spine is None:
        return [f.required(path, f"because it is defined in {values_path}")]
    errors = _completeness(values, spine, path, values_path)
    items = items_schema(values)
    if items is not None:
        errors += _nested_completeness(items, items_schema(spine), f"{path}.items", f"{values_path}.items")
    for key, inner in properties(values).items():
        at = f"properties[{key}]"
        known = properties(spine).get(key)
        errors += _nested_completeness(inner, known, f"{path}.{at}", f"{values_path}.{at}")
    return errors
