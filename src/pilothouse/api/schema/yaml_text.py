"""YAML bodies as sigs.k8s.io/yaml reads them for JSON: no dates, keys become strings, repeats are noted.

An alias stands for a copy, so a short text can mean a huge document (`b: [*a,*a], c: [*b,*b], …`). What it would
grow to is counted on the parsed graph first, by the rule of Go's library (gopkg.in/yaml.v2 allowedAliasRatio).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml

from pilothouse.api.schema import nesting

_SEPARATORS_MAX = 250_000
"""A text of 3 MiB may hold a million values, which take many seconds to read. Manifests of that size have a tenth of
this; what is JSON is read as such."""
_FEW_ALIASED, _FEW_NODES = 100, 1_000
"""Documents below either are not suspected."""
_RATIO_LOW, _RATIO_HIGH = 400_000, 4_000_000
"""Up to the first size nearly all may come from aliases (99%), from the second on a tenth, linear between."""


class _Loader(yaml.CSafeLoader):
    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.repeated: list[str] = []


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def read(raw: bytes) -> tuple[Any, list[str]]:
    """The JSON value of a YAML text, and its duplicate keys (texts). ValueError in upstream's words."""
    if raw.count(b",") + raw.count(b"\n") + raw.count(b":") > _SEPARATORS_MAX:
        raise ValueError("yaml: document has too many nodes")
    loader = _Loader(raw)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, []
        _check_size(root)
        value = _value(loader, root)
    except yaml.YAMLError as error:
        raise ValueError(f"yaml: {_error_text(error)}") from None
    finally:
        loader.dispose()
    return value, [f"yaml: unmarshal errors:\n  {text}" for text in loader.repeated]


def _value(loader: _Loader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, child) for child in node.value]
    value = loader.construct_object(node)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"json: unsupported value: {_GO_FLOATS[str(value)]}")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


_GO_FLOATS = {"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        text = _key_text(_value(loader, key_node))
        if text in out:
            loader.repeated.append(f'line {key_node.start_mark.line + 1}: key "{text}" already set in map')
        out[text] = _value(loader, value_node)
    return out


def _key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def _check_size(root: yaml.Node) -> None:
    """Refuse what contains itself, nests too deep, or is mostly copies."""
    grown: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[yaml.Node, Iterator[yaml.Node]]] = [(root, _children(root))]
    open_nodes.add(id(root))
    while stack:
        node, children = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
            open_nodes.discard(id(node))
            grown[id(node)] = 1 + sum(grown[id(c)] for c in _children(node))
        elif id(child) in open_nodes:
            raise _refusal("anchor value contains itself")
        elif id(child) not in grown:
            if len(stack) > nesting.NESTING_MAX:
                raise _refusal(f"exceeded max depth of {nesting.NESTING_MAX}")
            stack.append((child, _children(child)))
            open_nodes.add(id(child))
    whole, written = grown[id(root)], len(grown)
    copied = whole - written
    if copied > _FEW_ALIASED and whole > _FEW_NODES and copied / whole > _ratio_max(whole):
        raise _refusal("document contains excessive aliasing")


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _ratio_max(nodes: int) -> float:
    if nodes <= _RATIO_LOW:
        return 0.99
    if nodes >= _RATIO_HIGH:
        return 0.10
    return 0.99 - 0.89 * (nodes - _RATIO_LOW) / (_RATIO_HIGH - _RATIO_LOW)


def _refusal(why: str) -> ValueError:
    return ValueError(f"yaml: {why}")


def _error_text(error: yaml.YAMLError) -> str:
    """go-yaml counts lines from 0, but for errors of its scanner, and leaves out a 0."""
    if isinstance(error, yaml.MarkedYAMLError):
        marks = (error.problem_mark, error.context_mark)
        line = next((mark.line for mark in marks if mark is not None and mark.line), 0)
        if line and isinstance(error, yaml.scanner.ScannerError):
            line += 1
        return (f"line {line}: " if line else "") + str(error.problem or error.context)
    return str(error).replace("\n", " ")
