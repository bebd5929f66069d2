"""What extension API servers say of themselves, beside what is said of this one
(k8s.io/kube-aggregator/pkg/controllers/openapi and openapiv3, kube-openapi's aggregator)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request, Response

_PREFIX = "#/definitions/"


class Extension(NamedTuple):
    """Of one group's version. `url` is where its document of version 3 is ("" for nowhere), `handle` fetches it, `v2`
    is its part of the document of version 2 ({} for none)."""

    url: str
    handle: Callable[[Request], Awaitable[Response]]
    v2: Obj


def part_of(document: Obj, path: str) -> Obj:
    """Paths below `path` of a document of version 2, and the definitions that they need."""
    paths = {p: item for p, item in (document.get("paths") or {}).items() if p.startswith(f"{path}/")}
    if not paths:
        return {}
    known = document.get("definitions") or {}
    wanted: dict[str, Any] = {}
    waiting = list(_references(paths))
    while waiting:
        name = waiting.pop()
        if name not in wanted and name in known:
            wanted[name] = known[name]
            waiting += _references(known[name])
    return {"paths": paths, "definitions": wanted}


def merged(document: Obj, parts: list[Obj]) -> Obj:
    """`document` with what others serve. A path that is there stays as it is; a definition of the same name that
    says something else gets a new name."""
    if not parts:
        return document
    paths, definitions = dict(document["paths"]), dict(document["definitions"])
    for part in parts:
        names = {}
        for name, definition in part["definitions"].items():
            names[name] = _free(name, definition, definitions)
        renamed = {old: new for old, new in names.items() if old != new}
        for name, definition in part["definitions"].items():
            definitions.setdefault(names[name], _renamed(definition, renamed))
        for path, item in part["paths"].items():
            paths.setdefault(path, _renamed(item, renamed))
    return {
        **document,
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
    }


def _free(name: str, definition: Obj, taken: Obj) -> str:
    candidate, number = name, 1
    while candidate in taken and taken[candidate] != definition:
        number += 1
        candidate = f"{name}_v{number}"
    return candidate


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(_PREFIX):
            yield reference.removeprefix(_PREFIX)
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if not names:
        return value
    if isinstance(value, dict):
        return {
            key: _PREFIX + names.get(inner.removeprefix(_PREFIX), inner.removeprefix(_PREFIX))
            if key == "$ref" and isinstance(inner, str)
            else _renamed(inner, names)
            for key, inner in value.items()
        }
    return [_renamed(inner, names) for inner in value] if isinstance(value, list) else value
