"""A value out of an object, by a jq filter or a CEL expression (kwok pkg/utils/expression, pkg/utils/cel).

What a filter cannot do (iterate over null, look into a number) is no error: it yields nothing, as in kwok.

Most filters only follow fields (`.status.podIP`, `.metadata.annotations["a"]`, `.spec.containers[].name`): those are
walked here, without writing the object as JSON for jq. The tests hold the two ways against each other.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import jq
import msgspec

from pilothouse.api.cel import compiler, types
from pilothouse.api.cel.evaluate import EvalError
from pilothouse.api.types import Obj

Values = list[Any]


class QueryError(ValueError):
    """An expression that does not compile; its text is one line."""


class Subject:
    """An object that is asked several things; its JSON text is made when jq first needs it."""

    __slots__ = ("_text", "obj")

    def __init__(self, obj: Obj) -> None:
        self.obj = obj
        self._text: str | None = None

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = msgspec.json.encode(self.obj).decode()
        return self._text


class Query(Protocol):
    def values(self, subject: Subject) -> Values | None:
        """All it yields; None when it fails on this object."""


def jq_query(source: str) -> Query:
    """QueryError when `source` is no jq filter."""
    path = _path(source)
    return JqProgram(source) if path is None else _Path(path)


# -- jq -------------------------------------------------------------------------------------------------


class JqProgram:
    """A filter that jq itself runs."""

    def __init__(self, source: str) -> None:
        try:
            self._program = jq.compile(source)
        except ValueError as error:
            first = str(error).strip().splitlines()[0].removeprefix("jq: error: ")
            raise QueryError(f"no jq filter: {first}") from None

    def values(self, subject: Subject) -> Values | None:
        try:
            found: Values = self._program.input_text(subject.text).all()
        except ValueError:
            return None
        return found


_FIELD = re.compile(r'\.([A-Za-z_][A-Za-z_0-9]*)|\.?\["([^"\\]*)"\]|\.?(\[\])')
_EACH = None
_Step = str | None


def _path(source: str) -> tuple[_Step, ...] | None:
    """The fields that a filter follows, `_EACH` for `[]`; None when it does more than that."""
    source = source.strip()
    if not source.startswith("."):
        return None
    steps: list[_Step] = []
    at = 0
    while at < len(source):
        found = _FIELD.match(source, at)
        if found is None:
            return None
        steps.append(_EACH if found[3] else found[1] or found[2] or "")
        at = found.end()
    return tuple(steps)


class _Path:
    def __init__(self, steps: tuple[_Step, ...]) -> None:
        self._steps = steps

    def values(self, subject: Subject) -> Values | None:
        values: Values = [subject.obj]
        for step in self._steps:
            following: Values = []
            for value in values:
                if step is _EACH:
                    if not isinstance(value, list | dict):
                        return None
                    following += value if isinstance(value, list) else value.values()
                elif value is None:
                    following.append(None)
                elif isinstance(value, dict):
                    following.append(value.get(step))
                else:
                    return None
            values = following
        return values


# -- CEL ------------------------------------------------------------------------------------------------

_ENVIRONMENT = compiler.Environment({"self": types.DYN})


class CelQuery:
    """An expression over `self`, the object. QueryError when it does not compile."""

    def __init__(self, source: str) -> None:
        try:
            self._program = _ENVIRONMENT.program(source)
        except compiler.CompileError as error:
            raise QueryError(" ".join(str(error).split())) from None

    def values(self, subject: Subject) -> Values | None:
        try:
            return [self._program.evaluate({"self": subject.obj})]
        except EvalError:
            return None
