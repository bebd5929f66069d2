"""Values and sets of fields, related through types (sigs.k8s.io/structured-merge-diff typed).

A *leaf* is a value whose type is scalar or atomic. Lists of type map are known by their key fields, sets by
their values. A value without a type (preserve-unknown) is walked if it is a map and a leaf otherwise.

    check         does an applied configuration fit its type
    field_set     the fields that a configuration names
    merge         a configuration laid over the live object
    remove        a value without some fields
    with_named    a set plus the struct fields on the way to its members

What a write changed is in `compare`, apart for its speed.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.structure import Type
from pilothouse.apiserver.endpoints.apply.field_set import (
    LEAF,
    MEMBER,
    FieldSet,
    element,
    in_order,
    is_member,
    item_key,
    name_key,
    single_key,
    value_key,
)
from pilothouse.apiserver.endpoints.patch.go_text import go_literal, go_type, go_value

_MISSING: Any = object()
DEDUCED = Type("any")
"""The type of values that have none."""


class DoesNotFit(ValueError):
    """Values that do not fit their type, in upstream's words. `errors` are (path, text) pairs."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        self.errors = errors
        lines = [f"{path}: {text}" if path else text for path, text in errors]
        super().__init__(lines[0] if len(lines) == 1 else "\n".join(["errors:", *(f"  {x}" for x in lines)]))


def field_type(type_: Type, key: str) -> Type:
    """The type of a struct's field or a map's entry."""
    field = type_.fields.get(key) if type_.kind == "struct" else None
    return field.type if field is not None else type_.element or DEDUCED


def _shape(type_: Type, value: Any) -> str:
    """map, list or leaf: how a value of this type is walked."""
    kind = type_.kind
    if kind in ("struct", "map"):
        return "leaf" if type_.map_type == "atomic" else "map"
    if kind == "list":
        return "leaf" if type_.list_type == "atomic" else "list"
    return "map" if kind == "any" and isinstance(value, dict) else "leaf"


# -- names of list items --------------------------------------------------------------------------------

