"""A kind's table: its columns and how one object becomes a row (meta.k8s.io/v1 Table)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pilothouse.api.types import Obj


class Column(NamedTuple):
    """`describe` is the description itself, or names the schema field whose description upstream reuses:
    "@spec.replicas" of the kind, "@metadata.name", …"""

    name: str
    type: str = "string"
    format: str = ""
    describe: str = ""
    priority: int = 0
    """0 always shown, 1 with -o wide."""


class Table(NamedTuple):
    """`row(obj, now_s)` gives one cell per column, in order; `conditions` the row conditions (Completed pods)."""

    columns: tuple[Column, ...]
    row: Callable[[Obj, float], list[Any]]
    conditions: Callable[[Obj], list[Obj]] | None = None


NAME = Column("Name", "string", "name", "@metadata.name")
AGE = Column("Age", "string", "", "@metadata.creationTimestamp")
