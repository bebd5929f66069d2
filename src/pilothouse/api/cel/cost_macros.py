"""Macros that our parser leaves as calls, written out as cel-go's parser does: what they cost is what they
become (cel-go's ext/comprehensions.go and cel/library.go optMap).

    x.all(i, v, p)       a loop: @result && p
    x.optMap(v, e)       x.hasValue() ? optional.of(bind v = x.value() in e) : optional.none()
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from pilothouse.api.cel import types as t
from pilothouse.api.cel.declarations import FUNCTIONS, Overload
from pilothouse.api.cel.syntax import Expr
from pilothouse.api.cel.types import CelType

_RESULT = "@result"
_INSERT = Overload(False, (t.DYN,), t.DYN)


class _Writer:
    """Makes nodes with ids below zero, which no parsed node has, and notes their types and overloads."""

    def __init__(self, types: dict[int, CelType], overloads: dict[int, Any]) -> None:
        self._types = types
        self._overloads = overloads
        self._ids = count(min((0, *types, *overloads)) - 1, -1)

    def node(self, kind: str, of: CelType, **fields: Any) -> Expr:
        made = Expr(next(self._ids), kind, **fields)
        self._types[made.id] = of
        return made

    def const(self, value: Any, of: CelType) -> Expr:
        return self.node("const", of, value=value)

    def name(self, name: str, of: CelType) -> Expr:
        return self.node("ident", of, name=name)

    def call(self, name: str, of: CelType, *args: Expr, target: Expr | None = None) -> Expr:
        made = self.node("call", of, name=name, args=list(args), target=target)
        matching = [o for o in FUNCTIONS.get(name, (_INSERT,)) if o.is_method == (target is not None)]
        if name == "_+_":
            matching = [o for o in matching if o.arguments[0].kind == of.kind and o.result.name == of.name]
        self._overloads[made.id] = matching[:1]
        return made

    def type(self, node: Expr) -> CelType:
        return self._types.get(node.id, t.DYN)

    def loop(self, node: Expr, start: Expr, condition: Expr, step: Expr, result: Expr) -> Expr:
        variables = (node.args[0].name, node.args[1].name, _RESULT)
        args = [start, condition, step, result]
        return self.node(
            "comprehension", self.type(result), target=node.target, variables=variables, args=args
        )


def expand(node: Expr, types: dict[int, CelType], overloads: dict[int, Any]) -> Expr | None:
    """The macro written out, or None for a call that is none. New nodes are noted in `types` and `overloads`."""
    macro = _MACROS.get(node.name)
    if macro is None or node.target is None or len(node.args) not in macro[0]:
        return None
    return macro[1](_Writer(types, overloads), node)


def _all(write: _Writer, node: Expr) -> Expr:
    goes_on = write.call("@not_strictly_false", t.BOOL, write.name(_RESULT, t.BOOL))
    step = write.call("_&&_", t.BOOL, write.name(_RESULT, t.BOOL), node.args[-1])
    return write.loop(node, write.const(True, t.BOOL), goes_on, step, write.name(_RESULT, t.BOOL))


def _exists(write: _Writer, node: Expr) -> Expr:
    negated = write.call("!_", t.BOOL, write.name(_RESULT, t.BOOL))
    goes_on = write.call("@not_strictly_false", t.BOOL, negated)
    step = write.call("_||_", t.BOOL, write.name(_RESULT, t.BOOL), node.args[-1])
    return write.loop(node, write.const(False, t.BOOL), goes_on, step, write.name(_RESULT, t.BOOL))


def _exists_one(write: _Writer, node: Expr) -> Expr:
    more = write.call("_+_", t.INT, write.name(_RESULT, t.INT), write.const(1, t.INT))
    step = write.call("_?_:_", t.INT, node.args[-1], more, write.name(_RESULT, t.INT))
    one = write.call("_==_", t.BOOL, write.name(_RESULT, t.INT), write.const(1, t.INT))
    return write.loop(node, write.const(0, t.INT), write.const(True, t.BOOL), step, one)


def _transform(write: _Writer, node: Expr, of: CelType, start: Expr, step: Expr) -> Expr:
    if len(node.args) == 4:
        step = write.call("_?_:_", of, node.args[2], step, write.name(_RESULT, of))
    return write.loop(node, start, write.const(True, t.BOOL), step, write.name(_RESULT, of))


def _transform_list(write: _Writer, node: Expr) -> Expr:
    of = t.list_of(write.type(node.args[-1]))
    single = write.node("list", of, args=[node.args[-1]])
    step = write.call("_+_", of, write.name(_RESULT, of), single)
    return _transform(write, node, of, write.node("list", of), step)


def _transform_map(write: _Writer, node: Expr) -> Expr:
    of = t.map_of(t.DYN, write.type(node.args[-1]))
    key = write.name(node.args[0].name, t.DYN)
    step = write.call("cel.@mapInsert", of, write.name(_RESULT, of), key, node.args[-1])
    return _transform(write, node, of, write.node("map", of), step)


def _transform_map_entry(write: _Writer, node: Expr) -> Expr:
    of = write.type(node.args[-1])
    step = write.call("cel.@mapInsert", of, write.name(_RESULT, of), node.args[-1])
    return _transform(write, node, of, write.node("map", of), step)


def _optional(write: _Writer, node: Expr) -> Expr:
    variable, body = node.args
    assert node.target is not None
    held = write.type(node.target)
    inner = held.parameters[0] if held.kind == "optional" else t.DYN
    bound = write.node(
        "comprehension",
        write.type(body),
        target=write.node("list", t.list_of(t.DYN)),
        variables=("#unused", "", variable.name),
        args=[
            write.call("value", inner, target=node.target),
            write.const(False, t.BOOL),
            write.name(variable.name, inner),
            body,
        ],
    )
    of = t.optional_of(write.type(body))
    made = write.call("optional.of", of, bound) if node.name == "optMap" else bound
    has = write.call("hasValue", t.BOOL, target=node.target)
    return write.call("_?_:_", of, has, made, write.call("optional.none", of))


_MACROS: dict[str, tuple[tuple[int, ...], Callable[[_Writer, Expr], Expr]]] = {
    "all": ((3,), _all),
    "exists": ((3,), _exists),
    "existsOne": ((3,), _exists_one),
    "transformList": ((3, 4), _transform_list),
    "transformMap": ((3, 4), _transform_map),
    "transformMapEntry": ((3, 4), _transform_map_entry),
    "optMap": ((2,), _optional),
    "optFlatMap": ((2,), _optional),
}
"""By name: how many arguments they have, and how they are written out."""
