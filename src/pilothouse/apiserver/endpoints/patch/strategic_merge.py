"""Strategic merge patch (k8s.io/apimachinery/pkg/util/strategicpatch): merge patch that knows which lists merge
by a key, with directives:

    $patch: replace | delete | merge      for the map or list item it stands in
    $deleteFromPrimitiveList/FIELD        values to take out of a list of scalars
    $setElementOrder/FIELD                the order of a merged list
    $retainKeys                           the only keys that may stay (unions)
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api.structure import Field, Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch import values

DIRECTIVE = "$patch"
DELETE_PRIMITIVES = "$deleteFromPrimitiveList"
ORDER = "$setElementOrder"
RETAIN = "$retainKeys"


def read(raw: Any) -> tuple[Obj, list[str]]:
    """The patch and its duplicate fields; 400 when it is no object."""
    value, duplicates = values.read(raw, "", dict, "map[string]interface {}")
    return value or {}, duplicates


def apply(document: Obj, patch: Obj, type_: Type) -> Obj:
    """A new document; 500 for a directive or merge key that makes no sense, as upstream."""
    return _merge_map(document, patch, type_)


def _refused(message: str) -> errors.ApiError:
    return errors.ApiError(500, "", message)


def _merge_map(document: Obj, patch: Obj, type_: Type) -> Obj:
    directive = patch.get(DIRECTIVE)
    if directive is not None:
        rest = {k: v for k, v in patch.items() if k != DIRECTIVE}
        if directive == "replace":
            return _without_directives(rest)
        if directive == "delete":
            return {}
        if directive != "merge":
            raise _refused(f"unknown patch type: {directive} in map: {go_map(patch)}")
        patch = rest
    out = dict(document)
    if RETAIN in patch:
        out = {k: v for k, v in out.items() if k in patch[RETAIN]}
    for key, value in patch.items():
        if key == RETAIN or key.startswith((f"{DELETE_PRIMITIVES}/", f"{ORDER}/")):
            continue
        if value is None:
            out.pop(key, None)
            continue
        out[key] = _merge_value(out.get(key), value, _field(type_, key), patch, key)
    _primitives(out, patch)
    _orders(out, patch, type_)
    return out


def _field(type_: Type, key: str) -> Field:
    if type_.kind == "struct" and key in type_.fields:
        return type_.fields[key]
    return Field(type_.element or Type("any"))


def _merge_value(present: Any, value: Any, field: Field, patch: Obj, key: str) -> Any:
    if isinstance(value, dict):
        if "replace" in field.patch_strategy and field.type.kind == "struct":
            return _without_directives(value)
        below = present if isinstance(present, dict) else {}
        return _merge_map(below, value, field.type)
    if isinstance(value, list):
        return _merge_list(
            present if isinstance(present, list) else [], value, field, f"{ORDER}/{key}" in patch
        )
    return value


def _merge_list(present: list[Any], patch: list[Any], field: Field, ordered: bool) -> list[Any]:
    if "merge" not in field.patch_strategy:
        return [_without_directives(v) if isinstance(v, dict) else v for v in patch]
    if not all(isinstance(v, dict) for v in patch):
        return _union(present, patch)
    if any(v.get(DIRECTIVE) == "replace" for v in patch):
        return [_without_directives(v) for v in patch if v.get(DIRECTIVE) != "replace"]
    return _merge_keyed(present, patch, field)


def _union(present: list[Any], patch: list[Any]) -> list[Any]:
    """Scalars: each once, those of the patch last."""
    out: list[Any] = []
    for value in (*present, *patch):
        if value not in out:
            out.append(value)
    return out


def _merge_keyed(present: list[Any], patch: list[Any], field: Field) -> list[Any]:
    key = field.patch_merge_key
    element = field.type.element or Type("any")
    out = list(present)
    new: list[Any] = []
    for item in patch:
        if key not in item:
            raise _refused(f"map: {go_map(item)} does not contain declared merge key: {key}")
        at = next((i for i, v in enumerate(out) if isinstance(v, dict) and v.get(key) == item[key]), None)
        directive = item.get(DIRECTIVE)
        if directive == "delete":
            out = [v for v in out if not (isinstance(v, dict) and v.get(key) == item[key])]
        elif directive not in (None, "merge"):
            raise _refused(f"unknown patch type: {directive} in map: {go_map(item)}")
        elif at is None:
            new.append(_merge_map({}, item, element))
        else:
            out[at] = _merge_map(out[at], item, element)
    return out + new


def _primitives(out: Obj, patch: Obj) -> None:
    for key, gone in patch.items():
        if key.startswith(f"{DELETE_PRIMITIVES}/") and isinstance(gone, list):
            name = key.partition("/")[2]
            if isinstance(out.get(name), list):
                out[name] = [v for v in out[name] if v not in gone]


def _orders(out: Obj, patch: Obj, type_: Type) -> None:
    for key, order in patch.items():
        if not key.startswith(f"{ORDER}/") or not isinstance(order, list):
            continue
        name = key.partition("/")[2]
        merge_key = _field(type_, name).patch_merge_key
        _check_order(patch.get(name), order, merge_key)
        if isinstance(out.get(name), list):
            out[name] = _ordered(out[name], [_identity(v, merge_key) for v in order], merge_key)


def _identity(value: Any, merge_key: str) -> Any:
    return value.get(merge_key) if isinstance(value, dict) else value


def _check_order(patched: Any, order: list[Any], merge_key: str) -> None:
    """What the patch brings must stand in the order, in that order."""
    if not isinstance(patched, list):
        return
    kept = [v for v in patched if not (isinstance(v, dict) and v.get(DIRECTIVE) == "delete")]
    wanted = [_identity(v, merge_key) for v in order]
    at = 0
    for value in kept:
        identity = _identity(value, merge_key)
        while at < len(wanted) and wanted[at] != identity:
            at += 1
        if at == len(wanted):
            raise _refused(
                f"The order in patch list:\n{go_list(patched)}\n doesn't match {ORDER} list:\n{go_list(order)}\n"
            )


def _ordered(items: list[Any], order: list[Any], merge_key: str) -> list[Any]:
    """Items in the given order; those that it does not name stay where they stood before the next that it does."""
    named = [v for v in items if _identity(v, merge_key) in order]
    named.sort(key=lambda v: order.index(_identity(v, merge_key)))
    rank = {id(v): i for i, v in enumerate(items)}
    others = [v for v in items if _identity(v, merge_key) not in order]
    out: list[Any] = []
    while named and others:
        if rank[id(others[0])] < rank[id(named[0])]:
            out.append(others.pop(0))
        else:
            out.append(named.pop(0))
    return out + named + others


def _without_directives(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_directives(v)
            for k, v in value.items()
            if k not in (DIRECTIVE, RETAIN) and not k.startswith((f"{DELETE_PRIMITIVES}/", f"{ORDER}/"))
        }
    if isinstance(value, list):
        return [_without_directives(v) for v in value]
    return value


def go_map(value: Obj) -> str:
    """A map as Go's %v prints it: map[a:1 b:x], keys sorted."""
    return "map[" + " ".join(f"{k}:{go_value(v)}" for k, v in sorted(value.items())) + "]"


def go_list(value: list[Any]) -> str:
    return "[" + " ".join(go_value(v) for v in value) + "]"


def go_value(value: Any) -> str:
    if isinstance(value, dict):
        return go_map(value)
    if isinstance(value, list):
        return go_list(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
