"""A definition's spec (validation.validateCustomResourceDefinitionSpec), in its internal form."""

from __future__ import annotations

from dataclasses import replace

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields
from pilothouse.api.validation import names as forms
from pilothouse.api.validation.apiextensions import (
    columns,
    conversion,
    internal,
    names,
    schema,
    selectable_fields,
    structural,
    subresources,
    versions,
)
from pilothouse.api.validation.apiextensions.options import Options
from pilothouse.api.validation.apiextensions.props import Schema, has

SCOPES = ("Cluster", "Namespaced")
_EXTENSIONS = (
    "x-kubernetes-embedded-resource", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-validations",
)  # fmt: skip
"""What only structural schemas may use."""


def validate(spec: Obj, options: Options, path: str = "spec") -> f.Errors:
    preserves = spec["preserveUnknownFields"]
    schemas = internal.schemas(spec)
    has_defaults = any(has(s, _has_default) for s in schemas)
    if not preserves or has_defaults or any(has(s, _has_extension) for s in schemas):
        options = replace(options, structural=True)
    errors = _group(spec.get("group", ""), f"{path}.group") + _scope(spec.get("scope", ""), f"{path}.scope")
    errors += _missing_schemas(spec, path, options)
    if has_defaults and preserves:
        why = "must be false in order to use defaults in the schema"
        errors.append(f.invalid(f"{path}.preserveUnknownFields", True, why))
    errors += versions.validate(spec, options, path)
    errors += names.required(spec["names"], f"{path}.names")
    errors += names.validate(spec["names"], f"{path}.names")
    errors += _common(spec, options, path)
    return errors + _conversion(spec, options, f"{path}.conversion")


def validate_update(spec: Obj, old: Obj, options: Options, path: str = "spec") -> f.Errors:
    errors = validate(spec, options, path)
    if options.immutable_names:
        errors += fields.immutable(spec.get("scope", ""), old.get("scope", ""), f"{path}.scope")
        errors += _immutable_name("kind", spec, old, path)
    errors += fields.immutable(spec.get("group", ""), old.get("group", ""), f"{path}.group")
    return errors + _immutable_name("plural", spec, old, path)


def _immutable_name(key: str, spec: Obj, old: Obj, path: str) -> f.Errors:
    return fields.immutable(spec["names"].get(key, ""), old["names"].get(key, ""), f"{path}.names.{key}")


def _has_default(schema: Schema) -> bool:
    return schema.get("default") is not None


def _has_extension(schema: Schema) -> bool:
    return any(schema.get(key) is not None for key in _EXTENSIONS)


def _group(group: str, path: str) -> f.Errors:
    if not group:
        return [f.required(path)]
    texts = forms.is_dns1123_subdomain(group)
    if texts:
        return [f.invalid(path, group, ",".join(texts))]
    return [] if "." in group else [f.invalid(path, group, "should be a domain with at least one dot")]


def _scope(scope: str, path: str) -> f.Errors:
    if not scope:
        return [f.required(path)]
    return [] if scope in SCOPES else [f.not_supported(path, scope, SCOPES)]


def _missing_schemas(spec: Obj, path: str, options: Options) -> f.Errors:
    """Every version has a schema; of old definitions that have none, those do that are served and pruned."""
    if internal.open_api_schema(spec.get("validation")) is not None:
        return []
    why = "" if options.schema else "because otherwise all fields are pruned"
    if not options.schema and spec["preserveUnknownFields"]:
        return []
    return [
        f.required(f"{path}.versions[{i}].schema.openAPIV3Schema", why)
        for i, version in enumerate(internal.versions(spec))
        if internal.open_api_schema(version.get("schema")) is None
        and (options.schema or version.get("served"))
    ]


def _common(spec: Obj, options: Options, path: str) -> f.Errors:
    """What all versions have alike."""
    has_status = any(
        subresources.has_status(holder.get("subresources")) for holder in (spec, *internal.versions(spec))
    )
    first = options.for_version(spec.get("version", ""))
    errors = schema.validate(spec.get("validation"), f"{path}.validation", first, has_status=has_status)
    errors += subresources.validate(spec.get("subresources"), f"{path}.subresources")
    for i, column in enumerate(spec.get("additionalPrinterColumns") or ()):
        errors += columns.validate(column, f"{path}.additionalPrinterColumns[{i}]")
    selectable, at = spec.get("selectableFields"), f"{path}.selectableFields"
    if not selectable:
        return errors
    if spec.get("validation") is None:
        return [*errors, f.invalid(at, "", "may only be set when validations.schema is included")]
    of = internal.open_api_schema(spec["validation"]) or {}
    why = structural.conversion_error(of)
    if why:
        errors.append(f.invalid(f"{path}.schema.openAPIV3Schema", "", why))
    allow_many = "" in options.many_selectable_fields
    return errors + selectable_fields.validate(selectable, of, at, allow_many=allow_many)


def _conversion(spec: Obj, options: Options, path: str) -> f.Errors:
    errors: f.Errors = []
    found = spec["conversion"]
    if found is not None and found["strategy"] != "None" and spec["preserveUnknownFields"]:
        why = "must be None if spec.preserveUnknownFields is true"
        errors.append(f.invalid(f"{path}.strategy", found["strategy"], why))
    return errors + conversion.validate(
        found,
        path,
        need_known_version=options.known_review_version,
        allow_invalid_bundle=options.invalid_ca_bundle,
    )
