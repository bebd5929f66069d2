"""Kubernetes' protobuf encoding of built-in kinds, from and to the JSON form of objects.

A body is four bytes `k8s\\0` and a `runtime.Unknown` whose `raw` holds the object
(https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding). The fields of all messages
are data (`data/protobuf.json`: number, type, o(ne) or r(epeated), from the published .proto files of
Kubernetes 1.36). Proto messages nest what Go inlines (a volume's source): a field that the JSON schema does
not know is spread into its parent.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from typing import Any, NamedTuple

import msgspec

from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.types import Obj

MAGIC = b"k8s\0"
_UNKNOWN = "k8s.io.apimachinery.pkg.runtime.Unknown"
_META = "k8s.io.apimachinery.pkg.apis.meta.v1."

_json = msgspec.json.Decoder().decode


class _Field(NamedTuple):
    name: str
    number: int
    type: str
    repeated: bool


class Codec:
    """Reads and writes the messages of one version's definitions; tables are made when first used."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._table: dict[str, dict[str, list[Any]]] | None = None
        self._by_number: dict[str, dict[int, _Field]] = {}
        self._known: dict[str, frozenset[str]] = {}

    def _messages(self) -> dict[str, dict[str, list[Any]]]:
        if self._table is None:
            data = resources.files("pilothouse.api").joinpath("data/protobuf.json").read_bytes()
            self._table = msgspec.json.decode(data)
        return self._table

    def decode(self, body: bytes) -> Obj:
        """A body's object with kind and apiVersion. ValueError for what is no such body."""
        if not body.startswith(MAGIC):
            raise ValueError(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
            )
        unknown = self._read(_UNKNOWN, memoryview(body)[4:])
        meta = unknown.get("typeMeta") or {}
        kind, api_version = meta.get("kind", ""), meta.get("apiVersion", "")
        message = self.message(api_version, kind)
        if message is None:
            raise ValueError(f'no kind "{kind}" is registered for version "{api_version}"')
        obj = self._read(message, memoryview(base64.b64decode(unknown.get("raw", ""))))
        return {"kind": kind, "apiVersion": api_version, **obj}

    def message(self, api_version: str, kind: str) -> str | None:
        """The message of a kind; options and other meta kinds are the same in every group."""
        group, _, version = api_version.rpartition("/")
        definition = self._definitions.by_kind(group, version, kind)
        if definition is not None and not definition.startswith("io.k8s.apimachinery.pkg.apis.meta"):
            return _message_name(definition)
        return _META + kind if _META + kind in self._messages() else None

    def _fields(self, message: str) -> dict[int, _Field]:
        found = self._by_number.get(message)
        if found is None:
            table = self._messages()[message]
            found = self._by_number[message] = {
                f[0]: _Field(name, f[0], f[1], f[2] == "r") for name, f in table.items()
            }
        return found

    def _properties(self, message: str) -> frozenset[str] | None:
        """The JSON fields of a message, None when no schema says."""
        if message not in self._known:
            schema = self._definitions.schemas.get(_definition_name(message))
            self._known[message] = frozenset(schema.properties) if schema is not None else frozenset()
        return self._known[message] or None

    # -- reading ----------------------------------------------------------------------------------------

    def _read(self, message: str, data: memoryview) -> Obj:
        fields = self._fields(message)
        properties = self._properties(message)
        package = message.rpartition(".")[0]
        out: Obj = {}
        at, end = 0, len(data)
        while at < end:
            tag, at = _varint(data, at)
            value, at = _value(data, at, tag & 7)
            field = fields.get(tag >> 3)
            if field is None:
                continue
            if field.type.startswith("map<"):
                key, item = self._map_entry(field.type, package, value)
                out.setdefault(field.name, {})[key] = item
                continue
            made = self._one(field.type, package, value)
            if field.repeated:
                out.setdefault(field.name, []).append(made)
            elif properties is not None and field.name not in properties and isinstance(made, dict):
                out.update(made)
            else:
                out[field.name] = made
        return out

    def _map_entry(self, type_: str, package: str, data: Any) -> tuple[str, Any]:
        value_type = type_[4:-1].partition(",")[2].strip().lstrip(".")
        key, item = "", self._zero(value_type)
        at = 0
        while at < len(data):
            tag, at = _varint(data, at)
            value, at = _value(data, at, tag & 7)
            if tag >> 3 == 1:
                key = bytes(value).decode()
            else:
                item = self._one(value_type, package, value)
        return key, item

    def _zero(self, type_: str) -> Any:
        return {"string": "", "bytes": "", "int32": 0, "int64": 0, "bool": False}.get(type_, {})

    def _one(self, type_: str, package: str, value: Any) -> Any:
        scalar = _READ.get(type_)
        if scalar is not None:
            return scalar(value)
        name = type_ if "." in type_ else f"{package}.{type_}"
        special = _READ_SPECIAL.get(name.rpartition(".")[2])
        if special is not None:
            return special(self._read_plain(name, value))
        return self._read(name, value)

    def _read_plain(self, message: str, data: memoryview) -> Obj:
        """A message as it stands, nothing spread."""
        fields, at = self._fields(message), 0
        out: Obj = {}
        package = message.rpartition(".")[0]
        while at < len(data):
            tag, at = _varint(data, at)
            value, at = _value(data, at, tag & 7)
            field = fields.get(tag >> 3)
            if field is None:
                continue
            made = self._one(field.type, package, value)
            if field.repeated:
                out.setdefault(field.name, []).append(made)
            else:
                out[field.name] = made
        return out


