"""What one write changed, as sets of fields: the walk that every write pays for.

A walker is made once per type and knows its fields' path elements and walkers; a field's is made when it is
first met, so types may refer to themselves. Equal parts are skipped by Python's own comparison. A leaf
(scalar, atomic map or list) has no walker.

Source: sigs.k8s.io/structured-merge-diff typed/compare.go.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pilothouse.api.structure import Type
from pilothouse.apiserver.endpoints.apply.field_set import (
    LEAF,
    MEMBER,
    FieldSet,
    in_order,
    name_key,
    value_key,
)
from pilothouse.apiserver.endpoints.apply.typed import DEDUCED, item_element


class Comparison(NamedTuple):
    """`changed` holds what is new or has another value, `removed` what is gone."""

    changed: FieldSet
    removed: FieldSet


Parts = tuple[FieldSet | None, FieldSet | None]
"""The changed and the removed node of a value; None when there is nothing to say."""


class Walker:
    """For one type. `all_of` is the node of a value that was not there before (or is there no more);
    `between` compares two values that are known to differ."""

    __slots__ = ()

    def all_of(self, value: Any) -> FieldSet:
        raise NotImplementedError

    def between(self, old: Any, new: Any) -> Parts:
        raise NotImplementedError


class Walkers:
    """Walkers by type. Types are kept, so an identity is never used again."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Type, Walker | None]] = {}

    def of(self, type_: Type) -> Walker | None:
        found = self._made.get(id(type_))
        if found is None:
            found = self._made[id(type_)] = (type_, self._make(type_))
        return found[1]

    def _make(self, type_: Type) -> Walker | None:
        kind = type_.kind
        if kind == "struct" and type_.map_type != "atomic":
            return _StructWalker(type_, self)
        if kind == "map" and type_.map_type != "atomic":
            return _MapWalker(type_, self)
        if kind == "list" and type_.list_type != "atomic":
            return _ListWalker(type_, self)
        return _DEDUCED_WALKER if kind == "any" else None


def compare(walker: Walker, old: Any, new: Any) -> Comparison:
    """Two whole objects."""
    if old == new:
        return Comparison(LEAF, LEAF)
    changed, removed = walker.between(old, new)
    return Comparison(changed or LEAF, removed or LEAF)


class _StructWalker(Walker):
    __slots__ = ("_entries", "_type", "_walkers")

    def __init__(self, type_: Type, walkers: Walkers) -> None:
        self._type = type_
        self._walkers = walkers
        self._entries: dict[str, tuple[str, Walker | None]] = {}

    def _entry(self, key: str) -> tuple[str, Walker | None]:
        field = self._type.fields.get(key)
        if field is None:
            return name_key(key), self._walkers.of(self._type.element or DEDUCED)
        made = self._entries[key] = (f"f:{key}", self._walkers.of(field.type))
        return made

    def all_of(self, value: Any) -> FieldSet:
        if not value or type(value) is not dict:
            return LEAF
        out: FieldSet = {MEMBER: LEAF}
        entries = self._entries
        for key in sorted(value):
            entry = entries.get(key) or self._entry(key)
            walker = entry[1]
            out[entry[0]] = LEAF if walker is None else walker.all_of(value[key])
        return out

    def between(self, old: Any, new: Any) -> Parts:
        if not old and not new:
            return LEAF, None
        before: dict[str, Any] = old if type(old) is dict else {}
        after: dict[str, Any] = new if type(new) is dict else {}
        entries = self._entries
        changed: FieldSet = {}
        removed: FieldSet = {}
        for key, value in after.items():
            if key in before:
                was = before[key]
                if was is value or was == value:
                    continue
                name, walker = entries.get(key) or self._entry(key)
                if walker is None:
                    changed[name] = LEAF
                    continue
                more, less = walker.between(was, value)
                if more is not None:
                    changed[name] = more
                if less is not None:
                    removed[name] = less
            else:
                name, walker = entries.get(key) or self._entry(key)
                changed[name] = LEAF if walker is None else walker.all_of(value)
        for key, was in before.items():
            if key not in after:
                name, walker = entries.get(key) or self._entry(key)
                removed[name] = LEAF if walker is None else walker.all_of(was)
        return _sorted(changed), _sorted(removed)


def _sorted(level: FieldSet) -> FieldSet | None:
    """Fields of one level by name."""
    return dict(sorted(level.items())) if len(level) > 1 else level or None


