"""A served kind: one resource at one version, with everything that makes it differ from the next.

Built-in kinds and custom resources give the same `Kind`; what comes after never asks which it is, but for
`custom`, where upstream itself answers differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse.api.resources import Resource
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.strategy import Strategy
from pilothouse.apiserver.registry.tables.column import Table


class Decoded(NamedTuple):
    """An object in Go round-trip form, and what its decoder did not know, each a text as upstream's
    (`unknown field "spec.foo"`), in upstream's order."""

    obj: Obj
    strict_errors: list[str]


class ScalePaths(NamedTuple):
    """Where a custom resource keeps what its Scale shows (`.spec.replicas`); `selector` is "" when it has none."""

    spec_replicas: str
    status_replicas: str
    selector: str = ""


@dataclass(eq=False, slots=True)
class Kind:
    """`decode` raises ValueError with Go's text for a body that does not fit the type; `default` and the
    conversions change or replace an object that the caller owns."""

    resource: Resource
    singular: str
    list_kind: str
    type: Type
    strategy: Strategy
    decode: Callable[[Obj], Decoded]
    default: Callable[[Obj], None]
    storage: Resource
    """The version that is stored."""
    to_storage: Callable[[Obj], Obj] | None = None
    from_storage: Callable[[Obj], Obj] | None = None
    table: Table | None = None
    description: Callable[[str], str] = lambda path: ""
    """The schema's description of a field path, for table columns."""
    custom: bool = False
    verbs: frozenset[str] = frozenset()
    subresources: dict[str, frozenset[str]] = field(default_factory=dict)
    """Name to verbs."""
    go_name: str = ""
    """The internal Go type as some errors print it: core.Pod."""
    deprecation: str = ""
    """A Warning for every request (`v1 Endpoints is deprecated …`)."""
    scale: ScalePaths | None = None
    """Custom resources with a scale subresource."""
    terminating: bool = False
    """The definition of a custom resource is being deleted: nothing new may be created."""
