"""Kubernetes' protobuf encoding, to and from objects as JSON has them.

A body is the four bytes `k8s\\0` and a `runtime.Unknown` that names the kind and holds the object's message.
Messages are described by data/protobuf.json (made by tools/protobuf_table.py): `jsonName number code;…`, the
codes being

    s string    b bool    i int32, int64    d double    y bytes (base64 in JSON)
    q Quantity  t Time    u MicroTime       x IntOrString    r JSON held as bytes
    w a message that wraps a list of strings
    A, B, C     JSONSchemaPropsOrArray, …OrBool, …OrStringArray
    anything else: a message; before a code `*` is "repeated" and `%` "map from string";
    the name `=` is an embedded struct, whose fields stand in the JSON object around it

What is decoded may hold zeros that JSON would not; the schema's decoder drops those, as for a JSON body.
Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf and the generated.proto files.
"""

from __future__ import annotations

import base64
import importlib.resources
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import msgspec

from pilothouse.api.schema import nesting
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import short_name
from pilothouse.api.types import Obj

MAGIC = b"k8s\x00"
_META_GROUPS = ("", "meta.k8s.io")
_META_KINDS = frozenset(
    ("CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PartialObjectMetadata",
     "PartialObjectMetadataList", "PatchOptions", "Status", "UpdateOptions", "WatchEvent")
)  # fmt: skip
"""Kinds of meta/v1 that go under either group."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

Writer = Callable[[Any], bytes]
"""A JSON value to a field's content: a varint, eight bytes, or what a length stands before."""
Reader = Callable[[Any], Any]
"""The reverse; its argument is an int (varint) or bytes."""


class _Code:
    """How one type is written and read. `wire` is the protobuf wire type."""

    __slots__ = ("read", "wire", "write")

    def __init__(self, wire: int, write: Writer, read: Reader) -> None:
        self.wire = wire
        self.write = write
        self.read = read


