"""How Go prints a bad value that is an internal struct: by Go's field names, every field, nil as null.

Upstream's validators hand structs of the internal types to `field.Invalid`, and those have no JSON tags. A
`Struct` names such a type's fields in order; `text` prints a dict (in JSON names) as that struct:

    ROLE_REF = struct(APIGroup="", Kind="", Name="")
    text({"kind": "Role", "name": "r"}, ROLE_REF)   {"APIGroup":"","Kind":"Role","Name":"r"}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pilothouse.api import field as f
from pilothouse.api.types import Obj

NULL = f.GoText("null")
"""A nil pointer, slice or map."""


class _Field(NamedTuple):
    go_name: str
    json_name: str
    absent: Any
    inner: Struct | None


@dataclass(frozen=True, slots=True)
class Struct:
    fields: tuple[_Field, ...]


class Maybe(NamedTuple):
    """A pointer to a struct, or a slice of structs: nil when absent."""

    of: Struct


def struct(json: Mapping[str, str] | None = None, **fields: Any) -> Struct:
    """Go's field names in order, each with what it prints as when absent: "" 0 False None, a Struct (which Go
    always writes) or a Maybe. `json`: names that don't follow from Go's."""
    made = []
    for go_name, absent in fields.items():
        json_name = (json or {}).get(go_name) or _lower_camel(go_name)
        if isinstance(absent, Struct):
            made.append(_Field(go_name, json_name, {}, absent))
        elif isinstance(absent, Maybe):
            made.append(_Field(go_name, json_name, None, absent.of))
        else:
            made.append(_Field(go_name, json_name, absent, None))
    return Struct(tuple(made))


def _lower_camel(go_name: str) -> str:
    """`APIGroups` to `apiGroups`, `NodeID` to `nodeID`."""
    head = re.match(r"[A-Z]+(?![a-z])|[A-Z]", go_name)
    return go_name[: head.end()].lower() + go_name[head.end() :] if head else go_name


def text(value: Obj | None, of: Struct) -> f.GoText:
    """A struct as an error text shows it; None is a nil pointer."""
    return NULL if value is None else f.GoText(f.go_json(plain(value, of)))


def plain(value: Any, of: Struct) -> Any:
    """The value that encodes to what Go prints."""
    if isinstance(value, list):
        return [plain(item, of) for item in value]
    if not isinstance(value, dict):
        return value
    out: Obj = {}
    for field in of.fields:
        item = value.get(field.json_name)
        item = field.absent if item is None else item
        out[field.go_name] = plain(item, field.inner) if field.inner is not None else item
    return out
