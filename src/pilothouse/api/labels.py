"""Label selectors: text, objects, matching (k8s.io/apimachinery/pkg/labels)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.kit.caching import cached_texts

_TOKEN = re.compile(r"\s*(?:(==|!=|[=!<>,()])|([^\s=!<>,()]+))")
_INTEGER = re.compile("[+-]?[0-9]+")
_WORD_OPERATORS = {"in", "notin"}


class Requirement(NamedTuple):
    """`op` is one of =, ==, !=, in, notin, exists, !, gt, lt."""

    key: str
    op: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        if self.op in ("=", "==", "in"):
            return present and labels[self.key] in self.values
        if self.op in ("!=", "notin"):
            return not present or labels[self.key] not in self.values
        if self.op == "exists":
            return present
        if self.op == "!":
            return not present
        return present and self._compares(labels[self.key])

    def _compares(self, text: str) -> bool:
        if not _INTEGER.fullmatch(text):
            return False
        value, bound = int(text), int(self.values[0])
        return value > bound if self.op == "gt" else value < bound

    def __str__(self) -> str:
        if self.op == "exists":
            return self.key
        if self.op == "!":
            return f"!{self.key}"
        if self.op in ("in", "notin"):
            return f"{self.key} {self.op} ({','.join(sorted(self.values))})"
        symbol = {"gt": ">", "lt": "<"}.get(self.op, self.op)
        return f"{self.key}{symbol}{self.values[0]}"


class Selector(NamedTuple):
    """All requirements must hold. `nothing` selects nothing, whatever the requirements (a nil LabelSelector)."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    @property
    def empty(self) -> bool:
        """Selects everything."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        if self.nothing:
            return False
        # A generator would cost more than what it does here.
        for requirement in self.requirements:  # noqa: SIM110
            if not requirement.matches(labels):
                return False
        return True

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector((), True)


@cached_texts(1024)
def parse(text: str) -> Selector:
    """A selector's text; ValueError in upstream's words."""
    parser = _Parser(text)
    requirements = parser.requirements()
    for requirement in requirements:
        _check(requirement)
    return Selector(tuple(sorted(requirements, key=lambda r: r.key)))


def _check(requirement: Requirement) -> None:
    for message in names.is_qualified_label_key(requirement.key):
        raise ValueError(
            f"unable to parse requirement: <nil>: Invalid value: {go_quote(requirement.key)}: {message}"
        )
    if requirement.op in ("gt", "lt") and not _INTEGER.fullmatch(requirement.values[0]):
        raise ValueError(
            f"unable to parse requirement: values[0]: Invalid value: {go_quote(requirement.values[0])}: "
            "for 'Gt', 'Lt' operators, the value must be an integer"
        )
    for index, value in enumerate(requirement.values):
        for message in names.is_label_value(value):
            raise ValueError(
                f"unable to parse requirement: values[{index}][{requirement.key}]: Invalid value: "
                f"{go_quote(value)}: {message}"
            )


class _Parser:
    """Upstream's recursive descent, for the sake of its error texts."""

    def __init__(self, text: str) -> None:
        self._tokens = [m[1] or m[2] for m in _TOKEN.finditer(text) if m[1] or m[2]]
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            token = self._peek()
            if not token:
                return found
            if token != "!" and not _is_word(token):
                raise ValueError(f"found '{token}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except _Unparsable as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            separator = self._next()
            if not separator:
                return found
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            following = self._peek()
            if following != "!" and not _is_word(following):
                raise ValueError(f"found '{following}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token = self._next()
        if token == "!":
            key = self._next()
            if not _is_word(key):
                raise _Unparsable(f"found '{key}', expected: identifier")
            return Requirement(key, "!")
        key = token
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        op = self._next()
        if op in _WORD_OPERATORS:
            return Requirement(key, op, self._values())
        if op in ("=", "==", "!="):
            return Requirement(key, op, (self._exact(),))
        if op in ("<", ">"):
            return Requirement(key, "lt" if op == "<" else "gt", (self._exact(),))
        raise _Unparsable(f"found '{op}', expected: in, notin, =, ==, !=, gt, lt")

    def _exact(self) -> str:
        token = self._peek()
        if token in ("", ","):
            return ""
        if not _is_word(token):
            raise _Unparsable(f"found '{token}', expected: identifier")
        return self._next()

    def _values(self) -> tuple[str, ...]:
        token = self._next()
        if token != "(":
            raise _Unparsable(f"found '{token}' expected: '('")
        token = self._peek()
        if token == ")":
            self._next()
            return ("",)
        if token != "," and not _is_word(token):
            raise _Unparsable(f"found '{token}', expected: ',', ')' or identifier")
        values = self._listed()
        self._next()
        return tuple(sorted(values))

    def _listed(self) -> set[str]:
        """Values up to the closing parenthesis; nothing between two commas is the empty value."""
        values: set[str] = set()
        while True:
            token = self._next()
            if token == ",":
                if not values:
                    values.add("")
                following = self._peek()
                if following == ")":
                    return values | {""}
                if following == ",":
                    self._next()
                    values.add("")
                continue
            if not _is_word(token):
                raise _Unparsable(f"found '{token}', expected: ',', or identifier")
            values.add(token)
            following = self._peek()
            if following == ")":
                return values
            if following != ",":
                raise _Unparsable(f"found '{following}', expected: ',' or ')'")


class _Unparsable(ValueError):
    pass


def _is_word(token: str) -> bool:
    return bool(token) and token[0] not in "=!<>,()"


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def from_label_selector(selector: Obj | None) -> Selector:
    """A metav1.LabelSelector: None selects nothing, {} everything. ValueError for an unknown operator."""
    if selector is None:
        return NOTHING
    match_labels: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions: Iterable[Obj] = selector.get("matchExpressions") or ()
    if not match_labels and not expressions:
        return EVERYTHING
    requirements = [Requirement(k, "=", (v,)) for k, v in match_labels.items()]
    for e in expressions:
        operator = _OPERATORS.get(e.get("operator", ""))
        if operator is None:
            raise ValueError(f"{go_quote(e.get('operator', ''))} is not a valid label selector operator")
        requirements.append(Requirement(e.get("key", ""), operator, tuple(e.get("values") or ())))
    return Selector(tuple(sorted(requirements, key=lambda r: r.key)))
