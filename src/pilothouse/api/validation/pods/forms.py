"""Small checks that many parts of a pod share: names, numbers, paths, IDs."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names

ID_MAX = 2**31 - 1
MODE_MAX = 0o777
MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
NON_NEGATIVE = "must be greater than or equal to 0"
LABEL_KEY = names.is_qualified_label_key


def checked(value: Any, path: str, check: Callable[[Any], Sequence[str]], out: f.Errors) -> None:
    """One Invalid for each message of a form check."""
    for message in check(value):
        out.append(f.invalid(path, value, message))


def non_negative(holder: Obj, key: str, path: str, out: f.Errors) -> None:
    value = holder.get(key)
    if value is not None and value < 0:
        out.append(f.invalid(f"{path}.{key}", value, NON_NEGATIVE))


def need(holder: Obj, key: str, path: str, out: f.Errors) -> bool:
    """Whether a field is set; Required if it is not."""
    if holder.get(key):
        return True
    out.append(f.required(f"{path}.{key}"))
    return False


def one_of(
    holder: Obj, key: str, path: str, allowed: Sequence[str], out: f.Errors, *, required: bool = False
) -> None:
    """A field that is there is one of these; `required`: and it is there."""
    value = holder.get(key)
    if value in allowed:
        return
    if not value and required:
        out.append(f.required(f"{path}.{key}"))
    elif value is not None:
        out.append(f.not_supported(f"{path}.{key}", value, allowed))


def mode(holder: Obj, key: str, path: str, out: f.Errors) -> None:
    value = holder.get(key)
    if value is not None and not 0 <= value <= MODE_MAX:
        out.append(f.invalid(f"{path}.{key}", value, MODE_TEXT))


def identity(holder: Obj, key: str, path: str, out: f.Errors) -> None:
    """A user or group ID."""
    value = holder.get(key)
    if value is not None and not 0 <= value <= ID_MAX:
        out.append(f.invalid(f"{path}.{key}", value, f"must be between 0 and {ID_MAX}, inclusive"))


def port(value: int | str, path: str, out: f.Errors) -> None:
    """A port number or the name of one."""
    check: Callable[[Any], Sequence[str]] = (
        names.is_port_name if isinstance(value, str) else names.is_port_number
    )
    checked(value, path, check, out)


def no_backsteps(value: str, path: str, out: f.Errors) -> None:
    if ".." in value.split("/"):
        out.append(f.invalid(path, value, "must not contain '..'"))


def local_path(value: str, path: str, out: f.Errors) -> None:
    """A path that stays below where it starts (validateLocalDescendingPath)."""
    if posixpath.isabs(value):
        out.append(f.invalid(path, value, "must be a relative path"))
    no_backsteps(value, path, out)


def local_file(value: str, path: str, out: f.Errors) -> None:
    """A local path whose first step is no reserved name (validateLocalNonReservedPath)."""
    local_path(value, path, out)
    if value.startswith("..") and ".." not in value.split("/"):
        out.append(f.invalid(path, value, "must not start with '..'"))


def not_padded(value: str, path: str, out: f.Errors) -> None:
    if value != value.strip():
        out.append(f.invalid(path, value, "must not have leading or trailing whitespace"))


def listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values))
