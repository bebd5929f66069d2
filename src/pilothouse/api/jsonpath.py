"""kubectl's JSONPath, as columns of custom resources use it (k8s.io/client-go/util/jsonpath): one path, missing
keys allowed.

    .spec.containers[*].image    .status.conditions[?(@.type=="Ready")].status    .metadata.labels['a.b/c']
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

Step = Callable[[list[Any]], list[Any]]
"""From the values so far to the next ones."""

_TOKEN = re.compile(
    r"""(?P<deep>\.\.)(?P<deep_name>(?:\\.|[^.\[\\\s])*)
      | \.?\[\?\((?P<filter>.*?)\)\]
      | \.?\[(?P<quoted>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\]
      | \.?\[(?P<range>\*|-?\d*(?::-?\d*){0,2}|-?\d+(?:,-?\d+)+)\]
      | \.(?P<name>(?:\\.|[^.\[\\\s])*)
      | (?P<first>(?:\\.|[^.\[\\\s])+)
    """,
    re.VERBOSE,
)
_COMPARISON = re.compile(r"\s*(?P<left>.+?)\s*(?P<op>==|!=|<=|>=|<|>)\s*(?P<right>.+?)\s*")


class JsonPath:
    """A path, read once. Raises ValueError for a text that is none."""

    def __init__(self, path: str) -> None:
        self._steps = _parse(path.strip().removeprefix("{").removesuffix("}").strip())

    def find(self, value: Any) -> list[Any]:
        """Everything the path leads to; [] when it leads nowhere."""
        found = [value]
        for step in self._steps:
            found = step(found)
        return found


def _parse(path: str) -> list[Step]:
    text = path.removeprefix("$").removeprefix("@")
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"unrecognized character in JSONPath at {text[at:]!r}")
        steps.append(_step(match))
        at = match.end()
    return steps


def _step(match: re.Match[str]) -> Step:
    if match["deep"]:
        return _deep(_unescaped(match["deep_name"]))
    if match["filter"] is not None:
        return _filter(match["filter"])
    if match["quoted"] is not None:
        return _field(_unescaped(match["quoted"][1:-1]))
    if match["range"] is not None:
        return _range(match["range"])
    name = match["name"] if match["name"] is not None else match["first"]
    return _all if name == "*" else _field(_unescaped(name)) if name else _same


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _same(values: list[Any]) -> list[Any]:
    return values


def _field(name: str) -> Step:
    return lambda values: [v[name] for v in values if isinstance(v, dict) and name in v]


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def _all(values: list[Any]) -> list[Any]:
    return [child for value in values for child in _children(value)]


def _deep(name: str) -> Step:
    def below(value: Any) -> list[Any]:
        return [value] + [deeper for child in _children(value) for deeper in below(child)]

    def step(values: list[Any]) -> list[Any]:
        found = [inner for value in values for inner in below(value)]
        return _field(name)(found) if name not in ("", "*") else found[1:] if name else found

    return step


def _range(text: str) -> Step:
    if text in ("*", ":", ""):
        return _all
    if ":" in text:
        start, end, stride = ([int(p) if p else None for p in text.split(":")] + [None, None])[:3]
        piece = slice(start, end, stride)
        return lambda values: [item for v in values if isinstance(v, list) for item in v[piece]]
    indices = [int(part) for part in text.split(",")]
    return lambda values: [
        v[i] for v in values if isinstance(v, list) for i in indices if -len(v) <= i < len(v)
    ]


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _filter(text: str) -> Step:
    match = _COMPARISON.fullmatch(text)
    if match is None:
        exists = _operand(text.strip())
        return lambda values: [item for item in _all(values) if exists(item)]
    left, right = _operand(match["left"]), _operand(match["right"])
    compare = _OPERATORS[match["op"]]

    def holds(item: Any) -> bool:
        a, b = left(item), right(item)
        if not a or not b or type(a[0]) is not type(b[0]):
            return False
        return compare(a[0], b[0])

    return lambda values: [item for item in _all(values) if holds(item)]


def _operand(text: str) -> Callable[[Any], list[Any]]:
    if text.startswith(("@", "$", ".")):
        return JsonPath(text).find
    if text[:1] in "'\"":
        literal: Any = _unescaped(text[1:-1])
    else:
        literal = json.loads(text)
    return lambda item: [literal]
