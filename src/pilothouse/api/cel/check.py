"""Which type an expression has, or why it has none (cel-go's checker/checker.go).

    list element, argument, operand types ──▶ overloads ──▶ result type
                                         │
                                         └── type parameters are bound as the first use asks

`dyn` goes with everything, and so does what already failed: one mistake is told once. Errors name the place
where cel-go reports it, which for an operator is the operator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pilothouse.api.cel import types as t
from pilothouse.api.cel.declarations import Overload
from pilothouse.api.cel.syntax import Expr, Tree, Unsigned
from pilothouse.api.cel.types import CelType, Fields, field_of, format_type

_CONSTANTS: dict[type, CelType] = {
    bool: t.BOOL,
    int: t.INT,
    Unsigned: t.UINT,
    float: t.DOUBLE,
    str: t.STRING,
    bytes: t.BYTES,
    type(None): t.NULL,
}
_TYPE_NAMES = {
    name: t.type_of(inner)
    for name, inner in {
        "bool": t.BOOL,
        "int": t.INT,
        "uint": t.UINT,
        "double": t.DOUBLE,
        "string": t.STRING,
        "bytes": t.BYTES,
        "list": t.list_of(t.DYN),
        "map": t.map_of(t.DYN, t.DYN),
        "null_type": t.NULL,
        "type": t.type_of(t.DYN),
        "google.protobuf.Timestamp": t.TIMESTAMP,
        "google.protobuf.Duration": t.DURATION,
    }.items()
}
_NULLABLE = ("null", "struct", "opaque", "optional")
_TWO_VARIABLE_MACROS = {"all", "exists", "existsOne", "transformList", "transformMap", "transformMapEntry"}


@dataclass(slots=True)
class Scope:
    """What an expression may name. `structs` finds a struct's fields by the struct's name."""

    variables: Mapping[str, CelType]
    functions: Mapping[str, Sequence[Overload]]
    structs: Mapping[str, Fields] = field(default_factory=dict)

    def struct_fields(self, name: str) -> Fields | None:
        fields = self.structs.get(name)
        if fields is None and "." in name:
            return self.structs.get(name.partition(".")[0] + ".*")
        return fields


class Checker:
    """One expression's check. `errors` are (node id, text); `overloads` are those that a call may turn out to
    be, by node id."""

    def __init__(self, tree: Tree, scope: Scope) -> None:
        self.errors: list[tuple[int, str]] = []
        self.overloads: dict[int, list[Overload]] = {}
        self._types: dict[int, CelType] = {}
        self._tree = tree
        self._scope = scope
        self._locals: list[dict[str, CelType]] = []
        self._bound: dict[str, CelType] = {}
        self._fresh = 0

    def check(self) -> CelType:
        """The whole expression's type."""
        return self._substitute(self._check(self._tree.root), free_is_dyn=True)

    def types(self) -> dict[int, CelType]:
        """What was found out, by node id; after `check`."""
        return {node: self._substitute(found, free_is_dyn=True) for node, found in self._types.items()}

    def _check(self, node: Expr) -> CelType:
        found = self._types[node.id] = self._type(node)
        return found

    def _type(self, node: Expr) -> CelType:
        match node.kind:
            case "const":
                return _CONSTANTS[type(node.value)]
            case "ident":
                return self._ident(node)
            case "select":
                return self._select(node)
            case "call":
                return self._call(node)
            case "list":
                return self._list(node)
            case "map":
                return self._map(node)
            case "struct":
                return self._struct(node)
        return self._comprehension(node)

    def _fail(self, node_id: int, text: str) -> CelType:
        self.errors.append((node_id, text))
        return t.ERROR

    # Names

    def _lookup(self, name: str) -> CelType | None:
        for scope in reversed(self._locals):
            if name in scope:
                return scope[name]
        return self._scope.variables.get(name) or self._type_name(name)

    def _type_name(self, name: str) -> CelType | None:
        if name in _TYPE_NAMES:
            return _TYPE_NAMES[name]
        return t.type_of(t.struct(name)) if self._scope.struct_fields(name) is not None else None

    def _ident(self, node: Expr) -> CelType:
        found = self._lookup(node.name)
        return found if found is not None else self._undeclared(node.id, node.name)

    def _undeclared(self, node_id: int, name: str) -> CelType:
        return self._fail(node_id, f"undeclared reference to '{name}' (in container '')")

    def _select(self, node: Expr) -> CelType:
        if not node.test_only:
            qualified = _qualified(node)
            found = self._lookup(qualified) if qualified else None
            if found is not None:
                return found
        result = self._field(node, node.target, node.name)
        return t.BOOL if node.test_only else result

    def _field(self, node: Expr, operand: Expr | None, name: str, optional: bool = False) -> CelType:
        operand_type = self._substitute(self._check(operand)) if operand else t.ERROR
        is_optional = operand_type.kind == "optional"
        target = operand_type.parameters[0] if is_optional else operand_type
        result = self._field_type(node, target, name)
        return t.optional_of(result) if is_optional or optional else result

    def _field_type(self, node: Expr, target: CelType, name: str) -> CelType:
        match target.kind:
            case "map":
                return target.parameters[1]
            case "struct":
                fields = self._scope.struct_fields(target.name)
                found = field_of(fields, name) if fields is not None else None
                return found if found is not None else self._fail(node.id, f"undefined field '{name}'")
            case "param":
                self._assignable(t.DYN, target)
                return t.DYN
            case "dyn" | "error" | "any":
                return t.DYN
        self._fail(node.id, f"type '{format_type(target)}' does not support field selection")
        return t.DYN

    # Calls

    def _call(self, node: Expr) -> CelType:
        if node.name == "_?._":
            return self._optional_field(node)
        if node.target is not None and node.name in _TWO_VARIABLE_MACROS and len(node.args) in (3, 4):
            result = self._two_variables(node)
            if result is not None:
                return result
        if node.target is not None and node.name in ("optMap", "optFlatMap") and len(node.args) == 2:
            return self._optional_map(node)
        arguments = [self._check(argument) for argument in node.args]
        functions = self._scope.functions
        if node.target is None:
            if node.name not in functions:
                return self._undeclared(node.id, node.name)
            return self._resolve(node, functions[node.name], arguments, False)
        qualified = _qualified(node.target)
        if qualified and f"{qualified}.{node.name}" in functions:
            node.name, node.target = f"{qualified}.{node.name}", None
            return self._resolve(node, functions[node.name], arguments, False)
        receiver = self._check(node.target)
        if node.name not in functions:
            return self._undeclared(node.id, node.name)
        return self._resolve(node, functions[node.name], [receiver, *arguments], True)

    def _optional_field(self, node: Expr) -> CelType:
        operand, name = node.args
        if not isinstance(name.value, str):
            return self._fail(name.id, "unsupported optional field selection")
        return self._field(node, operand, name.value, optional=True)

    def _resolve(
        self, node: Expr, overloads: Sequence[Overload], arguments: list[CelType], is_method: bool
    ) -> CelType:
        result: CelType | None = None
        matching = self.overloads[node.id] = []
        for overload in overloads:
            if overload.is_method != is_method or len(overload.arguments) != len(arguments):
                continue
            fresh: dict[str, CelType] = {}
            wanted = [self._instance(argument, fresh) for argument in overload.arguments]
            if not self._all_assignable(arguments, wanted):
                continue
            matching.append(overload)
            found = self._substitute(self._instance(overload.result, fresh))
            if result is None:
                result = found
            elif result.kind != "dyn" and found != result:
                result = t.DYN
        if result is None:
            shown = [format_type(self._substitute(argument, free_is_dyn=True)) for argument in arguments]
            receiver = f"{shown.pop(0)}." if is_method else ""
            applied = f"{receiver}({', '.join(shown)})"
            return self._fail(node.id, f"found no matching overload for '{node.name}' applied to '{applied}'")
        return result

    def _instance(self, declared: CelType, fresh: dict[str, CelType]) -> CelType:
        """A declared type with type variables of its own for this call."""
        if declared.kind == "param":
            if declared.name not in fresh:
                fresh[declared.name] = self._variable()
            return fresh[declared.name]
        if not declared.parameters:
            return declared
        inner = tuple(self._instance(p, fresh) for p in declared.parameters)
        return CelType(declared.kind, declared.name, inner)

    def _variable(self) -> CelType:
        self._fresh += 1
        return t.param(f"_var{self._fresh - 1}")

    # Aggregates

    def _list(self, node: Expr) -> CelType:
        element: CelType | None = None
        for i, item in enumerate(node.args):
            found = self._check(item)
            if i in node.optional:
                found = found.parameters[0] if found.kind == "optional" else found
            element = self._join(item.id, element, found)
        return t.list_of(element if element is not None else self._variable())

    def _join(self, node_id: int, previous: CelType | None, current: CelType) -> CelType:
        """Elements are of one type: Kubernetes compiles with homogeneous aggregate literals."""
        if previous is None:
            return current
        if self._assignable(previous, current):
            return previous if previous.kind in ("dyn", "error") else current
        return self._mismatch(node_id, previous, current)

    def _mismatch(self, node_id: int, expected: CelType, found: CelType) -> CelType:
        wanted, got = (format_type(self._substitute(x)) for x in (expected, found))
        return self._fail(node_id, f"expected type '{wanted}' but found '{got}'")

    def _map(self, node: Expr) -> CelType:
        key: CelType | None = None
        value: CelType | None = None
        for entry in node.entries:
            if isinstance(entry.key, Expr):
                key = self._join(entry.key.id, key, self._check(entry.key))
            found = self._check(entry.value)
            if entry.optional and found.kind == "optional":
                found = found.parameters[0]
            value = self._join(entry.value.id, value, found)
        if key is None or value is None:
            return t.map_of(self._variable(), self._variable())
        return t.map_of(key, value)

    def _struct(self, node: Expr) -> CelType:
        fields = self._scope.struct_fields(node.name)
        if fields is None:
            result = self._undeclared(node.id, node.name)
        else:
            result = t.struct(node.name)
        for entry in node.entries:
            found = self._check(entry.value)
            if fields is None or not isinstance(entry.key, str):
                continue
            wanted = field_of(fields, entry.key)
            if wanted is None:
                self._fail(entry.id, f"undefined field '{entry.key}'")
            elif not self._assignable(wanted, t.optional_of(wanted) if entry.optional else found):
                self._fail(
                    entry.id,
                    f"expected type of field '{entry.key}' is '{format_type(wanted)}' "
                    f"but provided type is '{format_type(self._substitute(found))}'",
                )
        return result

    # Comprehensions

    def _comprehension(self, node: Expr) -> CelType:
        first, second, accumulator = node.variables
        start, condition, step, result = node.args
        if node.target is None:
            return t.ERROR
        key, value, one = self._range(node.target)
        start_type = self._check(start)
        self._locals.append({accumulator: start_type})
        self._locals.append({first: key, second: value} if second else {first: one})
        self._expect(condition, t.BOOL)
        self._expect(step, start_type)
        self._locals.pop()
        found = self._check(result)
        self._locals.pop()
        return self._substitute(found)

    def _range(self, node: Expr) -> tuple[CelType, CelType, CelType]:
        """What iteration yields to two variables (index or key; element or value), and to one alone."""
        over = self._substitute(self._check(node))
        match over.kind:
            case "list":
                return t.INT, over.parameters[0], over.parameters[0]
            case "map":
                return over.parameters[0], over.parameters[1], over.parameters[0]
            case "dyn" | "error" | "any" | "param":
                self._assignable(t.DYN, over)
                return t.DYN, t.DYN, t.DYN
        self._fail(
            node.id,
            f"expression of type '{format_type(over)}' cannot be range of a comprehension "
            "(must be list, map, or dynamic)",
        )
        return t.ERROR, t.ERROR, t.ERROR

    def _expect(self, node: Expr, wanted: CelType) -> None:
        found = self._check(node)
        if not self._assignable(wanted, found):
            self._mismatch(node.id, wanted, found)

    def _two_variables(self, node: Expr) -> CelType | None:
        """`x.all(i, v, …)` and its like (ext.TwoVarComprehensions), which the parser leaves as calls."""
        first, second, *bodies = node.args
        if first.kind != "ident" or second.kind != "ident" or node.target is None:
            return None
        key, value, _one = self._range(node.target)
        self._locals.append({first.name: key, second.name: value})
        for body in bodies[:-1]:
            self._expect(body, t.BOOL)
        if node.name in ("all", "exists", "existsOne"):
            self._expect(bodies[-1], t.BOOL)
            result = t.BOOL
        else:
            made = self._substitute(self._check(bodies[-1]))
            if node.name == "transformList":
                result = t.list_of(made)
            else:
                result = made if node.name == "transformMapEntry" else t.map_of(key, made)
        self._locals.pop()
        return result

    def _optional_map(self, node: Expr) -> CelType:
        """`x.optMap(v, …)`: the body sees what the optional holds."""
        variable, body = node.args
        if node.target is None or variable.kind != "ident":
            return self._fail(variable.id, f"{node.name}() variable name must be a simple identifier")
        holder = self._substitute(self._check(node.target))
        held = holder.parameters[0] if holder.kind == "optional" else t.DYN
        self._locals.append({variable.name: held})
        made = self._substitute(self._check(body))
        self._locals.pop()
        if node.name == "optMap":
            return t.optional_of(made)
        return made if made.kind == "optional" else t.optional_of(t.DYN)

    # Assignability (cel-go's checker/types.go)

    def _all_assignable(self, given: Sequence[CelType], wanted: Sequence[CelType]) -> bool:
        before = dict(self._bound)
        if all(self._fits(a, b) for a, b in zip(given, wanted, strict=True)):
            return True
        self._bound = before
        return False

    def _assignable(self, first: CelType, second: CelType) -> bool:
        return self._all_assignable([first], [second])

    def _fits(self, first: CelType, second: CelType) -> bool:
        if first == second:
            return True
        if second.kind == "param":
            fits, was_bound = self._bind(second, first)
            if fits or was_bound:
                return fits
        if first.kind == "param":
            return self._bind(first, second)[0]
        loose = ("dyn", "error", "any")
        if first.kind in loose or second.kind in loose:
            return True
        if first.kind == "null" or second.kind == "null":
            other = second if first.kind == "null" else first
            return other.kind in _NULLABLE or other in (t.DURATION, t.TIMESTAMP)
        if first.kind == "type":
            return second.kind == "type"
        if first.kind != second.kind or first.name != second.name:
            return False
        return len(first.parameters) == len(second.parameters) and all(
            self._fits(a, b) for a, b in zip(first.parameters, second.parameters, strict=True)
        )

    def _bind(self, variable: CelType, value: CelType) -> tuple[bool, bool]:
        """Whether `value` may stand for the variable, and whether something already did."""
        value = self._resolve_variable(value)
        bound = self._bound.get(variable.name)
        if bound is not None:
            if value == variable:
                return True, True
            fits = self._fits(value, bound)
            if fits and value.kind != "param" and bound.kind != "dyn" and value.kind == "dyn":
                self._bound[variable.name] = value
            return fits, True
        if value != variable:
            if _mentions(value, variable.name):
                return False, False
            self._bound[variable.name] = value
        return True, False

    def _resolve_variable(self, value: CelType) -> CelType:
        while value.kind == "param" and value.name in self._bound:
            value = self._bound[value.name]
        return value

    def _substitute(self, value: CelType, free_is_dyn: bool = False) -> CelType:
        value = self._resolve_variable(value)
        if value.kind == "param":
            return t.DYN if free_is_dyn else value
        if not value.parameters:
            return value
        inner = tuple(self._substitute(p, free_is_dyn) for p in value.parameters)
        return CelType(value.kind, value.name, inner)


def _mentions(value: CelType, name: str) -> bool:
    return (value.kind == "param" and value.name == name) or any(_mentions(p, name) for p in value.parameters)


def _qualified(node: Expr | None) -> str:
    """`a.b.c` for a chain of selections from a name, or ""."""
    parts: list[str] = []
    while node is not None and node.kind == "select" and not node.test_only:
        parts.append(node.name)
        node = node.target
    if node is None or node.kind != "ident":
        return ""
    return ".".join([node.name, *reversed(parts)])
