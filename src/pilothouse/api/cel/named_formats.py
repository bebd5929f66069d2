"""Kubernetes' formats by name: `format.dns1123Label().validate(name)` is none, or what is wrong
(k8s.io/apiserver/pkg/cel/library/format.go)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pilothouse.api import formats
from pilothouse.api.cel.evaluate import NONE, Function, Optional
from pilothouse.api.validation import names

_Faults = Callable[[str], list[str]]


class NamedFormat(NamedTuple):
    name: str
    faults: _Faults


def _prefix(faults: _Faults) -> _Faults:
    """What a generated name begins with may end in a dash."""
    return lambda text: faults(text[:-1] + "a" if text.endswith("-") and len(text) > 1 else text)


def _must(name: str, otherwise: str) -> _Faults:
    holds = formats.named(name)
    return lambda text: [] if holds(text) else [otherwise]


def _uri(text: str) -> list[str]:
    if formats.named("uri")(text):
        return []
    return [f'parse "{text}": {"invalid URI for request" if text else "empty url"}']


_FORMATS: dict[str, _Faults] = {
    "dns1123Label": names.is_dns1123_label,
    "dns1123Subdomain": names.is_dns1123_subdomain,
    "dns1035Label": names.is_dns1035_label,
    "qualifiedName": names.is_qualified_name,
    "dns1123LabelPrefix": _prefix(names.is_dns1123_label),
    "dns1123SubdomainPrefix": _prefix(names.is_dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(names.is_dns1035_label),
    "labelValue": names.is_label_value,
    "uri": _uri,
    "uuid": _must("uuid", "does not match the UUID format"),
    "byte": _must("byte", "invalid base64"),
    "date": _must("date", "invalid date"),
    "datetime": _must("date-time", "invalid datetime"),
}


def _named(name: str) -> Optional:
    found = _FORMATS.get(name)
    return Optional(True, NamedFormat(name, found)) if found is not None else NONE


def _validate(given: NamedFormat, text: str) -> Optional:
    wrong = given.faults(text)
    return Optional(True, wrong) if wrong else NONE


def _maker(name: str) -> Function:
    made = NamedFormat(name, _FORMATS[name])
    return lambda: made


FUNCTIONS: dict[str, Function] = {
    "format.named": _named,
    "validate": _validate,
    **{f"format.{name}": _maker(name) for name in _FORMATS},
}
