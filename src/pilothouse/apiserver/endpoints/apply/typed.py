"""Objects and sets of fields, related through types (structured-merge-diff's typed package).

A field is a *leaf* when its type is atomic or scalar, or its value empty. Lists of type map are keyed by
their keys, sets by their values; values without a type (preserve-unknown) are maps and atomic lists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pilothouse.api.field import go_quote
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply.field_set import (
    FieldSet,
    element,
    item_key,
    name_key,
    node,
    value_key,
)

_MISSING: Any = object()
_DEDUCED = Type("any")


class Comparison(NamedTuple):
    added: FieldSet
    modified: FieldSet
    removed: FieldSet

    @property
    def same(self) -> bool:
        return not (self.added or self.modified or self.removed)


class DoesNotFit(ValueError):
    """A value that does not fit its type, with its path, in upstream's words."""


def field_type(type_: Type, key: str) -> Type:
    """The type of a map's or struct's entry."""
    if type_.kind == "struct":
        field = type_.fields.get(key)
        if field is not None:
            return field.type
    return type_.element or _DEDUCED


def _shape(type_: Type, *values: Any) -> str:
    """map, list or leaf: how a value is walked."""
    kind = type_.kind
    if kind in ("struct", "map"):
        return "leaf" if type_.map_type == "atomic" else "map"
    if kind == "list":
        return "leaf" if type_.list_type == "atomic" else "list"
    if kind == "any" and any(isinstance(v, dict) for v in values):
        return "map"
    return "leaf"


def _item_key(type_: Type, item: Any) -> str:
    if type_.list_type == "set":
        return value_key(item)
    pairs = []
    for key in type_.list_keys:
        value = item.get(key) if isinstance(item, dict) else None
        if value is None:
            value = type_.key_defaults.get(key)
        if value is not None:
            pairs.append((key, value))
    return item_key(tuple(pairs))


def keyed(type_: Type, items: Iterable[Any] | None) -> dict[str, Any]:
    """A list's items by their keys; the last of repeated ones counts."""
    return {_item_key(type_, item): item for item in items or ()}


# -- sets of an object ----------------------------------------------------------------------------------


def field_set(value: Any, type_: Type) -> FieldSet:
    """Every field that a value sets (ToFieldSet)."""
    shape = _shape(type_, value)
    out: FieldSet = {}
    if shape == "map" and isinstance(value, dict):
        named = type_.kind == "struct"
        for key, child in value.items():
            child_type = field_type(type_, key)
            below = _below(child, child_type)
            member = below is None or not (named and key in type_.fields)
            out[name_key(key)] = node(below or {}, member) or {}
    elif shape == "list" and isinstance(value, list):
        for item in value:
            assert type_.element is not None
            out[_item_key(type_, item)] = node(_below(item, type_.element) or {}, True) or {}
    return out


def _below(value: Any, type_: Type) -> FieldSet | None:
    """The set inside a value; None for a leaf."""
    if value is None or value == {} or _shape(type_, value) == "leaf":
        return None
    return field_set(value, type_)


# -- comparison -----------------------------------------------------------------------------------------


def compare(old: Any, new: Any, type_: Type) -> Comparison:
    """What differs between two values of one type."""
    added: FieldSet = {}
    modified: FieldSet = {}
    removed: FieldSet = {}
    _compare_map(old, new, type_, added, modified, removed)
    return Comparison(added, modified, removed)


def _compare_map(
    old: Any, new: Any, type_: Type, added: FieldSet, modified: FieldSet, removed: FieldSet
) -> None:
    before: Obj = old or {}
    after: Obj = new or {}
    for key, value in after.items():
        was = before.get(key, _MISSING)
        if was is value:
            continue
        _compare_value(name_key(key), was, value, field_type(type_, key), added, modified, removed)
    for key, was in before.items():
        if key not in after:
            _compare_value(name_key(key), was, _MISSING, field_type(type_, key), added, modified, removed)


def _compare_list(
    old: Any, new: Any, type_: Type, added: FieldSet, modified: FieldSet, removed: FieldSet
) -> None:
    inner = type_.element or _DEDUCED
    before, after = keyed(type_, old), keyed(type_, new)
    for key, value in after.items():
        was = before.get(key, _MISSING)
        if was is not value:
            _compare_value(key, was, value, inner, added, modified, removed)
    for key, was in before.items():
        if key not in after:
            _compare_value(key, was, _MISSING, inner, added, modified, removed)


def _compare_value(
    key: str, was: Any, now: Any, type_: Type, added: FieldSet, modified: FieldSet, removed: FieldSet
) -> None:
    shape = _shape(type_, was, now)
    empty = (was is _MISSING or not was) and (now is _MISSING or not now)
    if shape == "leaf" or empty:
        if was is _MISSING:
            added[key] = {}
        elif now is _MISSING:
            removed[key] = {}
        elif was != now:
            modified[key] = {}
        return
    if was is not _MISSING and now is not _MISSING and was == now:
        return
    inner: tuple[FieldSet, FieldSet, FieldSet] = ({}, {}, {})
    walk = _compare_map if shape == "map" else _compare_list
    walk(_present(was), _present(now), type_, *inner)
    members = (was is _MISSING, False, now is _MISSING)
    for total, part, member in zip((added, modified, removed), inner, members, strict=True):
        made = node(part, member)
        if made is not None:
            total[key] = made


