"""What mutations of a policy do to an object (k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch)."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any

from pilothouse.api import errors
from pilothouse.api.cel.functions import FUNCTIONS
from pilothouse.api.cel.nodes import Expr
from pilothouse.api.field import go_quote
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.apply import typed
from pilothouse.apiserver.endpoints.patch import json_patch


class CannotApply(Exception):
    """The text is upstream's."""


def patched(obj: Obj, operations: Any) -> Obj:
    """A new object. A `test` that fails leaves it as it is."""
    plain: list[Obj] = [_operation(operation) for operation in operations]
    try:
        return json_patch.apply(obj, plain)
    except errors.ApiError as error:
        if _test_fails(obj, plain):
            return obj
        raise CannotApply(f"JSONPath: {error.message}") from None


def _operation(value: Any) -> Obj:
    return {key: native(part) for key, part in value.items() if not (key == "from" and not part)}


def _test_fails(obj: Obj, operations: list[Obj]) -> bool:
    """Whether the first operation that cannot be done is a test."""
    for at, operation in enumerate(operations):
        try:
            json_patch.apply(obj, operations[: at + 1])
        except errors.ApiError:
            return operation.get("op") == "test"
    return False


def applied(obj: Obj, configuration: Any, type_: Type | None) -> Obj:
    """The object with a configuration merged in by its kind's schema."""
    if type_ is None:
        raise CannotApply("type converter must not be nil")
    wanted = {**native(configuration), "apiVersion": obj.get("apiVersion"), "kind": obj.get("kind")}
    try:
        typed.check(wanted, type_)
    except typed.DoesNotFit as error:
        raise CannotApply(
            f"error applying patch: failed to convert patch object to typed object: {error}"
        ) from None
    atomic = _atomics(wanted, type_, "")
    if atomic:
        raise CannotApply(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            + ", ".join(atomic)
        )
    try:
        merged: Obj = typed.merge(obj, wanted, type_)
    except typed.DoesNotFit as error:
        raise CannotApply(f"error applying patch: failed to merge patch: {error}") from None
    return merged


def _atomics(value: Any, type_: Type, path: str) -> list[str]:
    """Where a configuration has parts that would be replaced as a whole: what it does not name in them would be
    lost."""
    found: list[str] = []
    if isinstance(value, dict) and type_.kind in ("struct", "map"):
        if type_.map_type == "atomic":
            found.append(path)
        for key, inner in value.items():
            field = type_.fields.get(key)
            child = field.type if field is not None else type_.element
            if child is not None:
                found += _atomics(inner, child, f"{path}.{key}")
    elif isinstance(value, list) and type_.kind == "list":
        if type_.list_type == "atomic":
            found.append(path)
        for at, inner in enumerate(value):
            if type_.element is not None:
                found += _atomics(inner, type_.element, f"{path}[{at}]")
    return found


def mismatch(node: Expr, wanted: str = "") -> str:
    """What is wrong with the names of an expression's types, or "": in `Object{spec: Object.spec{…}}` they name the
    path that a value is at (CheckTypeNamesMatchFieldPathNames)."""
    is_object = node.kind == "struct" and node.name.partition(".")[0] == "Object"
    if is_object and wanted and node.name != wanted:
        return (
            f"unexpected type name {go_quote(node.name)}, expected {go_quote(wanted)}, which matches field name path "
            "from root Object type"
        )
    inner = [(child, wanted if node.kind == "list" else "") for child in node.args]
    inner += [
        (entry.value, f"{node.name}.{entry.key}" if is_object and isinstance(entry.key, str) else "")
        for entry in node.entries
    ]
    if node.target is not None:
        inner.append((node.target, ""))
    return next((found for child, path in inner if (found := mismatch(child, path))), "")


def native(value: Any) -> Any:
    """A CEL value as JSON."""
    if isinstance(value, dict):
        return {str(key): native(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [native(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, timedelta)):
        return FUNCTIONS["string"](value)
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    raise CannotApply(
        f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {type(value).__name__}"
    )
