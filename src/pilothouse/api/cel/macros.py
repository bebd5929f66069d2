"""The macros of CEL, expanded (cel-go's parser/macro.go and the macros of its optional types)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pilothouse.api.cel.nodes import Expr

_RESULT = "@result"
NO_NAME = "argument must be a simple name"
NO_IDENTIFIER = "argument is not an identifier"
OVERWRITES = "iteration variable overwrites accumulator variable"


@dataclass(slots=True)
class Builder:
    """Makes nodes, and remembers where they stand."""

    positions: dict[int, int] = field(default_factory=dict)
    last: int = 0

    def id(self, at: int) -> int:
        self.last += 1
        self.positions[self.last] = at
        return self.last

    def const(self, at: int, value: Any) -> Expr:
        return Expr(self.id(at), "const", value)

    def ident(self, at: int, name: str) -> Expr:
        return Expr(self.id(at), "ident", name=name)

    def call(self, at: int, name: str, *args: Expr, target: Expr | None = None) -> Expr:
        return Expr(self.id(at), "call", name=name, target=target, args=list(args))

    def list(self, at: int, *elements: Expr) -> Expr:
        return Expr(self.id(at), "list", args=list(elements))

    def loop(self, at: int, over: Expr, variables: tuple[str, str], *parts: Expr) -> Expr:
        """`variables`: that of the loop and the accumulator; `parts`: start, condition, step and result."""
        variable, accumulator = variables
        return Expr(
            self.id(at), "comprehension", target=over, args=list(parts), variables=(variable, "", accumulator)
        )


class MacroError(ValueError):
    """The macro's arguments are not what it takes; `node` is the one."""

    def __init__(self, node: Expr, text: str) -> None:
        super().__init__(text)
        self.node = node


def expand(build: Builder, at: int, call: Expr) -> Expr | None:
    """What stands for the call, or None if it is no macro. `at`: where the macro's own nodes are said to be."""
    if call.target is None:
        return _has(build, at, call.args[0]) if call.name == "has" and len(call.args) == 1 else None
    macro = _MACROS.get((call.name, len(call.args)))
    return macro(build, at, call.target, call.args) if macro else None


def _has(build: Builder, at: int, arg: Expr) -> Expr:
    if arg.kind != "select" or arg.test_only:
        raise MacroError(arg, "invalid argument to has() macro")
    return Expr(build.id(at), "select", name=arg.name, target=arg.target, test_only=True)


def _variable(arg: Expr, otherwise: str) -> str:
    if arg.kind != "ident" or arg.name.startswith("."):
        raise MacroError(arg, otherwise)
    if arg.name in (_RESULT, "__result__"):
        raise MacroError(arg, OVERWRITES)
    return arg.name


def _all(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], NO_NAME)
    start = build.const(at, True)
    condition = build.call(at, "@not_strictly_false", build.ident(at, _RESULT))
    step = build.call(at, "_&&_", build.ident(at, _RESULT), args[1])
    return build.loop(at, over, (variable, _RESULT), start, condition, step, build.ident(at, _RESULT))


def _exists(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], NO_NAME)
    start = build.const(at, False)
    condition = build.call(at, "@not_strictly_false", build.call(at, "!_", build.ident(at, _RESULT)))
    step = build.call(at, "_||_", build.ident(at, _RESULT), args[1])
    return build.loop(at, over, (variable, _RESULT), start, condition, step, build.ident(at, _RESULT))


def _exists_one(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], NO_NAME)
    more = build.call(at, "_+_", build.ident(at, _RESULT), build.const(at, 1))
    step = build.call(at, "_?_:_", args[1], more, build.ident(at, _RESULT))
    result = build.call(at, "_==_", build.ident(at, _RESULT), build.const(at, 1))
    return build.loop(at, over, (variable, _RESULT), build.const(at, 0), build.const(at, True), step, result)


def _map(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], NO_IDENTIFIER)
    step = build.call(at, "_+_", build.ident(at, _RESULT), build.list(at, args[-1]))
    return _collect(build, at, over, variable, step, args[1] if len(args) == 3 else None)


def _filter(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    variable = _variable(args[0], NO_IDENTIFIER)
    step = build.call(at, "_+_", build.ident(at, _RESULT), build.list(at, args[0]))
    return _collect(build, at, over, variable, step, args[1])


def _collect(build: Builder, at: int, over: Expr, variable: str, step: Expr, only: Expr | None) -> Expr:
    if only is not None:
        step = build.call(at, "_?_:_", only, step, build.ident(at, _RESULT))
    return build.loop(
        at,
        over,
        (variable, _RESULT),
        build.list(at),
        build.const(at, True),
        step,
        build.ident(at, _RESULT),
    )


def _optional(build: Builder, at: int, over: Expr, args: list[Expr], name: str) -> tuple[Expr, Expr]:
    """The loop of no turns that binds the variable, and what it is bound for."""
    if args[0].kind != "ident":
        raise MacroError(args[0], f"{name}() variable name must be a simple identifier")
    value = build.call(at, "value", target=over)
    bound = build.loop(
        at,
        build.list(at),
        ("#unused", args[0].name),
        value,
        build.const(at, False),
        args[0],
        args[1],
    )
    return build.call(at, "hasValue", target=over), bound


def _opt_map(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    there, bound = _optional(build, at, over, args, "optMap")
    return build.call(
        at, "_?_:_", there, build.call(at, "optional.of", bound), build.call(at, "optional.none")
    )


def _opt_flat_map(build: Builder, at: int, over: Expr, args: list[Expr]) -> Expr:
    there, bound = _optional(build, at, over, args, "optFlatMap")
    return build.call(at, "_?_:_", there, bound, build.call(at, "optional.none"))


_MACROS: dict[tuple[str, int], Callable[[Builder, int, Expr, list[Expr]], Expr]] = {
    ("all", 2): _all,
    ("exists", 2): _exists,
    ("exists_one", 2): _exists_one,
    ("existsOne", 2): _exists_one,
    ("map", 2): _map,
    ("map", 3): _map,
    ("filter", 2): _filter,
    ("optMap", 2): _opt_map,
    ("optFlatMap", 2): _opt_flat_map,
}