def _present(value: Any) -> Any:
    return None if value is _MISSING else value


# -- merge ----------------------------------------------------------------------------------------------


def merge(live: Any, config: Any, type_: Type) -> Any:
    """`config` laid over `live`: its leaves win, its lists are merged by key and give the order."""
    shape = _shape(type_, live, config)
    if shape == "map" and isinstance(config, dict) and isinstance(live, dict):
        out = dict(live)
        for key, value in config.items():
            child_type = field_type(type_, key)
            out[key] = merge(out[key], value, child_type) if key in out else value
        return out
    if shape == "list" and isinstance(config, list) and isinstance(live, list):
        return _merge_list(live, config, type_)
    return config


def _merge_list(live: list[Any], config: list[Any], type_: Type) -> list[Any]:
    """Items of `config` in their order; those of `live` alone stay before the shared item they stood before."""
    inner = type_.element or _DEDUCED
    wanted = list(keyed(type_, config).items())
    position = {key: i for i, (key, _) in enumerate(wanted)}
    present = keyed(type_, live)
    out: list[Any] = []
    at = 0
    for key, item in present.items():
        if key not in position:
            out.append(item)
            continue
        while at <= position[key]:
            out.append(_merged_item(wanted[at], present, inner))
            at += 1
    out += [_merged_item(entry, present, inner) for entry in wanted[at:]]
    return out


def _merged_item(entry: tuple[str, Any], present: dict[str, Any], type_: Type) -> Any:
    key, item = entry
    return merge(present[key], item, type_) if key in present else item


# -- removal --------------------------------------------------------------------------------------------


def prune(value: Any, type_: Type, last: FieldSet, owned: FieldSet) -> Any:
    """`value` without what was in `last` and is in `owned` no more, nor anything below it."""
    shape = _shape(type_, value)
    if shape == "map" and isinstance(value, dict):
        out = {}
        for key, child in value.items():
            kept = _pruned(name_key(key), child, field_type(type_, key), last, owned)
            if kept is not _MISSING:
                out[key] = kept
        return out
    if shape == "list" and isinstance(value, list):
        inner = type_.element or _DEDUCED
        pruned = (_pruned(key, item, inner, last, owned) for key, item in keyed(type_, value).items())
        return [item for item in pruned if item is not _MISSING]
    return value


def _pruned(key: str, value: Any, type_: Type, last: FieldSet, owned: FieldSet) -> Any:
    was = last.get(key)
    if was is None:
        return value
    now = owned.get(key)
    if now is None:
        return _MISSING
    return prune(value, type_, was, now) if was else value


# -- checks ---------------------------------------------------------------------------------------------


def check(value: Any, type_: Type, path: str = "") -> None:
    """DoesNotFit for an applied value that does not fit its type."""
    kind = type_.kind
    if value is None:
        return
    if kind in ("struct", "map"):
        if not isinstance(value, dict):
            raise DoesNotFit(f"{path}: expected map, got {_go(value)}")
        for key, child in value.items():
            if (
                kind == "struct"
                and key not in type_.fields
                and not type_.element
                and not type_.preserve_unknown
            ):
                raise DoesNotFit(f"{path}.{key}: field not declared in schema")
            check(child, field_type(type_, key), f"{path}.{key}")
    elif kind == "list":
        _check_list(value, type_, path)
    elif kind == "string" and not isinstance(value, str):
        raise DoesNotFit(f"{path}: expected string, got {_go(value)}")
    elif kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise DoesNotFit(f"{path}: expected numeric (int or float), got {_go(value)}")
    elif kind == "boolean" and not isinstance(value, bool):
        raise DoesNotFit(f"{path}: expected boolean, got {_go(value)}")


def _check_list(value: Any, type_: Type, path: str) -> None:
    if not isinstance(value, list):
        raise DoesNotFit(f"{path}: expected list, got {_go(value)}")
    if type_.list_type == "atomic" or type_.element is None:
        for index, item in enumerate(value):
            check(item, type_.element or _DEDUCED, f"{path}[{index}]")
        return
    seen: set[str] = set()
    for item in value:
        key = _item_key(type_, item)
        if key in seen:
            raise DoesNotFit(f"{path}: duplicate entries for key {element(key)}")
        seen.add(key)
        check(item, type_.element, path + element(key))


def _go(value: Any) -> str:
    """A value as Go prints the wrapper it is in."""
    return f"&value.valueUnstructured{{Value:{_go_literal(value)}}}"


def _go_literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, dict):
        inner = ", ".join(f'"{k}":{_go_literal(v)}' for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(_go_literal(v) for v in value)}}}"
    return repr(value)
