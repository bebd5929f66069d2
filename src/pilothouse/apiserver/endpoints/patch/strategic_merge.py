"""Strategic merge patch (k8s.io/apimachinery/pkg/util/strategicpatch): a merge patch that knows which lists
merge by a key, with directives:

    $patch: replace | delete | merge      for the map or list item it stands in
    $deleteFromPrimitiveList/FIELD        values to take out of a list of scalars
    $setElementOrder/FIELD                the order of a merged list
    $retainKeys                           the only keys that may stay (unions)

Order in a merged list: $setElementOrder, then the patch's, then the live list's.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api.structure import Field, Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch import values
from pilothouse.apiserver.endpoints.patch.go_text import go_kind, go_type, go_value

DIRECTIVE = "$patch"
DELETE_PRIMITIVES = "$deleteFromPrimitiveList"
ORDER = "$setElementOrder"
RETAIN = "$retainKeys"

_UNTYPED = Field(Type("any"))
_GONE: Any = object()


def read(raw: Any) -> tuple[Obj, list[str]]:
    """The patch and its duplicate fields; 400 when it is no object."""
    value, duplicates = values.read(raw, "", dict, "map[string]interface {}")
    return value or {}, duplicates


def apply(document: Obj, patch: Obj, type_: Type) -> Obj:
    """A new document. 500 (as upstream) for a merge key that is missing, an unknown directive or an order
    that does not hold; 400 for directives of a wrong form."""
    return _merge_map(document, patch, type_)


def go_map(patch: Obj) -> str:
    """A patch as the error of its result names it."""
    return go_value(patch)


def _failed(message: str) -> errors.ApiError:
    return errors.ApiError(500, "", message)


def _bad_type(wanted: str, found: Any) -> errors.ApiError:
    return _failed(f"expected a {wanted}, but received a {go_type(found)}")


def _no_merge_key(item: Obj, key: str) -> errors.ApiError:
    return _failed(f"map: {go_value(item)} does not contain declared merge key: {key}")


def _bad_directive(directive: Any, item: Obj) -> errors.ApiError:
    return _failed(f"unknown patch type: {go_value(directive)} in map: {go_value(item)}")


# -- maps -----------------------------------------------------------------------------------------------


def _merge_map(document: Obj, patch: Obj, type_: Type) -> Obj:
    if DIRECTIVE in patch:
        return _directed_map(patch)
    out = dict(document)
    _retain(out, patch)
    done = _merge_ordered(out, patch, type_)
    for key, value in patch.items():
        if key == RETAIN or key in done or key.startswith(f"{ORDER}/"):
            continue
        name, deleting = key, False
        if key.startswith(DELETE_PRIMITIVES):
            name, deleting = _field_of(key, DELETE_PRIMITIVES, "primitive list"), True
        if value is None:
            out.pop(name, None)
        elif name not in out or go_type(out[name]) != go_type(value):
            if not deleting:
                _set(out, name, _fresh(value))
        elif isinstance(value, dict):
            out[name] = _merged_struct(out[name], value, _field(type_, name))
        elif isinstance(value, list):
            out[name] = _merge_list(out[name], value, _field(type_, name), deleting=deleting)
        else:
            out[name] = value
    return out


def _directed_map(patch: Obj) -> Obj:
    directive = patch[DIRECTIVE]
    if directive == "replace":
        return {k: v for k, v in patch.items() if k != DIRECTIVE}
    if directive == "delete":
        return {}
    raise _bad_directive(directive, patch)


def _set(out: Obj, key: str, value: Any) -> None:
    if value is _GONE:
        out.pop(key, None)
    else:
        out[key] = value


def _merged_struct(present: Obj, patch: Obj, field: Field) -> Obj:
    if "replace" in field.patch_strategy:
        return patch
    return _merge_map(present, patch, field.type)


def _field(type_: Type, key: str) -> Field:
    if type_.kind == "struct" and key in type_.fields:
        return type_.fields[key]
    return Field(type_.element) if type_.element is not None else _UNTYPED


def _field_of(key: str, prefix: str, what: str) -> str:
    """The field that a directive's key names."""
    head, slash, name = key.partition("/")
    if not slash or head != prefix:
        raise errors.bad_request(f"invalid patch format of {what}")
    return name