_ZERO: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def item_element(type_: Type, item: Any, at: int) -> str:
    """The path element of an item of a set or map list; DoesNotFit for one without a name."""
    if type_.list_type == "set":
        if isinstance(item, dict):
            raise _element_error(at, "associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise _element_error(at, "not supported: associative list with lists as elements")
        if item is None:
            raise _element_error(at, "associative list without keys has an element that's an explicit null")
        return value_key(item)
    if item is None:
        raise _element_error(at, "associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise _element_error(at, "associative list with keys may not have non-map elements")
    keys = type_.list_keys
    if len(keys) == 1:
        value = item.get(keys[0])
        if type(value) is str:
            return single_key(keys[0], value)
    found = {}
    for key in keys:
        value = item[key] if key in item else _key_default(type_, key)
        if value is not _MISSING:
            found[key] = value
    if not found:
        names = " ".join(f'"{key}"' for key in keys)
        raise _element_error(
            at,
            f"associative list with keys has an element that omits all key fields [{names}] "
            "(and doesn't have default values for any key fields)",
        )
    return item_key(found)


def _key_default(type_: Type, key: str) -> Any:
    """A list key's default: the declared one, Go's zero for a field that is always there, or none."""
    if key in type_.key_defaults:
        return type_.key_defaults[key]
    field = type_.element.fields.get(key) if type_.element is not None else None
    if field is None or not field.required or field.pointer:
        return _MISSING
    return _ZERO.get(field.type.kind, _MISSING)


def _element_error(at: int, text: str) -> DoesNotFit:
    return DoesNotFit([("", f"element {at}: {text}")])


# -- sets of an object ----------------------------------------------------------------------------------


def field_set(value: Any, type_: Type) -> FieldSet:
    """Every field that a value names (ToFieldSet): leaves, entries of maps, items of lists, empty maps and
    nulls; not the structs on the way."""
    shape = _shape(type_, value)
    out: FieldSet = {}
    if shape == "map" and isinstance(value, dict):
        for key in sorted(value):
            child_type = field_type(type_, key)
            named = type_.kind == "struct" and key in type_.fields
            made = _value_node(value[key], child_type, named=named)
            if made is not None:
                out[name_key(key)] = made
    elif shape == "list" and isinstance(value, list):
        inner = type_.element or DEDUCED
        for at, item in enumerate(value):
            made = _value_node(item, inner, named=False)
            out[item_element(type_, item, at)] = LEAF if made is None else made
        out = in_order(out)
    return out


def _value_node(value: Any, type_: Type, *, named: bool) -> FieldSet | None:
    """The node of one entry. A named one (a struct's field) that has parts is no member itself."""
    if value is None or value == {} or _shape(type_, value) == "leaf":
        return LEAF
    below = field_set(value, type_)
    if named:
        return below or None
    return {MEMBER: LEAF, **below} if below else LEAF


def with_named(tree: FieldSet, type_: Type) -> FieldSet:
    """The set, and every struct field on the way to a member (EnsureNamedFieldsAreMembers): what must go when
    all below it goes."""
    if not tree:
        return tree
    out: FieldSet = {}
    for key, child in tree.items():
        if not child or key == MEMBER:
            out[key] = child
            continue
        kind, _, name = key.partition(":")
        if kind == "f":
            named = type_.kind == "struct" and name in type_.fields
            inner = field_type(type_, name)
        else:
            named, inner = False, type_.element or DEDUCED
        below = with_named(child, inner)
        out[key] = {MEMBER: LEAF, **below} if named and MEMBER not in below else below
    return out


# -- merge ----------------------------------------------------------------------------------------------


def merge(live: Any, config: Any, type_: Type) -> Any:
    """`config` laid over `live`: its leaves win, maps are merged, lists are merged by name in an order that
    keeps both sides' (typed/merge.go). Parts are shared with the arguments."""
    shape = _shape(type_, config if config is not None else live)
    if shape == "leaf":
        return config
    wanted: type = dict if shape == "map" else list
    before: Any = live if isinstance(live, wanted) else None
    after: Any = config if isinstance(config, wanted) else None
    if not before and not after:
        return config
    if shape == "map":
        return _merge_map(before or {}, after or {}, type_)
    return _merge_list(before or [], after or [], type_)


def _merge_map(live: dict[str, Any], config: dict[str, Any], type_: Type) -> dict[str, Any]:
    out = dict(live)
    for key, value in config.items():
        out[key] = merge(live[key], value, field_type(type_, key)) if key in live else value
    return out


def _merge_list(live: list[Any], config: list[Any], type_: Type) -> list[Any]:
    """Both orders are kept as far as they agree: walk both lists at once, taking live items that the config
    does not name as they come, and shared items when the config comes to them. Repeated live items stay,
    unless the config names them."""
    inner = type_.element or DEDUCED
    left = [item_element(type_, item, at) for at, item in enumerate(live)]
    right = [item_element(type_, item, at) for at, item in enumerate(config)]
    present = dict(zip(reversed(left), reversed(live), strict=True))
    wanted = dict(zip(right, config, strict=True))
    shared = [key for key in right if key in present]
    next_shared = 0
    merged: set[str] = set()
    out: list[Any] = []
    at_left = at_right = 0

    def take(key: str) -> None:
        merged.add(key)
        out.append(merge(present[key], wanted[key], inner) if key in present else wanted[key])

    while at_left < len(left) or at_right < len(right):
        if at_left < len(left) and at_right < len(right):
            key = left[at_left]
            if key == right[at_right]:
                take(key)
                at_left += 1
                at_right += 1
                next_shared += 1
                continue
            if key in wanted and next_shared < len(shared) and shared[next_shared] != key:
                at_left += 1  # shared, but not the one whose turn it is
                continue
        if at_left < len(left):
            key = left[at_left]
            if key not in wanted:
                out.append(live[at_left])
                at_left += 1
                continue
            if key in merged:
                at_left += 1
                continue
        if at_right < len(right):
            key = right[at_right]
            take(key)
            at_right += 1
            if next_shared < len(shared) and shared[next_shared] == key:
                next_shared += 1
    return out


# -- removal --------------------------------------------------------------------------------------------


def remove(value: Any, type_: Type, gone: FieldSet) -> Any:
    """`value` without the members of `gone`; a map or list of which nothing stays becomes None
    (typed/remove.go)."""
    shape = _shape(type_, value)
    if shape == "map" and isinstance(value, dict):
        kept: dict[str, Any] = {}
        for key, child in value.items():
            node = gone.get(name_key(key))
            if node is None:
                kept[key] = child
            elif not is_member(node):
                kept[key] = remove(child, field_type(type_, key), node)
        return kept or None
    if shape == "list" and isinstance(value, list):
        inner = type_.element or DEDUCED
        items = []
        for at, item in enumerate(value):
            node = gone.get(item_element(type_, item, at))
            if node is None:
                items.append(item)
            elif not is_member(node):
                items.append(remove(item, inner, node))
        return items or None
    return value if type_.kind not in ("struct", "map", "list") else None


# -- checks ---------------------------------------------------------------------------------------------


def check(value: Any, type_: Type) -> None:
    """DoesNotFit for an applied value that does not fit its type (typed/validate.go)."""
    errors: list[tuple[str, str]] = []
    _check(value, type_, "", errors)
    if errors:
        raise DoesNotFit(errors)


def _check(value: Any, type_: Type, path: str, errors: list[tuple[str, str]]) -> None:
    kind = type_.kind
    if value is None:
        return
    if kind in ("struct", "map"):
        if isinstance(value, dict):
            _check_map(value, type_, path, errors)
        else:
            errors.append((path, f"expected map, got &{{{go_value(value)}}}"))
    elif kind == "list":
        if isinstance(value, list):
            _check_list(value, type_, path, errors)
        else:
            errors.append((path, f"expected list, got &{{{go_value(value)}}}"))
    elif kind not in ("any", "raw"):
        text = _scalar_error(value, kind)
        if text:
            errors.append((path, text))


def _check_map(value: dict[str, Any], type_: Type, path: str, errors: list[tuple[str, str]]) -> None:
    closed = type_.kind == "struct" and type_.element is None and not type_.preserve_unknown
    for key, child in value.items():
        if closed and key not in type_.fields:
            errors.append((f"{path}.{key}", "field not declared in schema"))
            return
        _check(child, field_type(type_, key), f"{path}.{key}", errors)


def _check_list(value: list[Any], type_: Type, path: str, errors: list[tuple[str, str]]) -> None:
    inner = type_.element or DEDUCED
    seen: set[str] = set()
    for at, item in enumerate(value):
        if type_.list_type == "atomic":
            _check(item, inner, f"{path}[{at}]", errors)
            continue
        try:
            key = item_element(type_, item, at)
        except DoesNotFit as error:
            errors.append((path, error.errors[0][1]))
            return
        if key in seen:
            errors.append((path, f"duplicate entries for key {element(key)}"))
        seen.add(key)
        _check(item, inner, path + element(key), errors)


def _scalar_error(value: Any, kind: str) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in ("integer", "number"):
        return "" if number else f"expected numeric (int or float), got {go_type(value)}"
    if kind == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got &{{{go_value(value)}}}"
    if kind in ("quantity", "intorstring", "time", "microtime"):
        return (
            "expected any scalar, got " + f"&{{{go_value(value)}}}" if isinstance(value, (dict, list)) else ""
        )
    if isinstance(value, str):
        return ""
    return f"expected string, got &value.valueUnstructured{{Value:{go_literal(value)}}}"
