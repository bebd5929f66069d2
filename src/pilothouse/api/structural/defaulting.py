"""Defaults and nulls (pkg/apiserver/schema/defaulting/algorithm.go, prunenulls.go).

A default takes the place of a missing value, and of a null that its schema does not allow. Such a null without
a default is dropped where it is a map's value; in a list it stays, for validation to refuse. Defaults are not
looked for inside what is missing: `spec.size` has no default when there is no `spec`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from pilothouse.api.structural.schema import Structural

Change = Callable[[Any], None]
"""Changes the value it is given."""


def _copier(value: Any) -> Callable[[], Any]:
    if isinstance(value, (dict, list)):
        return lambda: copy.deepcopy(value)
    return lambda: value


def _refuses_null(schema: Structural | None) -> bool:
    return schema is not None and not schema.nullable


def defaulter(schema: Structural) -> Change:
    """Fills in the defaults of a value of the schema."""
    made = _defaulter(schema)
    return made if made is not None else _nothing


def _nothing(value: Any) -> None:
    """A schema without defaults."""


def _defaulter(schema: Structural | None) -> Change | None:
    """None when nothing below has a default: most of a schema has none."""
    if schema is None:
        return None
    missing = [
        (name, _copier(inner.default), not inner.nullable)
        for name, inner in schema.properties.items()
        if inner.default is not None
    ]
    inside = {name: found for name, s in schema.properties.items() if (found := _defaulter(s)) is not None}
    described, items = schema.described, schema.items
    of_additional, of_items = _defaulter(described), _defaulter(items)
    additional_default = _replacement(described)
    item_default = _replacement(items)
    if not (missing or inside or of_additional or of_items or additional_default or item_default):
        return None
    properties = schema.properties

    def default(value: Any) -> None:
        if type(value) is dict:
            for name, make, replaces_null in missing:
                if name not in value or (replaces_null and value[name] is None):
                    value[name] = make()
            for name, change in inside.items():
                if name in value:
                    change(value[name])
            if additional_default or of_additional:
                for name, inner in value.items():
                    if name not in properties:
                        if inner is None and additional_default is not None:
                            inner = value[name] = additional_default()
                        if of_additional is not None:
                            of_additional(inner)
        elif type(value) is list and (item_default or of_items):
            for index, inner in enumerate(value):
                if inner is None and item_default is not None:
                    inner = value[index] = item_default()
                if of_items is not None:
                    of_items(inner)

    return default


def _replacement(schema: Structural | None) -> Callable[[], Any] | None:
    """What takes the place of a null element; None when nothing does."""
    if schema is None or schema.nullable or schema.default is None:
        return None
    return _copier(schema.default)


def null_pruner(schema: Structural) -> Change:
    """Drops map values that are null where the schema allows none and has no default to put there."""

    properties = {name: (_drops(inner), null_pruner(inner)) for name, inner in schema.properties.items()}
    described = schema.described
    additional = (_drops(described), null_pruner(described)) if described is not None else None
    element = null_pruner(schema.items) if schema.items is not None else None

    def prune(value: Any) -> None:
        if type(value) is dict:
            gone = []
            for name, inner in value.items():
                found = properties.get(name, additional)
                if found is None:
                    continue
                if inner is None:
                    if found[0]:
                        gone.append(name)
                elif type(inner) is dict or type(inner) is list:
                    found[1](inner)
            for name in gone:
                del value[name]
        elif type(value) is list and element is not None:
            for inner in value:
                element(inner)

    return prune


def _drops(schema: Structural) -> bool:
    return _refuses_null(schema) and schema.default is None