def varint(value: int) -> bytes:
    """Base 128, lowest group first; negative numbers as 64-bit two's complement."""
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, content) of a message. ValueError when it is cut short."""
    at, end = 0, len(data)
    while at < end:
        key, at = _read_varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, at = _read_varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"proto: illegal wireType {wire}")
        if at + size > end:
            raise ValueError("unexpected EOF")
        yield key >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    try:
        byte = data[at]
        if byte < 0x80:
            return byte, at + 1
        value, shift = byte & 0x7F, 7
        while True:
            at += 1
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + 1
            shift += 7
            if shift > 63:
                raise ValueError("proto: integer overflow")
    except IndexError:
        raise ValueError("unexpected EOF") from None


def _block(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _write_time(text: str) -> bytes:
    moment = datetime.fromisoformat(text) - _EPOCH
    seconds = moment.days * 86400 + moment.seconds
    return b"\x08" + varint(seconds) + b"\x10" + varint(moment.microseconds * 1000)


def _read_time(data: bytes, *, micro: bool) -> str | None:
    if not data:
        return None
    seconds = nanos = 0
    for number, value in fields(data):
        if number == 1:
            seconds = _signed(value)  # type: ignore[arg-type]
        elif number == 2:
            nanos = _signed(value)  # type: ignore[arg-type]
    moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _write_int_or_string(value: int | str) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + _block(b"\x1a", value.encode())
    return b"\x08\x00\x10" + varint(value) + b"\x1a\x00"


def _read_int_or_string(data: bytes) -> int | str:
    found: dict[int, Any] = dict(fields(data))
    if found.get(1):
        return str(found.get(3, b""), "utf-8")
    return _signed(found.get(2, 0))


def _first(data: bytes) -> bytes:
    """The content of the only field of a message."""
    for _, value in fields(data):
        return value  # type: ignore[return-value]
    return b""


def _write_wrapped(values: list[str]) -> bytes:
    return b"".join([_block(b"\x0a", v.encode()) for v in values])


def _read_raw(data: bytes) -> Any:
    content = _first(data)
    return msgspec.json.decode(content) if content else None


def _text(data: bytes) -> str:
    return str(data, "utf-8")


_CODES: dict[str, _Code] = {
    "s": _Code(_BYTES, str.encode, _text),
    "b": _Code(_VARINT, lambda v: b"\x01" if v else b"\x00", bool),
    "i": _Code(_VARINT, varint, _signed),
    "d": _Code(_FIXED64, lambda v: struct.pack("<d", v), lambda data: struct.unpack("<d", data)[0]),
    "y": _Code(_BYTES, base64.b64decode, lambda data: base64.b64encode(data).decode()),
    "q": _Code(_BYTES, lambda v: _block(b"\x0a", str(v).encode()), lambda data: _text(_first(data)) or "0"),
    "t": _Code(_BYTES, _write_time, lambda data: _read_time(data, micro=False)),
    "u": _Code(_BYTES, _write_time, lambda data: _read_time(data, micro=True)),
    "x": _Code(_BYTES, _write_int_or_string, _read_int_or_string),
    "r": _Code(_BYTES, lambda v: _block(b"\x0a", msgspec.json.encode(v)), _read_raw),
    "w": _Code(_BYTES, _write_wrapped, lambda data: [_text(v) for _, v in fields(data)]),  # type: ignore[arg-type]
}


_MALFORMED = (TypeError, IndexError, AttributeError, OverflowError, RecursionError, struct.error)
"""What readers trip over when a field has another wire type than its number says."""


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    path = importlib.resources.files("pilothouse.api") / "data" / "protobuf.json"
    table: dict[str, str] = msgspec.json.decode(path.read_bytes())
    return table


class _Message:
    """One message's codec; its fields are looked up when it is first used, so that messages may be cyclic."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._ready = False
        self._writers: dict[str, Writer] = {}
        self._readers: dict[int, Callable[[Obj, Any], None]] = {}
        self._embedded: list[tuple[bytes, _Message]] = []
        self._outer: dict[str, int] = {}

    def names(self) -> set[str]:
        """The JSON names of its fields, embedded ones included."""
        self._prepare()
        return {*self._writers, *self._outer}

    def write(self, value: Obj) -> bytes:
        if not self._ready:
            self._prepare()
        parts = []
        inner: dict[int, Obj] = {}
        for key, item in value.items():
            if item is None:
                continue
            writer = self._writers.get(key)
            if writer is not None:
                parts.append(writer(item))
            elif key in self._outer:
                inner.setdefault(self._outer[key], {})[key] = item
        for index, held in inner.items():
            tag, message = self._embedded[index]
            parts.append(_block(tag, message.write(held)))
        return b"".join(parts)

    def read(self, data: bytes) -> Obj:
        if not self._ready:
            self._prepare()
        out: Obj = {}
        for number, content in fields(data):
            reader = self._readers.get(number)
            if reader is None:
                continue
            try:
                reader(out, content)
            except (TypeError, AttributeError, struct.error, OverflowError) as error:
                raise ValueError(f"proto: wrong wireType for field {number} of {self._name}") from error
        return out

    def _prepare(self) -> None:
        self._ready = True
        for row in filter(None, _table()[self._name].split(";")):
            name, number, code = row.split(" ")
            if name == "=":
                self._embed(int(number), _message(code))
            else:
                self._add(name, int(number), code)

    def _embed(self, number: int, message: _Message) -> None:
        index = len(self._embedded)
        self._embedded.append((varint(number << 3 | _BYTES), message))
        self._outer.update(dict.fromkeys(message.names(), index))

        def read(out: Obj, data: Any) -> None:
            out.update(message.read(data))

        self._readers[number] = read

    def _add(self, name: str, number: int, code: str) -> None:
        repeated, mapped = code[0] == "*", code[0] == "%"
        one = _code(code[1:] if repeated or mapped else code)
        tag = varint(number << 3 | (_BYTES if mapped else one.wire))
        if mapped:
            self._writers[name] = _map_writer(tag, one)
            self._readers[number] = _map_reader(name, one)
        elif repeated:
            self._writers[name] = _list_writer(tag, one)
            self._readers[number] = _list_reader(name, one)
        else:
            self._writers[name] = _writer(tag, one)
            self._readers[number] = _reader(name, one)


def _writer(tag: bytes, code: _Code) -> Writer:
    write = code.write
    if code.wire == _BYTES:
        return lambda value: _block(tag, write(value))
    return lambda value: tag + write(value)


def _reader(name: str, code: _Code) -> Callable[[Obj, Any], None]:
    read = code.read

    def store(out: Obj, content: Any) -> None:
        value = read(content)
        if value is not None:
            out[name] = value

    return store


def _list_writer(tag: bytes, code: _Code) -> Writer:
    one = _writer(tag, code)
    return lambda values: b"".join([one(v) for v in values])


def _list_reader(name: str, code: _Code) -> Callable[[Obj, Any], None]:
    read = code.read

    def store(out: Obj, content: Any) -> None:
        out.setdefault(name, []).append(read(content))

    return store


def _map_writer(tag: bytes, code: _Code) -> Writer:
    one = _writer(varint(2 << 3 | code.wire), code)
    return lambda values: b"".join(
        [_block(tag, _block(b"\x0a", k.encode()) + one(v)) for k, v in values.items() if v is not None]
    )


def _map_reader(name: str, code: _Code) -> Callable[[Obj, Any], None]:
    read = code.read
    empty = 0 if code.wire == _VARINT else b""

    def store(out: Obj, content: Any) -> None:
        key, value = "", empty
        for number, part in fields(content):
            if number == 1:
                key = _text(part)  # type: ignore[arg-type]
            elif number == 2:
                value = part
        out.setdefault(name, {})[key] = read(value)

    return store


