"""Run a tree: what an expression is, given its variables.

Values are Python's: None, bool, int, `Unsigned`, float, str, bytes, list, dict, datetime, timedelta,
`Optional` and the opaque values of Kubernetes' libraries. Objects are plain dicts, which are only read.

As in cel-go, an error is a value that && and || may pass over: `true || 1/0 == 1` is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pilothouse.api.cel.nodes import Expr, Tree, Unsigned

INT_MIN, INT_MAX = -(1 << 63), (1 << 63) - 1
UINT_MAX = (1 << 64) - 1


class EvalError(ValueError):
    """The text is cel-go's: `no such key: x`, `division by zero`, …"""


class Optional(NamedTuple):
    """optional.of(value), or optional.none()."""

    has_value: bool
    value: Any = None


NONE = Optional(False)


class Associative(list[Any]):
    """A list whose elements are known by key, whatever their order: a custom resource's set or map list
    (k8s.io/apiserver/pkg/cel/common unstructuredMapList, unstructuredSetList)."""

    __slots__ = ("_key_of",)

    def __init__(self, items: Iterable[Any], key_of: Callable[[Any], Any]) -> None:
        super().__init__(items)
        self._key_of = key_of

    def matches(self, other: Any) -> bool:
        """The same elements under the same keys."""
        if not isinstance(other, list) or len(self) != len(other):
            return False
        rest = list(other)
        for item in self:
            found = next((i for i, o in enumerate(rest) if equal(self._key_of(o), self._key_of(item))), -1)
            if found < 0 or not equal(rest.pop(found), item):
                return False
        return True

    def merged(self, other: list[Any]) -> Associative:
        """x + y: elements of y replace those of the same key, the others follow."""
        items = list(self)
        for new in other:
            key = self._key_of(new)
            at = next((i for i, old in enumerate(items) if equal(self._key_of(old), key)), -1)
            if at < 0:
                items.append(new)
            else:
                items[at] = new
        return Associative(items, self._key_of)


class WithDefault(dict[str, Any]):
    """A map in which every key can be looked up, and `in` still tells which are there."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: str) -> Any:
        return self._make()


Function = Callable[..., Any]


def evaluate(tree: Tree, variables: Mapping[str, Any], functions: Mapping[str, Function]) -> Any:
    """The expression's value. Raises EvalError. A function gets its receiver first."""
    return Run(functions, variables).value(tree.root)


