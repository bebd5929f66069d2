"""Field errors, as k8s.io/apimachinery/pkg/util/validation/field prints them.

A path is a plain string ("spec.containers[0].name"): validators extend it only where they descend. The
texts matter: `kubectl` prints them to people and clients match on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NamedTuple

import msgspec


class ErrorType(Enum):
    """Value is the `reason` of a Status cause; see TEXT for what people read."""

    NOT_FOUND = "FieldValueNotFound"
    REQUIRED = "FieldValueRequired"
    DUPLICATE = "FieldValueDuplicate"
    INVALID = "FieldValueInvalid"
    NOT_SUPPORTED = "FieldValueNotSupported"
    FORBIDDEN = "FieldValueForbidden"
    TOO_LONG = "FieldValueTooLong"
    TOO_MANY = "FieldValueTooMany"
    INTERNAL = "InternalError"
    TYPE_INVALID = "FieldValueTypeInvalid"


TEXT = {
    ErrorType.NOT_FOUND: "Not found",
    ErrorType.REQUIRED: "Required value",
    ErrorType.DUPLICATE: "Duplicate value",
    ErrorType.INVALID: "Invalid value",
    ErrorType.NOT_SUPPORTED: "Unsupported value",
    ErrorType.FORBIDDEN: "Forbidden",
    ErrorType.TOO_LONG: "Too long",
    ErrorType.TOO_MANY: "Too many",
    ErrorType.INTERNAL: "Internal error",
    ErrorType.TYPE_INVALID: "Invalid value",
}

_WITHOUT_VALUE = {ErrorType.REQUIRED, ErrorType.FORBIDDEN, ErrorType.TOO_LONG, ErrorType.INTERNAL}


class FieldError(NamedTuple):
    type: ErrorType
    field: str
    value: Any
    detail: str

    def body(self) -> str:
        """The text without the field: `Invalid value: -1: must be …`."""
        text = TEXT[self.type]
        if self.type not in _WITHOUT_VALUE and self.value is not OMITTED:
            text += ": " + go_value(self.value)
        return f"{text}: {self.detail}" if self.detail else text

    def __str__(self) -> str:
        return f"{self.field}: {self.body()}"


Errors = list[FieldError]


def go_value(value: Any) -> str:
    """A bad value as upstream prints it: strings quoted, maps and lists as JSON, nil as null."""
    if isinstance(value, str):
        return go_quote(value)
    if isinstance(value, GoText):
        return value.text
    return go_json(value)


_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def go_json(value: Any) -> str:
    """JSON as Go's json.Marshal writes it: compact, and safe inside HTML."""
    return msgspec.json.encode(value).decode().translate(_HTML)


class GoText(NamedTuple):
    """A bad value whose printed form is given: a Go struct printed by field name, a nil pointer, …"""

    text: str


OMITTED = GoText("")
"""A bad value that upstream does not print (field.OmitValueType)."""


def go_quote(text: str) -> str:
    """Go's %q: a double-quoted string with Go escapes."""
    out = ['"']
    for ch in text:
        code = ord(ch)
        if ch in '"\\':
            out.append("\\" + ch)
        elif ch in _ESCAPES:
            out.append(_ESCAPES[ch])
        elif ch.isprintable():
            out.append(ch)
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        elif code < 0x10000:
            out.append(f"\\u{code:04x}")
        else:
            out.append(f"\\U{code:08x}")
    out.append('"')
    return "".join(out)


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def required(field: str, detail: str = "") -> FieldError:
    return FieldError(ErrorType.REQUIRED, field, "", detail)


def invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(ErrorType.INVALID, field, value, detail)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> FieldError:
    """`supported` is printed in the order given; upstream sorts where the set comes from a Go set."""
    values = ", ".join(go_quote(v) for v in supported)
    return FieldError(ErrorType.NOT_SUPPORTED, field, value, f"supported values: {values}" if values else "")


def forbidden(field: str, detail: str) -> FieldError:
    return FieldError(ErrorType.FORBIDDEN, field, "", detail)


def duplicate(field: str, value: Any) -> FieldError:
    return FieldError(ErrorType.DUPLICATE, field, value, "")


def not_found(field: str, value: Any) -> FieldError:
    return FieldError(ErrorType.NOT_FOUND, field, value, "")


def too_long(field: str, value: Any, length_max: int) -> FieldError:
    """`length_max` counts bytes; upstream does not print the value."""
    return FieldError(ErrorType.TOO_LONG, field, value, f"may not be more than {length_max} bytes")


def too_many(field: str, count: int, count_max: int) -> FieldError:
    return FieldError(ErrorType.TOO_MANY, field, count, f"must have at most {count_max} items")


def internal(field: str, detail: str) -> FieldError:
    return FieldError(ErrorType.INTERNAL, field, "", detail)


def type_invalid(field: str, value: Any, detail: str) -> FieldError:
    return FieldError(ErrorType.TYPE_INVALID, field, value, detail)


def aggregate(errors: Sequence[FieldError]) -> str:
    """The text of several errors (utilerrors.Aggregate): one bare, several in brackets, repeats once."""
    texts = list(dict.fromkeys(str(e) for e in errors))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
