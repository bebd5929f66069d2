"""JSON patch (RFC 6902) with the habits of the Go library that upstream uses (evanphx/json-patch v4):

- replace, move and copy accept a missing key of a map; remove and test don't
- a path without its leading slash loses its first segment; an index may have leading zeros
"""

from __future__ import annotations

from typing import Any

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch import values

OPERATIONS_MAX = 10_000


def read(raw: Any) -> list[Obj]:
    """The operations; 400 when the body is no list, 413 when there are too many."""
    operations, _ = values.read(raw, "error decoding patch: ", list, "[]handlers.jsonPatchOp")
    found: list[Obj] = operations or []
    if len(found) > OPERATIONS_MAX:
        raise errors.request_too_large(
            f"The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {len(found)}"
        )
    return found


def apply(document: Obj, raw: Any) -> Obj:
    """A new document; 422 when an operation cannot be done."""
    root: Any = document
    for operation in read(raw):
        root = _run(root, operation)
    if not isinstance(root, dict):
        raise _refused()
    return root


def _refused() -> errors.ApiError:
    return errors.ApiError(
        422, "Invalid", "the server rejected our request due to an error in our request", {}
    )


def _run(root: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise _refused()
    kind, path = operation.get("op"), _split(operation["path"])
    if kind == "add":
        return _set(root, path, _value(operation), insert=True)
    if kind == "replace":
        return _set(root, path, _value(operation), insert=False)
    if kind == "remove":
        return _remove(root, path)
    if kind == "test":
        if _get(root, path, missing=None) != operation.get("value"):
            raise _refused()
        return root
    if kind in ("move", "copy") and isinstance(operation.get("from"), str):
        source = _split(operation["from"])
        moved = _get(root, source, missing=None)
        if kind == "move":
            root = _remove(root, source, lenient=True)
        return _set(root, path, moved, insert=True)
    raise _refused()


def _value(operation: Obj) -> Any:
    return operation.get("value")


def _split(path: str) -> list[str]:
    if not path:
        return []
    return [p.replace("~1", "/").replace("~0", "~") for p in path.split("/")[1:]]


def _index(part: str, length: int, *, end: bool) -> int:
    if part == "-" and end:
        return length
    try:
        index = int(part)
    except ValueError:
        raise _refused() from None
    if index < 0:
        index += length + (1 if end else 0)
    if not 0 <= index < length + (1 if end else 0):
        raise _refused()
    return index


def _get(root: Any, path: list[str], *, missing: Any) -> Any:
    for at, part in enumerate(path):
        if isinstance(root, dict):
            if part not in root:
                if at == len(path) - 1:
                    return missing
                raise _refused()
            root = root[part]
        elif isinstance(root, list):
            root = root[_index(part, len(root), end=False)]
        else:
            raise _refused()
    return root


def _set(root: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(root, dict):
        if rest:
            if part not in root:
                raise _refused()
            value = _set(root[part], rest, value, insert=insert)
        return {**root, part: value}
    if isinstance(root, list):
        copy = list(root)
        index = _index(part, len(copy), end=insert and not rest)
        if rest:
            copy[index] = _set(copy[index], rest, value, insert=insert)
        elif insert:
            copy.insert(index, value)
        else:
            copy[index] = value
        return copy
    raise _refused()


def _remove(root: Any, path: list[str], *, lenient: bool = False) -> Any:
    if not path:
        raise _refused()
    part, rest = path[0], path[1:]
    if isinstance(root, dict):
        if part not in root:
            if lenient and not rest:
                return root
            raise _refused()
        if rest:
            return {**root, part: _remove(root[part], rest, lenient=lenient)}
        return {k: v for k, v in root.items() if k != part}
    if isinstance(root, list):
        index = _index(part, len(root), end=False)
        copy = list(root)
        if rest:
            copy[index] = _remove(copy[index], rest, lenient=lenient)
        else:
            del copy[index]
        return copy
    raise _refused()