def _retain(out: Obj, patch: Obj) -> None:
    if RETAIN not in patch:
        return
    keys = patch[RETAIN]
    if not isinstance(keys, list):
        raise errors.bad_request("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is None or key == RETAIN or key.startswith((DELETE_PRIMITIVES, ORDER)):
            continue
        if key not in keys:
            raise errors.bad_request("invalid patch format of retainKeys")
    for key in [k for k in out if k not in keys]:
        del out[key]


def _fresh(value: Any) -> Any:
    """A value that the document did not have: without nulls, and without the maps that carry a directive
    (`_GONE` for one of those itself)."""
    if isinstance(value, dict):
        if DIRECTIVE in value:
            return _GONE
        made = {key: _fresh(child) for key, child in value.items() if child is not None}
        return {key: child for key, child in made.items() if child is not _GONE}
    if isinstance(value, list):
        return [made for made in map(_fresh, value) if made is not _GONE]
    return value


# -- lists ----------------------------------------------------------------------------------------------


def _merge_list(present: list[Any], patch: list[Any], field: Field, *, deleting: bool = False) -> list[Any]:
    if "merge" not in field.patch_strategy:
        return patch
    if not present and not patch:
        return present
    maps = _of_maps(present, patch)
    if not maps:
        if deleting:
            return [value for value in present if value not in patch]
        merged = _deduplicated([*present, *patch])
        return _arranged(merged, patch, present, "")
    key = field.patch_merge_key
    if not key:
        raise _failed("cannot merge lists without merge key for type struct")
    base, items = _directed_items(present, patch, key)
    merged = _merge_items(base, items, key, field.type.element or _UNTYPED.type)
    return _arranged(merged, items, base, key)


def _of_maps(*lists: list[Any]) -> bool:
    """Whether the items are maps; 422 for lists of lists, 500 for a mixture."""
    kinds = {go_kind(item) for items in lists for item in items}
    if "slice" in kinds:
        raise errors.ApiError(
            422, "Invalid", "the server rejected our request due to an error in our request", {}
        )
    if "map" in kinds and len(kinds) > 1:
        raise _failed(f"list element types are not identical: {go_value(sorted(kinds))}")
    return "map" in kinds


def _deduplicated(items: list[Any]) -> list[Any]:
    """Each scalar once. A repeated one is replaced by the list's last, as upstream's in-place algorithm does;
    the order is settled afterwards."""
    out = list(items)
    at = 0
    while at < len(out) - 1:
        other = at + 1
        while other < len(out):
            if out[at] == out[other]:
                out[other] = out[-1]
                out.pop()
            else:
                other += 1
        at += 1
    return out


def _directed_items(present: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Carry out the items that are directives; the list to merge into, and the items to merge."""
    items: list[Any] = []
    replace = False
    base = present
    for item in patch:
        if DIRECTIVE not in item:
            items.append(item)
            continue
        directive = item[DIRECTIVE]
        if directive == "delete":
            if key not in item:
                raise _no_merge_key(item, key)
            base = [v for v in base if v.get(key) != item[key] or key not in v]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise _failed("merging lists cannot yet be specified in the patch")
        else:
            raise _bad_directive(directive, item)
    return (items, []) if replace else (base, items)


def _merge_items(base: list[Any], items: list[Any], key: str, element: Type) -> list[Any]:
    out = list(base)
    for item in items:
        if key not in item:
            raise _no_merge_key(item, key)
        at = _position(out, key, item[key])
        if at is None:
            made = _fresh(item)
            if made is not _GONE:
                out.append(made)
        else:
            out[at] = _merge_map(out[at], item, element)
    return out


def _position(items: list[Any], key: str, value: Any) -> int | None:
    for at, item in enumerate(items):
        if key in item and item[key] == value:
            return at
    return None


# -- order ----------------------------------------------------------------------------------------------


def _merge_ordered(out: Obj, patch: Obj, type_: Type) -> set[str]:
    """Merge the lists that come with a $setElementOrder; their names."""
    done: set[str] = set()
    for key, order in patch.items():
        if not key.startswith(ORDER):
            continue
        if not isinstance(order, list):
            raise _bad_type("[]interface {}", order)
        name = _field_of(key, ORDER, "setElementOrder list")
        field = _field(type_, name)
        for side in (out, patch):
            if name in side and not isinstance(side[name], list):
                raise _bad_type("[]interface {}", side[name])
        brought = patch.get(name, [])
        _check_order(brought, order, field.patch_merge_key)
        if name in out and name in patch:
            merged = _merge_list(out[name], brought, field)
        elif name in out:
            merged = out[name]
        elif name in patch:
            merged = _fresh(brought)
        else:
            continue
        out[name] = _arranged(merged, order, out.get(name, []), field.patch_merge_key)
        done.add(name)
    return done


def _identity(item: Any, key: str) -> Any:
    """What an item is known by: itself, or its merge key's value."""
    if not key:
        return item
    if not isinstance(item, dict):
        raise _bad_type("map[string]interface {}", item)
    if key not in item:
        raise _no_merge_key(item, key)
    return item[key]


def _check_order(brought: list[Any], order: list[Any], key: str) -> None:
    """What the patch brings must stand in the order, in that order; deletions and directives aside."""
    if not brought or not order:
        return
    at = 0
    for item in brought:
        if isinstance(item, dict) and DIRECTIVE in item:
            continue
        while at < len(order) and _identity(order[at], key) != _identity(item, key):
            at += 1
        if at == len(order):
            raise _failed(
                f"The order in patch list:\n{go_value(brought)}\n"
                f" doesn't match {ORDER} list:\n{go_value(order)}\n"
            )
        at += 1


def _arranged(merged: list[Any], order: list[Any], live: list[Any], key: str) -> list[Any]:
    """Items that `order` names in its order; the others among them where the live list had them
    (normalizeElementOrder)."""
    wanted = [_identity(item, key) for item in order]
    before = [_identity(item, key) for item in live]
    named = [item for item in merged if _identity(item, key) in wanted]
    others = [item for item in merged if _identity(item, key) not in wanted]
    named.sort(key=lambda item: wanted.index(_identity(item, key)))
    others.sort(key=lambda item: _index(before, _identity(item, key)))
    return _interleaved(others, named, before, key)


def _index(items: list[Any], value: Any) -> int:
    return items.index(value) if value in items else -1


def _interleaved(others: list[Any], named: list[Any], before: list[Any], key: str) -> list[Any]:
    """Both lists in one: an unnamed item goes first only when the live list had it before the named one; so
    what the patch brings anew comes before the rest."""
    out: list[Any] = []
    left = right = 0
    while left < len(others) and right < len(named):
        server = _index(before, _identity(others[left], key))
        patched = _index(before, _identity(named[right], key))
        if 0 <= server < patched:
            out.append(others[left])
            left += 1
        else:
            out.append(named[right])
            right += 1
    return out + others[left:] + named[right:]