class _MapWalker(Walker):
    """Maps with one type of value: labels, annotations, data."""

    __slots__ = ("_inner",)

    def __init__(self, type_: Type, walkers: Walkers) -> None:
        self._inner = walkers.of(type_.element or DEDUCED)

    def all_of(self, value: Any) -> FieldSet:
        if not value or type(value) is not dict:
            return LEAF
        inner = self._inner
        out: FieldSet = {MEMBER: LEAF}
        for key in sorted(value):
            out[name_key(key)] = LEAF if inner is None else inner.all_of(value[key])
        return out

    def between(self, old: Any, new: Any) -> Parts:
        if not old and not new:
            return LEAF, None
        before: dict[str, Any] = old if type(old) is dict else {}
        after: dict[str, Any] = new if type(new) is dict else {}
        inner = self._inner
        changed: FieldSet = {}
        removed: FieldSet = {}
        for key, value in after.items():
            if key not in before:
                changed[name_key(key)] = LEAF if inner is None else inner.all_of(value)
            elif before[key] != value:
                more, less = (LEAF, None) if inner is None else inner.between(before[key], value)
                if more is not None:
                    changed[name_key(key)] = more
                if less is not None:
                    removed[name_key(key)] = less
        for key, was in before.items():
            if key not in after:
                removed[name_key(key)] = LEAF if inner is None else inner.all_of(was)
        return _sorted(changed), _sorted(removed)


class _Deduced(_MapWalker):
    """Values without a type: maps are walked, everything else is a leaf."""

    __slots__ = ()

    def __init__(self) -> None:
        self._inner = self

    def between(self, old: Any, new: Any) -> Parts:
        if type(new) is dict and type(old) is dict:
            return super().between(old, new)
        removed = _below(self.all_of(old)) if type(old) is dict and old else None
        if type(new) is dict and new:
            changed = self.all_of(new)
            return (_below(changed) if old is None else changed), removed
        return (None if new is None and removed else LEAF), removed


def _below(node: FieldSet) -> FieldSet:
    return {k: v for k, v in node.items() if k != MEMBER}


_DEDUCED_WALKER = _Deduced()


class _ListWalker(Walker):
    """Lists whose items have a name: sets, and lists of type map."""

    __slots__ = ("_inner", "_type")

    def __init__(self, type_: Type, walkers: Walkers) -> None:
        self._type = type_
        self._inner = walkers.of(type_.element or DEDUCED)

    def _index(self, items: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """Items by path element, and those whose element repeats."""
        out: dict[str, Any] = {}
        repeated: dict[str, list[Any]] = {}
        if type(items) is not list:
            return out, repeated
        type_ = self._type
        if type_.list_type == "set":
            keys = [value_key(item) for item in items]
        else:
            keys = [item_element(type_, item, at) for at, item in enumerate(items)]
        for key, item in zip(keys, items, strict=True):
            if key in out:
                repeated.setdefault(key, [out[key]]).append(item)
            else:
                out[key] = item
        return out, repeated

    def all_of(self, value: Any) -> FieldSet:
        if not value:
            return LEAF
        items, repeated = self._index(value)
        inner = self._inner
        out: FieldSet = {
            key: LEAF if inner is None or key in repeated else inner.all_of(item)
            for key, item in items.items()
        }
        return {MEMBER: LEAF, **in_order(out)}

    def between(self, old: Any, new: Any) -> Parts:
        if not old and not new:
            return LEAF, None
        before, repeated_before = self._index(old)
        after, repeated_after = self._index(new)
        inner = self._inner
        changed: FieldSet = {}
        removed: FieldSet = {}
        for key, item in after.items():
            if key in repeated_after:
                if repeated_before.get(key) != repeated_after[key]:
                    changed[key] = LEAF
            elif key in repeated_before:
                removed[key] = LEAF
                changed[key] = LEAF if inner is None else inner.all_of(item)
            elif key not in before:
                changed[key] = LEAF if inner is None else inner.all_of(item)
            elif before[key] != item:
                more, less = (LEAF, None) if inner is None else inner.between(before[key], item)
                if more is not None:
                    changed[key] = more
                if less is not None:
                    removed[key] = less
        for key, was in before.items():
            if key not in after:
                removed[key] = LEAF if inner is None or key in repeated_before else inner.all_of(was)
        return in_order(changed) or None, in_order(removed) or None
