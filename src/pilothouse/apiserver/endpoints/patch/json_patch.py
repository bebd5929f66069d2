"""JSON patch (RFC 6902) with the habits of the Go library upstream uses (gopkg.in/evanphx/json-patch.v4):

- `replace` and `copy` accept a key that a map does not have (copy brings null); `remove` and `move` don't
- `test` takes an absent key for null, and tells 1 from 1.0
- a path without its leading slash loses its first segment; the empty path is the whole document for `replace`
  and `test`, and nothing for the others
- an index is whatever strconv.Atoi reads ("01", "+1"), and counts from the end when it is negative
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.schema.decode import json_type
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch import values

OPERATIONS_MAX = 10_000
COPIED_BYTES_MAX = 3 * 1024 * 1024
"""Bytes that the copy operations of one patch may copy (jsonpatch.AccumulatedCopySizeLimit)."""

_FIELDS = {"op", "path", "from", "value"}


def read(raw: Any) -> tuple[list[Obj], list[str]]:
    """The operations, and their unknown and duplicate fields as upstream words them; 400 when the body is no
    list of operations, 413 when there are too many."""
    found, _ = values.read(raw, "error decoding patch: ", list, "[]handlers.jsonPatchOp")
    operations: list[Obj] = found or []
    problems: list[str] = []
    for at, operation in enumerate(operations):
        _check(operation, at, problems)
    if len(operations) > OPERATIONS_MAX:
        raise errors.request_too_large(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(operations)}"
        )
    return operations, problems


def _check(operation: Any, at: int, problems: list[str]) -> None:
    if operation is None:
        return
    if not isinstance(operation, dict):
        raise errors.bad_request(
            f"error decoding patch: json: cannot unmarshal {json_type(operation)} into Go value of "
            "type handlers.jsonPatchOp"
        )
    for key, value in operation.items():
        if key not in _FIELDS:
            problems.append("json patch unknown field " + go_quote(f"[{at}].{key}"))
        elif key != "value" and value is not None and not isinstance(value, str):
            raise errors.bad_request(
                f"error decoding patch: json: cannot unmarshal {json_type(value)} into Go struct field "
                f"jsonPatchOp.{key} of type string"
            )


def apply(document: Obj, patch: Any) -> Obj:
    """A new document. `patch` is a body or what `read` made of it. 422 when an operation cannot be done."""
    operations = patch if isinstance(patch, list) else read(patch)[0]
    root: Any = document
    copied = 0
    for operation in operations:
        if not isinstance(operation, dict):
            raise _refused()
        run = _OPERATIONS.get(operation.get("op") or "")
        if run is None:
            raise _refused()
        if run is _copy:
            copied += len(msgspec.json.encode(_source(root, operation)))
            if copied > COPIED_BYTES_MAX:
                raise _refused()
        root = run(root, operation)
    if not isinstance(root, dict):
        raise _refused()
    return root


def _refused() -> errors.ApiError:
    """Upstream hides the library's reason behind a generic text."""
    return errors.ApiError(
        422, "Invalid", "the server rejected our request due to an error in our request", {}
    )


# -- operations: each gives a new root ------------------------------------------------------------------


def _add(root: Any, operation: Obj) -> Any:
    return _put(root, _path(operation, "path"), operation.get("value"), insert=True)


def _replace(root: Any, operation: Obj) -> Any:
    value = operation.get("value")
    if operation.get("path") == "":
        if not isinstance(value, (dict, list)):
            raise _refused()
        return value
    return _put(root, _path(operation, "path"), value, insert=False)


def _remove(root: Any, operation: Obj) -> Any:
    return _take_out(root, _path(operation, "path"))


def _move(root: Any, operation: Obj) -> Any:
    value = _source(root, operation)
    return _put(_take_out(root, _path(operation, "from")), _path(operation, "path"), value, insert=True)


def _copy(root: Any, operation: Obj) -> Any:
    return _put(root, _path(operation, "path"), _source(root, operation), insert=True)


def _test(root: Any, operation: Obj) -> Any:
    found = root if operation.get("path") == "" else _get(root, _path(operation, "path"))
    if not _equal(found, operation.get("value")):
        raise _refused()
    return root


_OPERATIONS: dict[str, Callable[[Any, Obj], Any]] = {
    "add": _add,
    "replace": _replace,
    "remove": _remove,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _source(root: Any, operation: Obj) -> Any:
    return _get(root, _path(operation, "from"))


def _path(operation: Obj, name: str) -> list[str]:
    """The segments; never empty."""
    text = operation.get(name)
    if not isinstance(text, str) or "/" not in text:
        raise _refused()
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


def _index(part: str, length: int) -> int:
    if _INTEGER.match(part) is None:
        raise _refused()
    index = int(part)
    if index < 0:
        index += length
    if not 0 <= index < length:
        raise _refused()
    return index


def _step(node: Any, part: str) -> Any:
    """The container that a segment leads to."""
    child = node.get(part) if isinstance(node, dict) else node[_index(part, len(node))]
    if not isinstance(child, (dict, list)):
        raise _refused()
    return child


def _get(root: Any, path: list[str]) -> Any:
    """The value at a path; None for a key that a map does not have."""
    for part in path[:-1]:
        root = _step(root, part)
    last = path[-1]
    return root.get(last) if isinstance(root, dict) else root[_index(last, len(root))]


def _put(root: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    part = path[0]
    if len(path) > 1:
        return _with(root, part, _put(_step(root, part), path[1:], value, insert=insert))
    if isinstance(root, dict) or not insert:
        return _with(root, part, value)
    at = len(root) if part == "-" else _index(part, len(root) + 1)
    return [*root[:at], value, *root[at:]]


def _take_out(root: Any, path: list[str]) -> Any:
    part = path[0]
    if len(path) > 1:
        return _with(root, part, _take_out(_step(root, part), path[1:]))
    if isinstance(root, dict):
        if part not in root:
            raise _refused()
        return {k: v for k, v in root.items() if k != part}
    at = _index(part, len(root))
    return [*root[:at], *root[at + 1 :]]


def _with(node: Any, part: str, value: Any) -> Any:
    """A copy of a map or list with one entry set."""
    if isinstance(node, dict):
        return {**node, part: value}
    out = list(node)
    out[_index(part, len(out))] = value
    return out


def _equal(a: Any, b: Any) -> bool:
    """Equal as JSON texts: 1, 1.0 and true are three values."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)
