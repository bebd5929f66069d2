"""The type of an object's parts: what schema decoding, strategic merge patch, server-side apply and custom
resources all walk.

Built-in types come from the published OpenAPI definitions (`api.schema`), custom ones from a
CustomResourceDefinition's schema; both end up as this tree. Trees may be cyclic (JSONSchemaProps), so a
`Type` is filled in after it was made and compares by identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "struct",  # named fields
    "map",  # string keys, one element type
    "list",
    "string",
    "integer",
    "number",
    "boolean",
    "quantity",  # resource.Quantity: string or number, canonical string out
    "intorstring",  # intstr.IntOrString
    "time",  # metav1.Time
    "microtime",  # metav1.MicroTime
    "duration",  # metav1.Duration
    "bytes",  # base64 text
    "raw",  # runtime.RawExtension, JSON: any value, kept as it is
    "any",  # untyped; deduced from the value (x-kubernetes-preserve-unknown-fields)
]


@dataclass(eq=False, slots=True)
class Type:
    """One type. Only the attributes that its `kind` uses mean something."""

    kind: Kind
    name: str = ""
    """Go's name as error texts print it: `v1.DeploymentSpec`, `int32`, `map[string]string`."""
    fields: dict[str, Field] = field(default_factory=dict)
    """struct: by JSON name."""
    element: Type | None = None
    """list, map; or a struct's type for keys that are not in `fields` (preserve-unknown)."""
    list_type: Literal["atomic", "set", "map"] = "atomic"
    list_keys: tuple[str, ...] = ()
    """map lists: fields that make the key; defaults for absent ones in `key_defaults`."""
    key_defaults: dict[str, object] = field(default_factory=dict)
    map_type: Literal["granular", "atomic"] = "granular"
    """struct and map."""
    bits: int = 64
    """integer: 32 or 64."""
    preserve_unknown: bool = False


@dataclass(eq=False, slots=True)
class Field:
    """A struct's field. `required`: Go writes it even when it is zero (no omitempty). `pointer`: Go tells an
    absent value from a zero one, so a zero value that was given is kept; otherwise a zero value is dropped
    unless the field is required. A non-pointer struct is always written, at least as {}."""

    type: Type
    required: bool = False
    pointer: bool = False
    patch_strategy: tuple[str, ...] = ()
    patch_merge_key: str = ""
