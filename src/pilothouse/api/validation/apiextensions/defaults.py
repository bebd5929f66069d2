"""Defaults fit the schema that they stand in (pkg/apiserver/schema/defaulting: ValidateDefaults, PruneDefaults).

A default inside an object's metadata, kind or apiVersion cannot be looked at alone: it is put into an object that has
nothing else.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.structural import embedded
from pilothouse.api.structural.pruning import pruner
from pilothouse.api.structural.rules import Rules
from pilothouse.api.structural.schema import META_FIELDS, Structural, structural
from pilothouse.api.structural.values import NOWHERE, validator
from pilothouse.api.validation.apiextensions.gostructs import json_value
from pilothouse.api.validation.apiextensions.props import Schema


def has_unpruned(schema: Schema) -> bool:
    """Whether some default has fields that its schema does not know."""
    return _has_unpruned(structural(schema))


def _has_unpruned(schema: Structural) -> bool:
    if schema.default is not None and not _is_pruned(schema):
        return True
    inner = [*schema.properties.values(), schema.items, schema.described]
    return any(_has_unpruned(child) for child in inner if child is not None)


def _is_pruned(schema: Structural) -> bool:
    return not pruner(schema, root=False)(copy.deepcopy(schema.default))


@dataclass(frozen=True, slots=True)
class _Place:
    """A node's way from the object that it is in: `steps` are property names, or 0 for any item."""

    resource: Structural
    steps: tuple[str | int, ...] = ()
    in_meta: bool = False

    def object_with(self, value: Any) -> dict[str, Any]:
        """The smallest object that has a value here."""
        for step in reversed(self.steps):
            value = {step: value} if isinstance(step, str) else [value]
        return {**value, "apiVersion": "validation/v1", "kind": "Validation"}


def validate(schema: Schema, path: str, *, require_pruned: bool) -> f.Errors:
    """Errors of the defaults of a structural schema. additionalProperties are left alone, as upstream does."""
    root = replace(structural(schema), embedded=True)
    return _validate(root, path, _Place(root), require_pruned)


def _validate(schema: Structural, path: str, place: _Place, require_pruned: bool) -> f.Errors:
    if schema.embedded:
        place = _Place(schema)
    errors: f.Errors = []
    if schema.default is not None:
        errors += _default(schema, f"{path}.default", place, require_pruned)
    if schema.items is not None:
        inside = replace(place, steps=(*place.steps, 0))
        errors += _validate(schema.items, f"{path}.items", inside, require_pruned)
    for name, inner in sorted(schema.properties.items()):
        in_meta = place.in_meta or (schema.embedded and name in META_FIELDS)
        inside = replace(place, steps=(*place.steps, name), in_meta=in_meta)
        errors += _validate(inner, f"{path}.properties[{name}]", inside, require_pruned)
    return errors


def _default(schema: Structural, path: str, place: _Place, require_pruned: bool) -> f.Errors:
    errors: f.Errors = []
    if place.in_meta:
        faults = _meta_faults(place.object_with(schema.default), place.resource, "")
        if faults:
            why = f"must result in valid metadata: {f.aggregate(faults)}"
            return [f.invalid(path, json_value(schema.default), why)]
    else:
        if require_pruned and not _is_pruned(schema):
            errors.append(f.invalid(path, json_value(schema.default), "must not have unknown fields"))
        faults = _meta_faults(schema.default, schema, path)
        if faults:
            return errors + faults
    found: f.Errors = []
    validator(schema.raw)(schema.default, found, base=path)
    return errors + (found or _rules(schema, path, is_resource=schema is place.resource))


def _meta_faults(value: Any, schema: Structural, path: str) -> f.Errors:
    """What is wrong with kind, apiVersion and metadata of a value and of what is embedded in it."""
    # The checker passes over the root, which is a custom resource for all others who ask.
    step, _, name = path.rpartition(".")
    holder = Structural(raw={}, type="object", properties={name: schema})
    errors: f.Errors = []
    embedded.checker(holder)({name: value}, step, errors)
    return [error._replace(field=error.field.lstrip(".")) for error in errors]


def _rules(schema: Structural, path: str, *, is_resource: bool) -> f.Errors:
    rules = Rules(schema, root=is_resource)
    if rules.empty:
        return []
    return [
        error._replace(field=path if error.field == NOWHERE else f"{path}.{error.field}")
        for error in rules.run(schema.default).errors
    ]
