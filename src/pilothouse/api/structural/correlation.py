"""Which old value a new one replaces (k8s.io/apiserver/pkg/cel/common/equality.go): what ratcheting and
transition rules compare.

Map values correspond by key. List elements correspond by their keys in a map list, by position in a list
without a type, and not at all in sets and atomic lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MISSING: Any = object()
"""No old value corresponds."""


def same(a: Any, b: Any) -> bool:
    """Deep equality of JSON values; unlike Python's, true is not 1, and 1 is not 1.0."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind is dict:
        return len(a) == len(b) and all(key in b and same(value, b[key]) for key, value in a.items())
    if kind is list:
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


class Elements:
    """The old elements of a list whose schema is `raw`."""

    __slots__ = ("_by_key", "_by_position", "_keys")

    def __init__(self, raw: Mapping[str, Any], old: Any) -> None:
        self._by_key: dict[Any, Any] | None = None
        self._by_position: list[Any] = []
        self._keys: tuple[str, ...] = ()
        if type(old) is not list:
            return
        list_type = raw.get("x-kubernetes-list-type")
        if list_type == "map":
            self._keys = tuple(raw.get("x-kubernetes-list-map-keys") or ())
            self._by_key = {}
            for item in old:
                self._by_key.setdefault(self._key(item), item)
        elif not list_type:
            self._by_position = old

    def _key(self, item: Any) -> Any:
        if type(item) is not dict:
            return None
        return tuple(repr(item.get(key, MISSING)) for key in self._keys)

    def of(self, index: int, item: Any) -> Any:
        """The old element that an element replaces, or MISSING."""
        if self._by_key is not None:
            return self._by_key.get(self._key(item), MISSING)
        return self._by_position[index] if index < len(self._by_position) else MISSING
