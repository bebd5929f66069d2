"""Formats that nobody checks are worth a warning
(k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go GetUnrecognizedFormats)."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions import internal
from pilothouse.api.validation.apiextensions.props import Schema, type_of, walk

_STRINGS = frozenset(
    (
        "bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4",
        "uuid5", "isbn", "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "byte", "password",
        "date", "duration", "datetime", "quantity", "k8sshortname", "k8slongname",
    )
)  # fmt: skip
"""Of strings and of untyped values, without their hyphens."""
_NUMBERS = {"integer": ("int32", "int64"), "number": ("float", "double")}


def warnings(obj: Obj, old: Obj | None) -> list[str]:
    """Each unknown format once; an update is told of new ones alone."""
    known = set(_unrecognized(old)) if old is not None else set()
    found = dict.fromkeys(_unrecognized(obj))
    return [f'unrecognized format "{name}"' for name in found if name not in known]


def _unrecognized(obj: Obj) -> list[str]:
    schemas = internal.schemas(internal.spec(obj["spec"]))
    return [s["format"] for schema in schemas for s in walk(schema) if s.get("format") and not _is_known(s)]


def _is_known(schema: Schema) -> bool:
    kind, name = type_of(schema), schema["format"]
    if kind in ("", "string"):
        return name.replace("-", "") in _STRINGS
    return name in _NUMBERS.get(kind, ())
