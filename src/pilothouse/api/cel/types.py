"""CEL's types, and how error texts print them (cel-go's common/types and checker/format.go)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CelType:
    """`kind` groups types that behave alike: scalar (by name), list, map, optional, type, struct, opaque,
    param, dyn, any, error, null. `name` is what CEL calls it."""

    kind: str
    name: str
    parameters: tuple[CelType, ...] = ()

    def __str__(self) -> str:
        """As `must evaluate to …` prints it."""
        if not self.parameters:
            return self.name
        return f"{self.name}({', '.join(str(p) for p in self.parameters)})"


def format_type(cel_type: CelType) -> str:
    """As the checker's errors print it."""
    if cel_type.name in _SHORT:
        return _SHORT[cel_type.name]
    if not cel_type.parameters:
        return cel_type.name
    return f"{cel_type.name}({', '.join(format_type(p) for p in cel_type.parameters)})"


BOOL = CelType("scalar", "bool")
INT = CelType("scalar", "int")
UINT = CelType("scalar", "uint")
DOUBLE = CelType("scalar", "double")
STRING = CelType("scalar", "string")
BYTES = CelType("scalar", "bytes")
DURATION = CelType("scalar", "google.protobuf.Duration")
TIMESTAMP = CelType("scalar", "google.protobuf.Timestamp")
NULL = CelType("null", "null_type")
DYN = CelType("dyn", "dyn")
ANY = CelType("any", "any")
ERROR = CelType("error", "*error*")

_SHORT = {
    DURATION.name: "duration",
    TIMESTAMP.name: "timestamp",
    NULL.name: "null",
    ERROR.name: "!error!",
}


def list_of(element: CelType) -> CelType:
    return CelType("list", "list", (element,))


def map_of(key: CelType, value: CelType) -> CelType:
    return CelType("map", "map", (key, value))


def optional_of(inner: CelType) -> CelType:
    return CelType("optional", "optional_type", (inner,))


def type_of(inner: CelType) -> CelType:
    return CelType("type", "type", (inner,))


def struct(name: str) -> CelType:
    return CelType("struct", name)


def opaque(name: str) -> CelType:
    return CelType("opaque", name)


def param(name: str) -> CelType:
    return CelType("param", name)


Fields = Mapping[str, CelType] | Callable[[str], CelType | None]
"""A struct's fields by name, or a function that finds one (None: there is none)."""


def field_of(fields: Fields, name: str) -> CelType | None:
    return fields(name) if callable(fields) else fields.get(name)