def _message_name(definition: str) -> str:
    """`k8s.io.api.apps.v1.Deployment` of `io.k8s.api.apps.v1.Deployment`."""
    name = definition.replace("io.k8s.", "k8s.io.", 1)
    return name.replace("apiextensions-apiserver", "apiextensions_apiserver").replace(
        "kube-aggregator", "kube_aggregator"
    )


def _definition_name(message: str) -> str:
    name = message.replace("k8s.io.", "io.k8s.", 1)
    return name.replace("apiextensions_apiserver", "apiextensions-apiserver").replace(
        "kube_aggregator", "kube-aggregator"
    )


def _varint(data: Any, at: int) -> tuple[int, int]:
    shift = result = 0
    while True:
        if at >= len(data):
            raise ValueError("unexpected EOF")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7
        if shift > 63:
            raise ValueError("proto: integer overflow")


def _value(data: Any, at: int, wire: int) -> tuple[Any, int]:
    if wire == 0:
        return _varint(data, at)
    if wire == 2:
        length, at = _varint(data, at)
        if at + length > len(data):
            raise ValueError("unexpected EOF")
        return data[at : at + length], at + length
    width = {1: 8, 5: 4}.get(wire)
    if width is None or at + width > len(data):
        raise ValueError(f"proto: illegal wireType {wire}")
    return data[at : at + width], at + width


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _text(value: Any) -> str:
    return bytes(value).decode()


_READ: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "bytes": lambda v: base64.b64encode(bytes(v)).decode(),
    "bool": bool,
    "int32": _signed,
    "int64": _signed,
    "double": lambda v: struct.unpack("<d", bytes(v))[0],
}


def _time(fields: Obj, *, micro: bool = False) -> str | None:
    seconds, nanos = fields.get("seconds"), fields.get("nanos", 0)
    if seconds is None and not nanos:
        return None
    moment = datetime.fromtimestamp(seconds or 0, UTC)
    if micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{nanos // 1000:06d}Z"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _raw(fields: Obj) -> Any:
    data = base64.b64decode(fields.get("raw") or fields.get("Raw") or "")
    return _json(data) if data else None


def _int_or_string(fields: Obj) -> Any:
    return fields.get("strVal", "") if fields.get("type") == 1 else fields.get("intVal", 0)


def _duration(fields: Obj) -> str:
    """Go's Duration.String for whole seconds and fractions of them."""
    nanos = fields.get("duration", 0)
    seconds, rest = divmod(abs(nanos), 10**9)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    fraction = f"{rest / 10**9:.9f}".rstrip("0").lstrip("0") if rest else ""
    return ("-" if nanos < 0 else "") + f"{text}{seconds}{fraction if fraction != '.' else ''}s"


def _or_bool(fields: Obj) -> Any:
    return fields["schema"] if "schema" in fields else bool(fields.get("allows"))


_READ_SPECIAL: dict[str, Callable[[Obj], Any]] = {
    "Quantity": lambda f: f.get("string", "0"),
    "IntOrString": _int_or_string,
    "Time": _time,
    "MicroTime": lambda f: _time(f, micro=True),
    "Duration": _duration,
    "RawExtension": _raw,
    "FieldsV1": _raw,
    "JSON": _raw,
    "Verbs": lambda f: f.get("items", []),
    "ExtraValue": lambda f: f.get("items", []),
    "JSONSchemaPropsOrBool": _or_bool,
    "JSONSchemaPropsOrArray": lambda f: f.get("schema") or f.get("jSONSchemas", []),
    "JSONSchemaPropsOrStringArray": lambda f: f.get("schema") or f.get("property", []),
}
