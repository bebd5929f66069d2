"""The decoder: from parsed JSON to an object in Go round-trip form.

What Go's strict JSON decoding into a type followed by encoding gives: unknown fields are gone (and reported),
nulls are gone, zero values of optional non-pointers are gone, required zeros and empty structs are there,
quantities and times are canonical. A value that does not fit its type raises `Mismatch` with Go's text.

A decoder is built once per type, as nested functions that each know their fields. Paths are put together only
when something is wrong, on the way out.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pilothouse.api import quantity
from pilothouse.api.structure import Field, Type

Decoder = Callable[[Any, list[str]], Any]
"""Value and unknown-field list in; the round-trip form out. Unknown paths are relative to the value and in the
order of the text."""


class Mismatch(ValueError):
    """A value of the wrong JSON type, or one that a Go unmarshaller refuses (`bare` text without a field)."""

    def __init__(self, found: str, wanted: str, bare: str = "") -> None:
        super().__init__()
        self._found = found
        self._wanted = wanted
        self._bare = bare
        self._struct = ""
        self._path: list[str] = []

    def inside(self, struct: str, key: str) -> None:
        """Note the struct field that the value was for; called from the inside out."""
        if not self._struct:
            self._struct = struct
        self._path.insert(0, key)

    def __str__(self) -> str:
        if self._bare:
            return self._bare
        if not self._path:
            return f"json: cannot unmarshal {self._found} into Go value of type {self._wanted}"
        where = f"{self._struct}.{'.'.join(self._path)}"
        return f"json: cannot unmarshal {self._found} into Go struct field {where} of type {self._wanted}"


def json_type(value: Any) -> str:
    """Go's word for a JSON value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


class Decoders:
    """Decoders by type, built when first needed."""

    def __init__(self) -> None:
        self._built: dict[int, Decoder] = {}
        self._keep: list[Type] = []

    def of(self, type_: Type) -> Decoder:
        found = self._built.get(id(type_))
        if found is None:
            self._keep.append(type_)
            if type_.kind == "struct":
                found = self._struct(type_)
            else:
                found = self._built[id(type_)] = self._make(type_)
        return found

    def _make(self, type_: Type) -> Decoder:
        if type_.kind == "list":
            assert type_.element is not None
            return _list(type_, self.of(type_.element))
        if type_.kind == "map":
            assert type_.element is not None
            return _map(type_, self.of(type_.element))
        if type_.kind == "raw" and type_.element is not None:
            return _ALTERNATIVES[type_.name](self.of(type_.element))
        return _SCALARS[type_.kind](type_)

    def _struct(self, type_: Type) -> Decoder:
        """Fields are filled in afterwards: types may refer to themselves."""
        fields: dict[str, tuple[type | None, bool, Decoder]] = {}
        zeros: list[tuple[str, Callable[[], Any]]] = []
        name = type_.name.rpartition(".")[2]
        find = fields.get

        def decode(value: Any, unknown: list[str]) -> Any:
            if type(value) is not dict:
                raise Mismatch(json_type(value), type_.name)
            out: dict[str, Any] = {}
            key = ""
            try:
                for key, raw in value.items():
                    field = find(key)
                    if field is None:
                        unknown.append(key)
                        continue
                    plain, keep, decoder = field
                    found = type(raw)
                    if found is plain and (found is not int or -_INT32 <= raw < _INT32):
                        if raw or keep:
                            out[key] = raw
                        continue
                    if raw is None:
                        continue
                    before = len(unknown)
                    made = decoder(raw, unknown)
                    if len(unknown) > before:
                        for i in range(before, len(unknown)):
                            unknown[i] = key + ("" if unknown[i][:1] == "[" else ".") + unknown[i]
                    if keep or made or made not in _EMPTIES:
                        out[key] = made
            except Mismatch as mismatch:
                mismatch.inside(name, key)
                raise
            for key, zero in zeros:
                if key not in out:
                    out[key] = zero()
            return out

        self._built[id(type_)] = decode
        for key, field in type_.fields.items():
            fields[key] = (_PLAIN.get(field.type.kind), field.required or field.pointer, self.of(field.type))
            zero = _zero(field, self.of(field.type))
            if zero is not None:
                zeros.append((key, zero))
        return decode