class Run:
    """One evaluation."""

    def __init__(self, functions: Mapping[str, Function], variables: Mapping[str, Any]) -> None:
        self._functions = functions
        self._variables = variables
        self._dotted = any("." in name for name in variables)
        self._locals: list[dict[str, Any]] = []

    def value(self, node: Expr) -> Any:
        return KINDS[node.kind](self, node)

    def _ident(self, node: Expr) -> Any:
        found = self._find(node.name)
        if found is _MISSING:
            raise EvalError(f"no such attribute(s): {node.name}")
        return found

    def _find(self, name: str) -> Any:
        for scope in reversed(self._locals):
            if name in scope:
                return scope[name]
        return self._variables.get(name, TYPES.get(name, _MISSING))

    def _select(self, node: Expr) -> Any:
        if self._dotted and (qualified := _qualified(node)):
            found = self._find(qualified)
            if found is not _MISSING:
                return found
        operand = self.value(node.target) if node.target else None
        if isinstance(operand, Optional):
            return self._select_optional(operand, node)
        if not isinstance(operand, dict):
            if node.test_only:
                return False
            raise EvalError(f"no such key: {node.name}" if operand is None else "no such overload")
        if node.test_only:
            return node.name in operand
        if node.name not in operand and not isinstance(operand, WithDefault):
            raise EvalError(f"no such key: {node.name}")
        return operand[node.name]

    def _select_optional(self, holder: Optional, node: Expr) -> Any:
        found = isinstance(holder.value, dict) and node.name in holder.value
        if node.test_only:
            return found
        return Optional(True, holder.value[node.name]) if found else NONE

    def _list(self, node: Expr) -> list[Any]:
        items = []
        for i, item in enumerate(node.args):
            value = self.value(item)
            if i in node.optional and isinstance(value, Optional):
                if value.has_value:
                    items.append(value.value)
            else:
                items.append(value)
        return items

    def _map(self, node: Expr) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for entry in node.entries:
            key = self.value(entry.key) if isinstance(entry.key, Expr) else entry.key
            value = self.value(entry.value)
            if entry.optional and isinstance(value, Optional):
                if value.has_value:
                    made[key] = value.value
            else:
                made[key] = value
        return made

    def _struct(self, node: Expr) -> dict[Any, Any]:
        """A message is its fields; what it is called mattered to the checker."""
        return self._map(node)

    def _call(self, node: Expr) -> Any:
        special = _SPECIAL.get(node.name)
        if special is not None and (node.target is None or node.name in _MACROS):
            done = special(self, node)
            if done is not _MISSING:
                return done
        name, target = node.name, node.target
        qualified = _qualified(target) if target is not None else ""
        if qualified and f"{qualified}.{name}" in self._functions:
            name, target = f"{qualified}.{name}", None
        function = self._functions.get(name)
        if function is None:
            raise EvalError(f"no such overload: {name}")
        arguments = [self.value(argument) for argument in node.args]
        if target is not None:
            arguments.insert(0, self.value(target))
        try:
            return function(*arguments)
        except (TypeError, AttributeError):
            raise EvalError("no such overload") from None

    # Calls that don't evaluate all their arguments

    def _and(self, node: Expr) -> Any:
        return self._logic(node, False)

    def _or(self, node: Expr) -> Any:
        return self._logic(node, True)

    def _logic(self, node: Expr, decisive: bool) -> bool:
        """The side that decides does, whatever the other is; else an error stays one."""
        error: EvalError | None = None
        for argument in node.args:
            try:
                value = self.value(argument)
            except EvalError as raised:
                error = error or raised
                continue
            if isinstance(value, bool) and value == decisive:
                return value
            if isinstance(value, _Pending):
                error = error or value.error
                continue
            if not isinstance(value, bool):
                error = error or EvalError("no such overload")
        if error is not None:
            raise error
        return not decisive

    def _conditional(self, node: Expr) -> Any:
        condition = self.value(node.args[0])
        if not isinstance(condition, bool):
            raise EvalError("no such overload")
        return self.value(node.args[1 if condition else 2])

    def _not_strictly_false(self, node: Expr) -> bool:
        try:
            return bool(self.value(node.args[0]) is not False)
        except EvalError:
            return True

    def _optional_field(self, node: Expr) -> Optional:
        operand = self.value(node.args[0])
        return _at(operand, node.args[1].value)

    def _optional_index(self, node: Expr) -> Optional:
        return _at(self.value(node.args[0]), self.value(node.args[1]))

    def _binding(self, node: Expr) -> Any:
        """`cel.bind(v, value, body)`; the checker has seen to it that the environment knows it."""
        if node.target is None or node.target.name != "cel" or len(node.args) != 3:
            return _MISSING
        variable, value, body = node.args
        self._locals.append({variable.name: self.value(value)})
        try:
            return self.value(body)
        finally:
            self._locals.pop()

    def _optional_map(self, node: Expr) -> Any:
        holder = self.value(node.target) if node.target else NONE
        if not isinstance(holder, Optional) or not holder.has_value:
            return NONE
        self._locals.append({node.args[0].name: holder.value})
        made = self.value(node.args[1])
        self._locals.pop()
        return made if node.name == "optFlatMap" else Optional(True, made)

    # Comprehensions

    def _comprehension(self, node: Expr) -> Any:
        first, second, accumulator = node.variables
        start, condition, step, result = node.args
        over = self.value(node.target) if node.target else []
        frame = {accumulator: self.value(start)}
        self._locals.append(frame)
        for key, value in _pairs(over, bool(second)):
            frame[first] = key
            if second:
                frame[second] = value
            if self.value(condition) is False:
                break
            frame[accumulator] = self._step(step, accumulator)
        for name in (first, second):
            frame.pop(name, None)
        try:
            return _settled(self.value(result))
        finally:
            self._locals.pop()

    def _step(self, step: Expr, accumulator: str) -> Any:
        """An error in one step may be passed over by a later one (all, exists)."""
        try:
            return self.value(step)
        except EvalError as error:
            if step.kind == "call" and step.name in ("_&&_", "_||_"):
                return _Pending(error)
            raise

    def _two_variables(self, node: Expr) -> Any:
        first, second, *bodies = node.args
        if (
            node.target is None
            or len(bodies) not in (1, 2)
            or first.kind != "ident"
            or second.kind != "ident"
        ):
            return _MISSING
        frame: dict[str, Any] = {}
        self._locals.append(frame)
        found: list[tuple[Any, Any]] = []
        for key, value in _pairs(self.value(node.target), True):
            frame[first.name], frame[second.name] = key, value
            if len(bodies) == 2 and self.value(bodies[0]) is not True:
                continue
            found.append((key, self.value(bodies[-1])))
        self._locals.pop()
        return _TWO_VARIABLES[node.name](found)


