"""Field selectors (k8s.io/apimachinery/pkg/fields): `status.phase=Running,spec.nodeName!=`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pilothouse.kit.caching import cached_texts


class Term(NamedTuple):
    field: str
    value: str
    equal: bool


class Selector(NamedTuple):
    terms: tuple[Term, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.terms

    def field_names(self) -> list[str]:
        return [t.field for t in self.terms]

    def matches(self, values: Mapping[str, str]) -> bool:
        return all((values.get(t.field, "") == t.value) == t.equal for t in self.terms)


@cached_texts(1024)
def parse(text: str) -> Selector:
    """ValueError in upstream's words for what cannot be understood."""
    terms = []
    for part in _split(text):
        if not part:
            continue
        terms.append(_term(part, text))
    return Selector(tuple(terms))


def _term(part: str, text: str) -> Term:
    for at in range(len(part)):
        for operator in ("!=", "==", "="):
            if part.startswith(operator, at):
                value = _unescape(part[at + len(operator) :])
                return Term(part[:at], value, operator != "!=")
    raise ValueError(f"invalid selector: '{text}'; can't understand '{part}'")


def _split(text: str) -> Iterator[str]:
    """At commas that no backslash escapes."""
    start = at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == ",":
            yield text[start:at]
            start = at + 1
        at += 1
    yield text[start:]


def _unescape(text: str) -> str:
    if not any(c in text for c in "\\,="):
        return text
    out, at = [], 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
            char = text[at : at + 1]
            if char not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{char}")
        elif char in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(char)}")
        out.append(char)
        at += 1
    return "".join(out)


def required_name(text: str) -> str:
    """The object name that a selector pins with `metadata.name=`; "" otherwise or when it is no selector."""
    try:
        selector = parse(text)
    except ValueError:
        return ""
    for term in selector.terms:
        if term.field == "metadata.name" and term.equal:
            return term.value
    return ""
