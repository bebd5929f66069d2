"""What rules need to know while a schema is walked: their type, how often their place can occur, and what all
rules together cost (validation.CELSchemaContext).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse.api.cel.cost_estimate import UINT64_MAX
from pilothouse.api.cel.decl_types import DeclType, declared
from pilothouse.api.cel.schema_rules import cardinality_max
from pilothouse.api.validation.apiextensions.props import Schema, type_of

EXPRESSION_COST_MAX = 10_000_000
TOTAL_COST_MAX = 100_000_000
_MOST_EXPENSIVE = 4


class RuleCost(NamedTuple):
    path: str
    cost: int


@dataclass(slots=True)
class TotalCost:
    """Of all rules of one schema. `most_expensive` are the paths to blame: at most four, dearest first, each with
    at least a hundredth of the limit."""

    total: int = 0
    most_expensive: list[RuleCost] = field(default_factory=list)

    def observe(self, path: str, cost: int) -> None:
        self.total = min(self.total + cost, UINT64_MAX)
        if cost >= TOTAL_COST_MAX // 100:
            ranked = sorted([*self.most_expensive, RuleCost(path, cost)], key=lambda rule: -rule.cost)
            self.most_expensive = ranked[:_MOST_EXPENSIVE]


@dataclass(slots=True)
class Context:
    """One node of the spine. `occurrences_max`: how often it can stand in an object by the limits above it; None
    when something above has no limit."""

    schema: Schema
    total: TotalCost
    occurrences_max: int | None = 1
    is_resource: bool = False

    def child(self, schema: Schema) -> Context:
        embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        return Context(schema, self.total, self._occurrences_below(), embedded)

    def _occurrences_below(self) -> int | None:
        factor = _elements_max(self.schema)
        if self.occurrences_max is None or factor is None:
            return None
        return min(self.occurrences_max * factor, UINT64_MAX)

    def declared(self) -> DeclType | None:
        return declared(self.schema, is_root=self.is_resource)

    def cost(self, once: int, of: DeclType) -> int:
        """What an expression costs in one object when it costs `once` each time."""
        times = self.occurrences_max if self.occurrences_max is not None else cardinality_max(of)
        return min(once * times, UINT64_MAX)


def root(schema: Schema) -> Context:
    return Context(schema, TotalCost(), is_resource=True)


def _elements_max(schema: Schema) -> int | None:
    """By which factor a node multiplies what is below it; None for no limit."""
    kind = type_of(schema)
    if kind == "object" and "additionalProperties" in schema:
        most = schema.get("maxProperties")
    elif kind == "array":
        most = schema.get("maxItems")
    else:
        return 1
    return None if most is None else max(0, most)


def cost_text(what: str, cost: int, limit: int) -> str:
    """The message for a cost above its limit."""
    factor = cost / limit
    if factor > 100:
        shown = "more than 100x"
    elif factor < 1.5:
        shown = f"{factor:f}x"
    else:
        shown = f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )
