"""A version's schema (validation.validateCustomResourceDefinitionValidation and
ValidateCustomResourceDefinitionOpenAPISchema).

    structural? → defaults fit? → every node by itself → rules, where all else is well → what all rules cost

Rules are compiled only where the schema below them has no mistakes: a type that is wrong would make the compiler
complain of what is right.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import cel_context, defaults, gostructs, lists, rules, structural
from pilothouse.api.validation.apiextensions.cel_context import TOTAL_COST_MAX, Context, cost_text
from pilothouse.api.validation.apiextensions.internal import open_api_schema
from pilothouse.api.validation.apiextensions.options import TYPES, Options
from pilothouse.api.validation.apiextensions.props import (
    Schema,
    items_schema,
    items_schemas,
    properties,
    schema_of,
    type_of,
)

_AT_ROOT = (
    "Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum",
    "MaxLength", "MinLength", "Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items",
    "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations",
)  # fmt: skip
"""What a root may say when the status is validated alone, by Go's names."""


def validate(holder: Obj | None, path: str, options: Options, *, has_status: bool) -> f.Errors:
    """`holder` has the schema as `openAPIV3Schema`; `has_status`: the status is a subresource."""
    schema = open_api_schema(holder)
    if schema is None:
        return []
    at = f"{path}.openAPIV3Schema"
    errors = _root(schema, at) if has_status else []
    if schema.get("nullable"):
        errors.append(f.forbidden(f"{at}.nullable", "nullable cannot be true at the root"))
    conversion_error, context = "", None
    if options.structural:
        conversion_error = structural.conversion_error(schema)
        found = [] if conversion_error else _structure(schema, at, options)
        errors += found
        if not conversion_error and not found:
            context = cel_context.root(schema)
    errors += _node(schema, at, _Place(is_root=True), options, context).all
    if conversion_error and not errors:
        errors.append(f.invalid(at, "", conversion_error))
    if context is not None:
        errors += _total_cost(context, at)
    return errors


def _structure(schema: Schema, path: str, options: Options) -> f.Errors:
    return structural.validate(schema, path) or defaults.validate(
        schema, path, require_pruned=options.pruned_defaults
    )


def _root(schema: Schema, path: str) -> f.Errors:
    for json_name, go_name in gostructs.GO_NAMES.items():
        if json_name not in schema:
            continue
        if json_name == "type":
            if schema["type"] != "object":
                why = (
                    'only "object" is allowed as the type at the root of the schema if the status subresource is '
                    "enabled"
                )
                return [f.invalid(f"{path}.type", schema["type"], why)]
        elif go_name not in _AT_ROOT:
            why = (
                f"only [{' '.join(_AT_ROOT)}] fields are allowed at the root of the schema if the status "
                "subresource is enabled"
            )
            return [f.invalid(path, gostructs.json_schema(schema), why)]
    return []