@cache
def _message(name: str) -> _Message:
    return _Message(name)


@cache
def _code(code: str) -> _Code:
    if code in _ALTERNATIVES:
        return _ALTERNATIVES[code]
    known = _CODES.get(code)
    if known is not None:
        return known
    message = _message(code)
    return _Code(_BYTES, message.write, message.read)


_PROPS = "apiextensions.v1.JSONSchemaProps"


def _write_or_array(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join([_block(b"\x12", _message(_PROPS).write(v)) for v in value])
    return _block(b"\x0a", _message(_PROPS).write(value))


def _read_or_array(data: bytes) -> Any:
    found = list(fields(data))
    schemas = [_message(_PROPS).read(v) for _, v in found if isinstance(v, bytes)]
    return schemas[0] if found and found[0][0] == 1 else schemas


def _write_or_bool(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"\x08\x01" if value else b"\x08\x00"
    return b"\x08\x01" + _block(b"\x12", _message(_PROPS).write(value))


def _read_or_bool(data: bytes) -> Any:
    found: dict[int, Any] = dict(fields(data))
    return _message(_PROPS).read(found[2]) if 2 in found else bool(found.get(1))


def _write_or_strings(value: Any) -> bytes:
    if isinstance(value, list):
        return b"".join([_block(b"\x12", v.encode()) for v in value])
    return _block(b"\x0a", _message(_PROPS).write(value))


def _read_or_strings(data: bytes) -> Any:
    found = list(fields(data))
    if found and found[0][0] == 1:
        return _message(_PROPS).read(found[0][1])  # type: ignore[arg-type]
    return [_text(v) for _, v in found if isinstance(v, bytes)]


_ALTERNATIVES = {
    "A": _Code(_BYTES, _write_or_array, _read_or_array),
    "B": _Code(_BYTES, _write_or_bool, _read_or_bool),
    "C": _Code(_BYTES, _write_or_strings, _read_or_strings),
}


class Codec:
    """The encoding of the built-in kinds of one version."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def knows(self, group: str, version: str, kind: str) -> bool:
        """Whether a kind has a message (custom resources have none)."""
        return self._named(group, version, kind) is not None

    def _named(self, group: str, version: str, kind: str) -> str | None:
        definition = self._definitions.by_kind(group, version, kind)
        if definition is None:
            return f"meta.v1.{kind}" if group in _META_GROUPS and kind in _META_KINDS else None
        name = short_name(definition)
        return name if name in _table() else None

    def encode(self, obj: Obj) -> bytes:
        """A whole body. KeyError for a kind without a message."""
        api_version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
        group, _, version = api_version.rpartition("/")
        name = self._named(group, version, kind)
        if name is None:
            raise KeyError(kind)
        identity = _block(b"\x0a", api_version.encode()) + _block(b"\x12", kind.encode())
        raw = _message(name).write(obj)
        return MAGIC + _block(b"\x0a", identity) + _block(b"\x12", raw) + b"\x1a\x00\x22\x00"

    def decode(self, body: bytes, api_version: str = "", kind: str = "") -> Obj:
        """The object of a body; `api_version` and `kind` stand in where it names none. ValueError in
        upstream's words for what is no such body or no known kind."""
        if not body.startswith(MAGIC):
            expected = " ".join(str(b) for b in MAGIC)
            raise ValueError(
                f"provided data does not appear to be a protobuf message, expected prefix [{expected}]"
            )
        if len(body) == len(MAGIC):
            raise ValueError("empty body")
        try:
            obj = self._decode(body[len(MAGIC) :], api_version, kind)
        except _MALFORMED:
            raise ValueError("proto: wrong wireType") from None
        too_deep = nesting.exceeded(obj)
        if too_deep:
            raise ValueError(too_deep)
        return obj

    def _decode(self, message: bytes, api_version: str, kind: str) -> Obj:
        raw = b""
        for number, content in fields(message):
            if number == 1:
                named: dict[int, Any] = dict(fields(content))  # type: ignore[arg-type]
                api_version = _text(named.get(1, b"")) or api_version
                kind = _text(named.get(2, b"")) or kind
            elif number == 2 and isinstance(content, bytes):
                raw = content
        group, _, version = api_version.rpartition("/")
        name = self._named(group, version, kind)
        if name is None:
            raise ValueError(f'no kind "{kind}" is registered for version "{api_version}"')
        return {"kind": kind, "apiVersion": api_version, **_message(name).read(raw)}

    def watch_frame(self, type_: str, encoded: bytes) -> bytes:
        """One frame of a watch: four bytes of length and a WatchEvent around an encoded body."""
        event = _block(b"\x0a", type_.encode()) + _block(b"\x12", _block(b"\x0a", encoded))
        return len(event).to_bytes(4, "big") + event
