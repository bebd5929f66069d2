"""The spine of a schema (pkg/apiserver/schema/structural.go): only what says where values lie. What a value
must be stays in `raw`.

A schema that got this far was validated when its definition was written, so reading it asks no questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JsonSchema = Mapping[str, Any]

META_FIELDS = frozenset(("apiVersion", "kind", "metadata"))
"""What every resource has, the root and embedded ones: never pruned and not the schema's to describe."""


@dataclass(eq=False, slots=True)
class Structural:
    """One node. `additional` is the schema of keys that have no property of their own; True for any value,
    None when there may be none."""

    raw: JsonSchema
    type: str = ""
    """"" for int-or-string and untyped nodes."""
    properties: dict[str, Structural] = field(default_factory=dict)
    items: Structural | None = None
    additional: Structural | Literal[True] | None = None
    nullable: bool = False
    default: Any = None
    preserve_unknown: bool = False
    embedded: bool = False
    int_or_string: bool = False
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    map_type: str = ""
    validations: tuple[JsonSchema, ...] = ()

    @property
    def described(self) -> Structural | None:
        """The schema of additional keys, if there is one."""
        return self.additional if isinstance(self.additional, Structural) else None


def structural(raw: JsonSchema) -> Structural:
    """The spine of an openAPIV3Schema."""
    items, additional = raw.get("items"), raw.get("additionalProperties")
    return Structural(
        raw=raw,
        type=raw.get("type") or "",
        properties={name: structural(inner) for name, inner in (raw.get("properties") or {}).items()},
        items=structural(items) if isinstance(items, Mapping) else None,
        additional=structural(additional) if isinstance(additional, Mapping) else (additional or None),
        nullable=bool(raw.get("nullable")),
        default=raw.get("default"),
        preserve_unknown=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(raw.get("x-kubernetes-embedded-resource")),
        int_or_string=bool(raw.get("x-kubernetes-int-or-string")),
        list_type=raw.get("x-kubernetes-list-type") or "",
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        map_type=raw.get("x-kubernetes-map-type") or "",
        validations=tuple(raw.get("x-kubernetes-validations") or ()),
    )
