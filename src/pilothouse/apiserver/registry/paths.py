"""Values at simple paths (`.spec.replicas`), and Go's words when something else lies there
(k8s.io/apimachinery/pkg/apis/meta/v1/unstructured NestedInt64, NestedString)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch.go_text import go_type, go_value


class WrongType(ValueError):
    """The text is Go's: `.spec.size accessor error: x is of the type string, expected int64`."""


def split(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def nested(obj: Obj, path: str, of: type, go_name: str) -> Any:
    """The value at a path, None when nothing is there. Raises WrongType."""
    value: Any = obj
    names = split(path)
    for at, name in enumerate(names):
        if value is None:
            return None
        if type(value) is not dict:
            raise _wrong(names[: at + 1], value, "map[string]interface{}")
        if name not in value:
            return None
        value = value[name]
    if type(value) is not of:
        raise _wrong(names, value, go_name)
    return value


def _wrong(names: list[str], value: Any, wanted: str) -> WrongType:
    where = "." + ".".join(names)
    return WrongType(
        f"{where} accessor error: {go_value(value)} is of the type {go_type(value)}, expected {wanted}"
    )


def integer(obj: Obj, path: str) -> int | None:
    found: int | None = nested(obj, path, int, "int64")
    return found


def text(obj: Obj, path: str) -> str | None:
    found: str | None = nested(obj, path, str, "string")
    return found


def put(obj: Obj, path: str, value: Any) -> None:
    """Set a value at a path of an object whose top level the caller owns; what is on the way is copied. Raises
    WrongType when something else than a map is on the way."""
    *way, last = split(path)
    holder: Obj = obj
    for at, name in enumerate(way):
        inner = holder.get(name)
        if inner is None:
            inner = {}
        if type(inner) is not dict:
            raise _wrong(way[: at + 1], inner, "map[string]interface{}")
        holder[name] = dict(inner)
        holder = holder[name]
    holder[last] = value