_INT32 = 2**31
_PLAIN: dict[str, type] = {"string": str, "integer": int, "boolean": bool}
"""Kinds whose values need no decoder when they have the right Python type (and fit 32 bits)."""

_EMPTIES: tuple[Any, ...] = ("", 0, [], {})
"""Falsy values that Go leaves out of a field with omitempty."""


def _zero(field: Field, decoder: Decoder) -> Callable[[], Any] | None:
    """What Go writes for an absent field; None when it writes nothing."""
    if not field.required:
        return None
    if field.pointer:
        return lambda: None
    kind = field.type.kind
    if kind == "struct":
        return lambda: decoder({}, [])
    if kind in ("list", "map", "raw", "any", "time", "microtime", "bytes"):
        return lambda: None
    zero = {"string": "", "integer": 0, "number": 0, "boolean": False, "quantity": "0", "intorstring": 0}.get(
        kind, ""
    )
    return lambda: zero


def _list(type_: Type, element: Decoder) -> Decoder:
    strings = type_.element is not None and type_.element.kind == "string"

    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is not list:
            raise Mismatch(json_type(value), type_.name)
        if strings and all(type(v) is str for v in value):
            return value
        out = []
        for index, raw in enumerate(value):
            before = len(unknown)
            out.append(element(raw if raw is not None else _null(type_.element), unknown))
            for i in range(before, len(unknown)):
                unknown[i] = f"[{index}].{unknown[i]}"
        return out

    return decode


def _null(element: Type | None) -> Any:
    """A null in a list becomes the element's zero."""
    kind = element.kind if element is not None else "any"
    return {"struct": {}, "map": {}, "list": [], "string": "", "integer": 0, "boolean": False}.get(kind)


def _map(type_: Type, element: Decoder) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is not dict:
            raise Mismatch(json_type(value), type_.name)
        out = {}
        for key, raw in value.items():
            before = len(unknown)
            out[key] = element(raw if raw is not None else _null(type_.element), unknown)
            for i in range(before, len(unknown)):
                unknown[i] = f"{key}.{unknown[i]}"
        return out

    if type_.element is not None and type_.element.kind == "string":

        def decode_strings(value: Any, unknown: list[str]) -> Any:
            if type(value) is dict and all(type(v) is str for v in value.values()):
                return value
            return decode(value, unknown)

        return decode_strings
    return decode


def _string(type_: Type) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is not str:
            raise Mismatch(json_type(value), type_.name)
        return value

    return decode


def _integer(type_: Type) -> Decoder:
    low, high = -(2 ** (type_.bits - 1)), 2 ** (type_.bits - 1)

    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is int and low <= value < high:
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise Mismatch(f"number {_number(value)}", type_.name)
        raise Mismatch(json_type(value), type_.name)

    return decode


def _number(value: float) -> str:
    return repr(value)


def _float(type_: Type) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Mismatch(json_type(value), type_.name)
        return value

    return decode


def _boolean(type_: Type) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is not bool:
            raise Mismatch(json_type(value), type_.name)
        return value

    return decode


def _quantity(type_: Type) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is str:
            text = value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            text = repr(value)
        else:
            raise Mismatch("", "", quantity.FORMAT_ERROR)
        try:
            return quantity.canonical(text.strip())
        except ValueError as error:
            raise Mismatch("", "", str(error)) from None

    return decode


def _int_or_string(type_: Type) -> Decoder:
    integer = _integer(Type("integer", "int32", bits=32))

    def decode(value: Any, unknown: list[str]) -> Any:
        return value if type(value) is str else integer(value, unknown)

    return decode


_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_DATE = r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)"
_ZONE = r"(?:Z|[+-]\d\d:\d\d)"
_RFC3339 = re.compile(_DATE + r"(?:[.,]\d+)?" + _ZONE)
_RFC3339_MICRO = re.compile(_DATE + r"[.,]\d{6}" + _ZONE)
_UTC = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ")
"""Times that are canonical already, but for the last days of months."""
_DATE_PARTS = (
    (r"\d{4}", "2006"),
    ("-", "-"),
    (r"\d\d", "01"),
    ("-", "-"),
    (r"\d\d", "02"),
    ("T", "T"),
    (r"\d\d", "15"),
    (":", ":"),
    (r"\d\d", "04"),
    (":", ":"),
    (r"\d\d", "05"),
)
_PARTS = {
    _LAYOUT: (*_DATE_PARTS, (r"(?:[.,]\d+)?" + _ZONE, "Z07:00")),
    _MICRO_LAYOUT: (*_DATE_PARTS, (r"[.,]\d{6}", ".000000"), (_ZONE, "Z07:00")),
}
_RANGES = (("month", 2, 1, 12), ("hour", 4, 0, 23), ("minute", 5, 0, 59), ("second", 6, 0, 59))


