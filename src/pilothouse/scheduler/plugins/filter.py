"""What a filter answers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Mask, NodeTable


class Rejection(NamedTuple):
    """Nodes that are out for one reason, in upstream's words."""

    mask: Mask
    reason: str


class Filter(Protocol):
    """Filters run in order; each sees only the nodes that are still in (`left`)."""

    name: str

    def filter(self, pod: Obj, table: NodeTable, left: Mask) -> list[Rejection]: ...


class Score(Protocol):
    """A column of scores from 0 to 100 for all nodes; only those in `left` count."""

    name: str
    weight: int

    def score(self, pod: Obj, table: NodeTable, left: Mask) -> object: ...
