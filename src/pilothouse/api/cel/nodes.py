"""What an expression is once read: a tree of nodes, and where each stands in the text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class CelSyntaxError(ValueError):
    """The text is no CEL; the message is what upstream's issues print, one ERROR block for each."""


@dataclass(slots=True)
class Expr:
    """One node. `kind`: const, ident, select, call, list, struct, map, comprehension."""

    id: int
    kind: str
    value: Any = None
    """const: the value."""
    name: str = ""
    """ident, select (the field), call (the function), struct (the type)."""
    target: Expr | None = None
    """select: the operand; call: the receiver; comprehension: the range."""
    args: list[Expr] = field(default_factory=list)
    """call, list: in order. comprehension: start, condition, step, result."""
    entries: list[Entry] = field(default_factory=list)
    """struct and map."""
    test_only: bool = False
    optional: frozenset[int] = frozenset()
    """list: indices of optional elements."""
    variables: tuple[str, str, str] = ("", "", "")
    """comprehension: iteration variables (the second may be empty) and accumulator."""


@dataclass(slots=True)
class Entry:
    id: int
    key: Expr | str
    value: Expr
    optional: bool = False


@dataclass(slots=True)
class Tree:
    """`positions`: node id to offset in code points."""

    root: Expr
    positions: dict[int, int]


class Unsigned(int):
    """A uint literal (`1u`)."""