def time_error(text: str, layout: str) -> str:
    """Go's time.Parse error for a text that is no RFC 3339 time."""
    at = 0
    for pattern, part in _PARTS[layout]:
        match = re.compile(pattern).match(text, at)
        if match is None:
            rest = text[at:]
            if part == "Z07:00" and layout == _LAYOUT:
                rest = re.sub(r"^[.,]\d+", "", rest)
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"'
        at = match.end()
    if at < len(text):
        return f'parsing time "{text}": extra text: "{text[at:]}"'
    match = re.match(_DATE, text)
    for name, group, low, high in _RANGES:
        if match is not None and not low <= int(match[group]) <= high:
            return f'parsing time "{text}": {name} out of range'
    return f'parsing time "{text}": day out of range'


def _time(type_: Type) -> Decoder:
    micro = type_.kind == "microtime"
    canonical = _UTC.fullmatch

    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is not str:
            raise Mismatch(json_type(value), "string")
        if not micro and canonical(value):
            return value
        return _normal_time(value, micro)

    return decode


def _normal_time(text: str, micro: bool) -> str:
    form = _RFC3339_MICRO if micro else _RFC3339
    if form.fullmatch(text) is None:
        raise Mismatch("", "", time_error(text, _MICRO_LAYOUT if micro else _LAYOUT))
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise Mismatch("", "", time_error(text, _LAYOUT)) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _bytes(type_: Type) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if type(value) is not str:
            raise Mismatch(json_type(value), type_.name)
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise Mismatch("", "", f"illegal base64 data at input byte {_bad_byte(value)}") from None
        return value

    return decode


_BASE64 = re.compile("[A-Za-z0-9+/]*")


def _bad_byte(text: str) -> int:
    match = _BASE64.match(text)
    end = match.end() if match else 0
    return end if end < len(text) else len(text) // 4 * 4


def _raw(type_: Type) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        return value

    return decode


# JSON schemas that may stand for something else. Their Go types unmarshal themselves, and so never strictly:
# unknown fields inside are dropped without a word, and errors don't name the fields on the way.


def _nested(value: Any, decoder: Decoder) -> Any:
    try:
        return decoder(value, [])
    except Mismatch as mismatch:
        raise Mismatch("", "", str(mismatch)) from None


def _schema_or_array(schema: Decoder) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if isinstance(value, list):
            return [_nested(item if item is not None else {}, schema) for item in value] or None
        return _nested(value, schema) if isinstance(value, dict) else None

    return decode


def _schema_or_bool(schema: Decoder) -> Decoder:
    def decode(value: Any, unknown: list[str]) -> Any:
        if isinstance(value, dict):
            return _nested(value, schema)
        if not isinstance(value, bool):
            raise Mismatch("", "", "boolean or JSON schema expected")
        return value

    return decode


def _schema_or_strings(schema: Decoder) -> Decoder:
    strings = _list(
        Type("list", "[]string", element=Type("string", "string")), _string(Type("string", "string"))
    )

    def decode(value: Any, unknown: list[str]) -> Any:
        if isinstance(value, list):
            return _nested(value, strings) or None
        return _nested(value, schema) if isinstance(value, dict) else None

    return decode


_ALTERNATIVES: dict[str, Callable[[Decoder], Decoder]] = {
    "v1.JSONSchemaPropsOrArray": _schema_or_array,
    "v1.JSONSchemaPropsOrBool": _schema_or_bool,
    "v1.JSONSchemaPropsOrStringArray": _schema_or_strings,
}

_SCALARS: dict[str, Callable[[Type], Decoder]] = {
    "string": _string,
    "duration": _string,
    "integer": _integer,
    "number": _float,
    "boolean": _boolean,
    "quantity": _quantity,
    "intorstring": _int_or_string,
    "time": _time,
    "microtime": _time,
    "bytes": _bytes,
    "raw": _raw,
    "any": _raw,
}