KINDS: dict[str, Callable[[Run, Expr], Any]] = {
    "const": lambda run, node: node.value,
    "ident": Run._ident,
    "select": Run._select,
    "call": Run._call,
    "list": Run._list,
    "map": Run._map,
    "struct": Run._struct,
    "comprehension": Run._comprehension,
}
"""How each kind of node is evaluated."""


class _Pending(NamedTuple):
    """An accumulator that an error is in."""

    error: EvalError


_MISSING = object()


def _settled(value: Any) -> Any:
    if isinstance(value, _Pending):
        raise value.error
    return value


def _merged(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for _, entry in pairs:
        made.update(entry)
    return made


_TWO_VARIABLES: dict[str, Callable[[list[tuple[Any, Any]]], Any]] = {
    "all": lambda pairs: all(value is True for _, value in pairs),
    "exists": lambda pairs: any(value is True for _, value in pairs),
    "existsOne": lambda pairs: sum(value is True for _, value in pairs) == 1,
    "transformList": lambda pairs: [value for _, value in pairs],
    "transformMap": dict,
    "transformMapEntry": _merged,
}
_MACROS = {"bind", "optMap", "optFlatMap", *_TWO_VARIABLES}
_SPECIAL: dict[str, Callable[[Run, Expr], Any]] = {
    "_&&_": Run._and,
    "_||_": Run._or,
    "_?_:_": Run._conditional,
    "@not_strictly_false": Run._not_strictly_false,
    "__not_strictly_false__": Run._not_strictly_false,
    "_?._": Run._optional_field,
    "_[?_]": Run._optional_index,
    "optMap": Run._optional_map,
    "optFlatMap": Run._optional_map,
    "bind": Run._binding,
    **{name: Run._two_variables for name in _TWO_VARIABLES},
}


def _pairs(over: Any, two: bool) -> list[tuple[Any, Any]]:
    if isinstance(over, dict):
        return list(over.items())
    if isinstance(over, list):
        return list(enumerate(over)) if two else [(item, item) for item in over]
    raise EvalError("no such overload")


def _at(operand: Any, key: Any) -> Optional:
    """What is there, or none."""
    if isinstance(operand, Optional):
        if not operand.has_value:
            return NONE
        operand = operand.value
    if isinstance(operand, dict):
        return Optional(True, operand[key]) if key in operand else NONE
    if isinstance(operand, list) and isinstance(key, int):
        return Optional(True, operand[key]) if 0 <= key < len(operand) else NONE
    return NONE


def _qualified(node: Expr | None) -> str:
    parts: list[str] = []
    while node is not None and node.kind == "select" and not node.test_only:
        parts.append(node.name)
        node = node.target
    if node is None or node.kind != "ident":
        return ""
    return ".".join([node.name, *reversed(parts)])


class TypeValue(NamedTuple):
    """What type(x) is."""

    name: str


TYPES: dict[str, TypeValue] = {
    name: TypeValue(name)
    for name in ("bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type")
}


def type_name(value: Any) -> str:
    for python_type, name in (
        (bool, "bool"),
        (Unsigned, "uint"),
        (int, "int"),
        (float, "double"),
        (str, "string"),
        (bytes, "bytes"),
        (list, "list"),
        (dict, "map"),
        (datetime, "google.protobuf.Timestamp"),
        (timedelta, "google.protobuf.Duration"),
        (TypeValue, "type"),
        (Optional, "optional_type"),
    ):
        if isinstance(value, python_type):
            return name
    return "null_type" if value is None else type(value).__name__


def equal(first: Any, second: Any) -> bool:
    """CEL's equality: numbers by value, and Python's bools are no numbers."""
    if isinstance(first, bool) or isinstance(second, bool):
        return first is second
    if isinstance(first, Associative):
        return first.matches(second)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(equal(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return bool(first == second)


def whole(value: int, of: type = int) -> int:
    """An integer in its range, or the error that Go's arithmetic has."""
    if of is Unsigned:
        if not 0 <= value <= UINT_MAX:
            raise EvalError("unsigned integer overflow")
        return Unsigned(value)
    if not INT_MIN <= value <= INT_MAX:
        raise EvalError("integer overflow")
    return value
