"""Defaults fit the schema that they stand in (pkg/apiserver/schema/defaulting: ValidateDefaults, PruneDefaults)."""

from __future__ import annotations

import copy
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.structural.pruning import pruner
from pilothouse.api.structural.schema import Structural, structural
from pilothouse.api.structural.values import validator
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


def validate(schema: Schema, path: str, *, require_pruned: bool) -> f.Errors:
    """Errors of the defaults of a structural schema, `additionalProperties` left alone as upstream does."""
    return _validate(structural(schema), path, require_pruned)


def _validate(schema: Structural, path: str, require_pruned: bool) -> f.Errors:
    errors: f.Errors = []
    if schema.default is not None:
        errors += _default(schema, schema.default, f"{path}.default", require_pruned)
    if schema.items is not None:
        errors += _validate(schema.items, f"{path}.items", require_pruned)
    for name, inner in sorted(schema.properties.items()):
        errors += _validate(inner, f"{path}.properties[{name}]", require_pruned)
    return errors


def _default(schema: Structural, default: Any, path: str, require_pruned: bool) -> f.Errors:
    errors: f.Errors = []
    if require_pruned and not _is_pruned(schema):
        errors.append(f.invalid(path, default, "must not have unknown fields"))
    validator(schema.raw)(default, errors, base=path)
    return errors
