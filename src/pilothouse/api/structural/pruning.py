"""Take away what a schema does not name (pkg/apiserver/schema/pruning/algorithm.go).

A pruner is made once per schema, as nested functions. It changes the value it is given and tells the paths of
what it took, each once, in upstream's order: sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pilothouse.api.structural.schema import META_FIELDS, Structural

_Prune = Callable[[Any, str, list[str]], None]
"""The value, its path, and the paths of what was taken."""

Pruner = Callable[[Any], list[str]]


def pruner(schema: Structural, *, root: bool = True) -> Pruner:
    """`root`: the value is a whole object, whose kind, apiVersion and metadata stay whatever they are."""
    prune = _of(schema, embedded=root or schema.embedded)

    def run(value: Any) -> list[str]:
        taken: list[str] = []
        prune(value, "", taken)
        return sorted(taken)

    return run


def _of(schema: Structural | None, *, embedded: bool) -> _Prune:
    if schema is None:
        return _take_all
    keep_all = schema.preserve_unknown
    properties = {name: _of(inner, embedded=inner.embedded) for name, inner in schema.properties.items()}
    additional = _additional(schema)
    element = _of_elements(schema)

    def prune(value: Any, path: str, taken: list[str]) -> None:
        if type(value) is dict:
            gone = []
            for key, inner in value.items():
                if embedded and key in META_FIELDS:
                    continue
                known = properties.get(key, additional)
                if known is not None:
                    if type(inner) is dict or type(inner) is list:
                        known(inner, f"{path}.{key}" if path else key, taken)
                elif not keep_all:
                    gone.append(key)
            for key in gone:
                del value[key]
                taken.append(f"{path}.{key}" if path else key)
        elif type(value) is list:
            for index, inner in enumerate(value):
                if type(inner) is dict or type(inner) is list:
                    element(inner, f"{path}[{index}]", taken)

    return prune


def _additional(schema: Structural) -> _Prune | None:
    if schema.additional is None:
        return None
    inner = schema.described
    return _of(inner, embedded=inner is not None and inner.embedded)


def _of_elements(schema: Structural) -> _Prune:
    items = schema.items
    if items is None:
        return _keep_all if schema.preserve_unknown else _take_all
    return _of(items, embedded=items.embedded)


def _keep_all(value: Any, path: str, taken: list[str]) -> None:
    """Under x-kubernetes-preserve-unknown-fields, where nothing is described."""


def _take_all(value: Any, path: str, taken: list[str]) -> None:
    """Where nothing may be: maps lose every key, lists are looked through."""
    if type(value) is dict:
        taken += [f"{path}.{key}" if path else key for key in value]
        value.clear()
    elif type(value) is list:
        for index, inner in enumerate(value):
            _take_all(inner, f"{path}[{index}]", taken)
