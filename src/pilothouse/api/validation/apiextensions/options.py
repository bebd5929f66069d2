"""What validation insists on. A create insists on everything; an update lets pass what the stored definition
already breaks (validation.validationOptions)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import conversion, defaults, internal, lists, structural
from pilothouse.api.validation.apiextensions.props import Schema, has, same, type_of
from pilothouse.api.validation.apiextensions.selectable_fields import COUNT_MAX

TYPES = ("array", "boolean", "integer", "number", "object", "string")


@dataclass(frozen=True, slots=True)
class Options:
    known_review_version: bool = True
    immutable_names: bool = False
    schema: bool = True
    """Every version has a schema."""
    known_types: bool = True
    structural: bool = True
    pruned_defaults: bool = True
    atomic_set_items: bool = True
    safe_list_keys: bool = True
    """Keys of map lists are required or have a default, and neither they nor items of sets are nullable."""
    invalid_ca_bundle: bool = True
    """A bundle without a certificate may stand until the definition is established."""
    unchanged_schemas: frozenset[str] = frozenset()
    """Versions whose schema an update leaves alone: their rules may stay as dear as they are."""
    many_selectable_fields: frozenset[str] = frozenset()
    """Versions ("" for what all have alike) that keep more selectable fields than are allowed now."""
    expression_cost: bool = True

    def for_version(self, version: str) -> Options:
        return replace(self, expression_cost=False) if version in self.unchanged_schemas else self


def is_established(obj: Obj) -> bool:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def for_update(obj: Obj, old: Obj) -> Options:
    """`obj` and `old` are definitions in v1."""
    spec, before = internal.spec(obj["spec"]), internal.spec(old["spec"])
    schemas, established = internal.schemas(before), is_established(old)
    converts = before.get("conversion") or {}
    return Options(
        known_review_version=conversion.has_known_version(converts.get("conversionReviewVersions") or ()),
        immutable_names=established,
        schema=_all_have_schemas(before),
        known_types=not any(has(schema, _has_unknown_type) for schema in schemas),
        structural=not any(_is_not_structural(schema) for schema in schemas),
        pruned_defaults=not any(_has_unpruned_defaults(schema) for schema in schemas),
        atomic_set_items=not any(has(schema, lists.has_structured_set_items) for schema in schemas),
        safe_list_keys=not any(has(schema, lists.has_unsafe_keys) for schema in schemas),
        invalid_ca_bundle=not established or conversion.has_invalid_bundle(converts),
        unchanged_schemas=_unchanged_schemas(obj["spec"], old["spec"]),
        many_selectable_fields=_many_selectable_fields(spec, before),
    )


def _all_have_schemas(spec: Obj) -> bool:
    return internal.open_api_schema(spec.get("validation")) is not None or all(
        internal.open_api_schema(version.get("schema")) is not None for version in internal.versions(spec)
    )


def _has_unknown_type(schema: Schema) -> bool:
    return bool(type_of(schema)) and type_of(schema) not in TYPES


def _is_not_structural(schema: Schema) -> bool:
    return bool(structural.conversion_error(schema) or structural.validate(schema, ""))


def _has_unpruned_defaults(schema: Schema) -> bool:
    return not _is_not_structural(schema) and defaults.has_unpruned(schema)


def _unchanged_schemas(spec: Obj, before: Obj) -> frozenset[str]:
    old = {version.get("name", ""): version for version in before.get("versions") or ()}
    return frozenset(
        name
        for version in spec.get("versions") or ()
        if (name := version.get("name", "")) in old and same(version.get("schema"), old[name].get("schema"))
    )


def _many_selectable_fields(spec: Obj, before: Obj) -> frozenset[str]:
    holders = {"": (spec, before)}
    old = {version.get("name", ""): version for version in internal.versions(before)}
    for version in internal.versions(spec):
        name = version.get("name", "")
        if name in old:
            holders[name] = (version, old[name])
    return frozenset(
        name
        for name, (now, then) in holders.items()
        if len(then.get("selectableFields") or ()) > COUNT_MAX
        and same(now.get("selectableFields"), then.get("selectableFields"))
    )
