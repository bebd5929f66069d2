"""Run a tree with a limit on what it may cost (cel-go's interpreter/runtimecost.go, cel.CostLimit).

What is counted: every name, selection and call costs one, a list that is made ten, a map thirty. Upstream also
counts the length of texts that are searched or compared; here those are free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pilothouse.api.cel.evaluate import KINDS, EvalError, Function, Run
from pilothouse.api.cel.functions import FUNCTIONS
from pilothouse.api.cel.syntax import Expr, Tree

_COSTS = {
    "const": 0,
    "ident": 1,
    "select": 1,
    "call": 1,
    "list": 10,
    "map": 30,
    "struct": 40,
    "comprehension": 1,
}


class CostExceeded(Exception):
    """No EvalError: && and || may not pass over it."""


class Metered(Run):
    """One evaluation; `spent` tells its cost, also when it failed."""

    def __init__(
        self, variables: Mapping[str, Any], limit: int, functions: Mapping[str, Function] = FUNCTIONS
    ) -> None:
        super().__init__(functions, variables)
        self.spent = 0
        self._limit = limit

    def value(self, node: Expr) -> Any:
        self.spent += _COSTS[node.kind]
        if self.spent > self._limit:
            raise CostExceeded
        return KINDS[node.kind](self, node)


def run(tree: Tree, variables: Mapping[str, Any], limit: int) -> tuple[Any, EvalError | None, int]:
    """(value, error, cost). Raises CostExceeded."""
    metered = Metered(variables, limit)
    try:
        return metered.value(tree.root), None, metered.spent
    except EvalError as error:
        return None, error, metered.spent
