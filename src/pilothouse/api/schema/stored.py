"""What storage leaves of an object. Built-in kinds are stored as protobuf, which cannot tell an empty list or map
from none: where Go's type writes the field in any case, an empty one reads back as null.

    {"kind": "CSINode", "spec": {"drivers": []}}   →   {"kind": "CSINode", "spec": {"drivers": null}}
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.structure import Type

Settle = Callable[[Any], None]
"""Changes a value in place into what would be read back."""


class StoredForms:
    """By type; None for a type that storage leaves as it is. Only what may hold such a field is walked."""

    def __init__(self) -> None:
        self._built: dict[int, Settle | None] = {}
        self._keep: list[Type] = []

    def of(self, type_: Type) -> Settle | None:
        if id(type_) not in self._built:
            self._keep.append(type_)
            self._built[id(type_)] = None  # A type that refers to itself has no such field (see the test).
            self._built[id(type_)] = self._make(type_)
        return self._built[id(type_)]

    def _make(self, type_: Type) -> Settle | None:
        if type_.kind == "struct":
            return self._struct(type_)
        inner = self.of(type_.element) if type_.kind in ("list", "map") and type_.element else None
        if inner is None:
            return None
        return _each_item(inner) if type_.kind == "list" else _each_value(inner)

    def _struct(self, type_: Type) -> Settle | None:
        emptied = tuple(
            key
            for key, field in type_.fields.items()
            if field.required and field.type.kind in ("list", "map")
        )
        below = tuple(
            (key, inner) for key, field in type_.fields.items() if (inner := self.of(field.type)) is not None
        )
        if not emptied and not below:
            return None

        def settle(value: Any) -> None:
            for key in emptied:
                if not value.get(key):
                    value[key] = None
            for key, child in below:
                found = value.get(key)
                if found:
                    child(found)

        return settle


def _each_item(inner: Settle) -> Settle:
    def settle(value: Any) -> None:
        for item in value:
            inner(item)

    return settle


def _each_value(inner: Settle) -> Settle:
    def settle(value: Any) -> None:
        for item in value.values():
            inner(item)

    return settle