def _total_cost(context: Context, path: str) -> f.Errors:
    total = context.total
    if total.total <= TOTAL_COST_MAX:
        return []
    why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
    errors = [f.forbidden(rule.path, why) for rule in total.most_expensive]
    what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
    return [*errors, f.forbidden(path, cost_text(what, total.total, TOTAL_COST_MAX))]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a node stands. `no_defaults`: why it may have none, or ""; `uncorrelatable`: the path of the nearest
    list to the root whose items have no old value, or ""."""

    is_root: bool = False
    no_defaults: str = ""
    in_meta: bool = False
    uncorrelatable: str = ""

    def below(self) -> _Place:
        return replace(self, is_root=False)


@dataclass(slots=True)
class _Found:
    """Errors of the schema, and of its rules, which are told after them."""

    schema: f.Errors = field(default_factory=list)
    cel: f.Errors = field(default_factory=list)

    def add(self, other: _Found) -> None:
        self.schema += other.schema
        self.cel += other.cel

    @property
    def all(self) -> f.Errors:
        return self.schema + self.cel


def _node(schema: Schema, path: str, place: _Place, options: Options, context: Context | None) -> _Found:
    found = _Found(_own(schema, path, place, options))
    for inner, at, inner_place, on_spine in _children(schema, path, place):
        inner_context = context.child(inner) if context is not None and on_spine else None
        found.add(_node(inner, at, inner_place, options, inner_context))
    preserve = "x-kubernetes-preserve-unknown-fields"
    if schema.get(preserve) is False:
        found.schema.append(f.invalid(f"{path}.{preserve}", False, "must be true or undefined"))
    found.schema += lists.validate(
        schema, path, atomic_set_items=options.atomic_set_items, safe_keys=options.safe_list_keys
    )
    found.schema += rules.forms(schema, path)
    if context is not None and not found.schema:
        found.cel += rules.expressions(
            context, path, place.uncorrelatable, check_cost=options.expression_cost
        )
    return found


_META_FIELDS = ("metadata", "kind", "apiVersion")
_Child = tuple[Schema, str, _Place, bool]
"""A schema inside another, its path, its place, and whether it describes values (rather than a condition on
them): only there are rules compiled."""


def _children(schema: Schema, path: str, place: _Place) -> list[_Child]:
    """In the order in which upstream visits them."""
    below = place.below()
    children: list[_Child] = []
    additional = schema_of(schema, "additionalProperties")
    if additional is not None:
        inside = replace(below, no_defaults=_META_MAP) if place.in_meta else below
        children.append((additional, f"{path}.additionalProperties", inside, True))
    for name, inner in sorted(properties(schema).items()):
        at = f"{path}.properties[{name}]"
        children.append((inner, at, _property_place(schema, name, place, path), True))
    children += [(inner, at, below, False) for inner, at in _conditions(schema, path)]
    children += _items(schema, path, below)
    for name, inner in sorted((schema.get("dependencies") or {}).items()):
        if isinstance(inner, dict):
            children.append((inner, f"{path}.dependencies[{name}]", below, False))
    return children


_META_MAP = "inside additionalProperties applying to object metadata"


def _property_place(schema: Schema, name: str, place: _Place, path: str) -> _Place:
    inside = place.below()
    if schema.get(lists.MAP_TYPE, "granular") not in lists.MAP_TYPES and not inside.uncorrelatable:
        inside = replace(inside, uncorrelatable=path)
    if name in _META_FIELDS and (place.is_root or schema.get("x-kubernetes-embedded-resource")):
        inside = replace(inside, in_meta=True)
        if place.is_root:
            inside = replace(inside, no_defaults=f"in top-level {name}")
    return inside


def _conditions(schema: Schema, path: str) -> list[tuple[Schema, str]]:
    found: list[tuple[Schema, str]] = []
    if schema.get("not") is not None:
        found.append((schema["not"], f"{path}.not"))
    for key in ("allOf", "oneOf", "anyOf"):
        found += [(inner, f"{path}.{key}[{i}]") for i, inner in enumerate(schema.get(key) or ())]
    for name, inner in sorted((schema.get("definitions") or {}).items()):
        found.append((inner, f"{path}.definitions[{name}]"))
    return found


def _items(schema: Schema, path: str, below: _Place) -> list[_Child]:
    """Items have an old value only where keys tell them apart."""
    if schema.get(lists.LIST_TYPE) != "map" and not below.uncorrelatable:
        below = replace(below, uncorrelatable=path)
    single = items_schema(schema)
    children: list[_Child] = [] if single is None else [(single, f"{path}.items", below, True)]
    return children + [
        (inner, f"{path}.items[{i}]", below, True) for i, inner in enumerate(items_schemas(schema))
    ]


_UNSUPPORTED = (
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
)


def _own(schema: Schema, path: str, place: _Place, options: Options) -> f.Errors:
    """What a node may say (specStandardValidatorV3), then how its properties may be given."""
    errors: f.Errors = []
    kind = type_of(schema)
    if options.known_types and kind and kind not in TYPES:
        errors.append(f.not_supported(f"{path}.type", kind, TYPES))
    if schema.get("default") is not None and place.no_defaults:
        errors.append(f.forbidden(f"{path}.default", f"must not be set {place.no_defaults}"))
    errors += [f.forbidden(f"{path}.{key}", why) for key, why in _UNSUPPORTED if key in schema]
    if kind == "null":
        why = "type cannot be set to null, use nullable as an alternative"
        errors.append(f.forbidden(f"{path}.type", why))
    if items_schemas(schema):
        errors.append(f.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    embedded = "x-kubernetes-embedded-resource"
    if place.in_meta and schema.get(embedded):
        errors.append(f.forbidden(f"{path}.{embedded}", "must not be used inside of resource meta"))
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(f.forbidden(f"{path}.uniqueItems", why))
    additional = schema.get("additionalProperties")
    if additional is not None and additional is not True and properties(schema):
        why = "additionalProperties and properties are mutual exclusive"
        errors.append(f.forbidden(f"{path}.additionalProperties", why))
    return errors
