"""Sets and maps hold no duplicates (pkg/apiserver/schema/listtype/validation.go).

The second appearance of an element is told, further ones are not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import msgspec

from pilothouse.api import field as f
from pilothouse.api.structural.schema import Structural

Check = Callable[[Any, str, f.Errors], None]

_encode = msgspec.json.Encoder(order="sorted").encode


def list_checker(schema: Structural) -> Check:
    """Checks every list with x-kubernetes-list-type set or map in a value."""
    return _checker(schema) or _nothing


def _nothing(value: Any, path: str, errors: f.Errors) -> None:
    """A schema without sets and maps."""


def _checker(schema: Structural | None) -> Check | None:
    if schema is None:
        return None
    inside = {name: found for name, s in schema.properties.items() if (found := _checker(s)) is not None}
    additional, element = _checker(schema.described), _checker(schema.items)
    own = _OWN.get(schema.list_type)
    if not (inside or additional or element or own):
        return None

    def check(value: Any, path: str, errors: f.Errors) -> None:
        if type(value) is dict:
            if additional is not None:
                for key, inner in value.items():
                    additional(inner, f"{path}[{key}]", errors)
            for key, of_property in inside.items():
                if key in value:
                    of_property(value[key], f"{path}.{key}" if path else key, errors)
        elif type(value) is list:
            if own is not None:
                own(schema, value, path, errors)
            if element is not None:
                for index, inner in enumerate(value):
                    element(inner, f"{path}[{index}]", errors)

    return check


def _check_set(schema: Structural, items: list[Any], path: str, errors: f.Errors) -> None:
    errors += [f.duplicate(f"{path}[{i}]", _shown(items[i])) for i in repeated(items)]


def _check_map(schema: Structural, items: list[Any], path: str, errors: f.Errors) -> None:
    for index, item in enumerate(items):
        if item is not None and type(item) is not dict:
            text = "must be an object for an array of list-type map"
            errors.append(f.invalid(f"{path}[{index}]", item, text))
            return
    keys = [list_key(schema, item) for item in items]
    errors += [f.duplicate(f"{path}[{i}]", _shown(keys[i])) for i in repeated(keys)]


def list_key(schema: Structural, item: Any) -> dict[str, Any]:
    """The fields of an element that make its key, those that it has."""
    return {k: item[k] for k in schema.list_keys if k in item} if type(item) is dict else {}


def repeated(items: list[Any]) -> list[int]:
    """Where elements appear for the second time."""
    if len(items) <= 1:
        return []
    seen: dict[Hashable, int] = {}
    found = []
    for index, item in enumerate(items):
        # True equals 1 in Python; the type keeps them apart.
        key = (type(item), _encode(item) if isinstance(item, (dict, list)) else item)
        times = seen[key] = seen.get(key, 0) + 1
        if times == 2:
            found.append(index)
    return found


def _shown(value: Any) -> Any:
    return f.GoText(_encode(value).decode()) if isinstance(value, (dict, list)) else value


_OWN: dict[str, Callable[[Structural, list[Any], str, f.Errors], None]] = {
    "set": _check_set,
    "map": _check_map,
}
