"""What an expression may cost, before it ever ran (cel-go's checker/cost.go).

A cost is counted in the evaluator's steps: 1 for a name or a field, 1 for a call, a tenth for each character that
is looked at. Loops cost what one turn costs, times the size of what they run over; sizes come from literals, from
earlier results, and from the schema, which is found by the path that an expression takes through it:

    self.items.all(i, i.name == 'x')      i is at self.items.@items, i.name at self.items.@items.name

The number decides which rules a definition may have, so this follows upstream to the letter, oddities included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pilothouse.api.cel import types as t
from pilothouse.api.cel.compiler import Program
from pilothouse.api.cel.cost_estimate import ONE, UINT64_MAX, UNKNOWN, ZERO, Estimate, fixed
from pilothouse.api.cel.cost_functions import Argument, Call, estimate_call
from pilothouse.api.cel.cost_macros import expand
from pilothouse.api.cel.decl_types import DeclType
from pilothouse.api.cel.declarations import Overload
from pilothouse.api.cel.syntax import Expr
from pilothouse.api.cel.types import CelType

Path = tuple[str, ...]

_LIST_COST, _MAP_COST, _STRUCT_COST = fixed(10), fixed(30), fixed(40)
_SCALARS = (t.BOOL, t.INT, t.UINT, t.DOUBLE, t.DURATION, t.TIMESTAMP)
_ACCUMULATORS = ("@result", "__result__")


class _Entries(NamedTuple):
    """Sizes of what a list or map holds."""

    container: str
    key: Estimate
    value: Estimate

    def union(self, other: _Entries | None) -> _Entries | None:
        if other is None:
            return None
        return _Entries(self.container, self.key.union(other.key), self.value.union(other.value))


class _Local(NamedTuple):
    path: Path
    size: Estimate | None
    entries: _Entries | None


def cost_max(program: Program, root: DeclType) -> int:
    """The most that a run can cost. `root`: what `self` and `oldSelf` are."""
    return _Coster(program, root).cost(program.tree.root).most


class _Coster:
    def __init__(self, program: Program, root: DeclType) -> None:
        self._types: dict[int, CelType] = dict(program.types)
        self._overloads: dict[int, Sequence[Overload]] = dict(program.overloads)
        self._root = root
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Estimate] = {}
        self._entries: dict[int, _Entries] = {}
        self._locals: dict[str, list[_Local]] = {}
        self._kinds: Mapping[str, Callable[[Expr], Estimate]] = {
            "const": lambda node: ZERO,
            "ident": self._ident,
            "select": self._select,
            "call": self._call,
            "list": self._list,
            "map": self._map,
            "struct": self._struct,
            "comprehension": self._comprehension,
        }

    def cost(self, node: Expr) -> Estimate:
        return self._kinds[node.kind](node)

    def _sum(self, nodes: Sequence[Expr]) -> Estimate:
        total = ZERO
        for node in nodes:
            total = total.plus(self.cost(node))
        return total

    # Names and fields

    def _ident(self, node: Expr) -> Estimate:
        local = self._local(node.name)
        self._paths[node.id] = local.path if local is not None else (node.name,)
        return ONE

    def _select(self, node: Expr) -> Estimate:
        assert node.target is not None
        operand = self.cost(node.target)
        if node.test_only:
            # Kubernetes counts has() as free.
            return operand
        self._paths[node.id] = (*self._path(node.target), node.name)
        return operand.plus(ONE) if self._type(node.target).kind in ("map", "struct", "param") else operand

    # Calls

    def _call(self, node: Expr) -> Estimate:
        expanded = expand(node, self._types, self._overloads)
        if expanded is not None:
            return self.cost(expanded)
        if node.name == "dyn":
            inner = self.cost(node.args[0])
            self._copy_sizes(node, node.args[0])
            return ONE.plus(inner)
        costs = [self.cost(argument) for argument in node.args]
        arguments = [self._argument(argument) for argument in node.args]
        overloads = self._overloads.get(node.id, (_ANY_OVERLOAD,) if node.name == "_?._" else ())
        if not overloads:
            return ZERO
        total, target = ZERO, None
        if node.target is not None:
            total, target = self.cost(node.target), self._argument(node.target)
        function, size = Estimate(UINT64_MAX, 0), None
        for overload in overloads:
            call = Call(node.name, overload.arguments, target, arguments, costs, self._schema_size)
            estimate = estimate_call(call)
            function = function.union(estimate.cost)
            if estimate.size is not None:
                size = estimate.size if size is None else size.union(estimate.size)
            size = self._noted(node, overload, size)
        if size is not None:
            self._sizes[node.id] = size
        return total.plus(function)

    def _noted(self, node: Expr, overload: Overload, size: Estimate | None) -> Estimate | None:
        """Note what a call says of what it results in: its path, its entries. Returns its size."""
        kinds = [argument.kind for argument in overload.arguments]
        if node.name == "_[_]" and kinds[0] in ("list", "map"):
            entries = self._entries_of(node.args[0])
            size = entries.value if entries is not None else None
            self._paths[node.id] = (
                *self._path(node.args[0]),
                "@items" if kinds[0] == "list" else "@values",
            )
        elif node.name == "_?_:_":
            self._note_entries(node, node.args[1], node.args[2])
        elif node.name == "_+_" and kinds[0] == "list":
            self._note_entries(node, *node.args[:2])
        return size if size is not None else self._size(node)

    def _note_entries(self, node: Expr, *parts: Expr) -> None:
        found = [self._entries_of(part) for part in parts]
        if len(found) == 2 and found[0] is not None:
            both = found[0].union(found[1])
            if both is not None:
                self._entries[node.id] = both

    def _argument(self, node: Expr) -> Argument:
        path = self._path(node)
        if path and path[0] in _ACCUMULATORS:
            path = ()
        return Argument(
            self._type(node), path, self._size(node), node.value if node.kind == "const" else None
        )

    # Literals

    def _list(self, node: Expr) -> Estimate:
        total = ZERO
        value = Estimate(UINT64_MAX if node.args else 0, 0)
        for item in node.args:
            total = total.plus(self.cost(item))
            value = value.union(self._size_or_unknown(item))
        self._entries[node.id] = _Entries("list", ONE, value)
        return total.plus(_LIST_COST)

    def _map(self, node: Expr) -> Estimate:
        total = ZERO
        key = value = Estimate(UINT64_MAX if node.entries else 0, 0)
        for entry in node.entries:
            assert isinstance(entry.key, Expr)
            total = total.plus(self.cost(entry.key)).plus(self.cost(entry.value))
            key = key.union(self._size_or_unknown(entry.key))
            value = value.union(self._size_or_unknown(entry.value))
        self._entries[node.id] = _Entries("map", key, value)
        return total.plus(_MAP_COST)

    def _struct(self, node: Expr) -> Estimate:
        return self._sum([entry.value for entry in node.entries]).plus(_STRUCT_COST)

    # Loops

    def _comprehension(self, node: Expr) -> Estimate:
        assert node.target is not None
        first, second, accumulator = node.variables
        start, condition, step, result = node.args
        if _is_binding(node):
            return self._binding(node)
        total = self.cost(node.target).plus(self.cost(start))
        with self._holding(accumulator, self._bound(start)):
            if second:
                loops = {
                    first: self._iterated(node.target, "key"),
                    second: self._iterated(node.target, "value"),
                }
            else:
                loops = {first: self._iterated(node.target, "")}
            for name, local in loops.items():
                self._locals.setdefault(name, []).append(local)
            turn = self.cost(condition)
            turn = self.cost(step).plus(turn)
            for name in loops:
                self._locals[name].pop()
            total = total.plus(self.cost(result))
        count = self._size_or_unknown(node.target)
        total = total.plus(count.times(turn))
        if start.kind == "const":
            self._set_size(node, self._size(start))
        elif start.kind in ("list", "map"):
            self._sizes[node.id] = count
            entries = self._entries_of(step)
            if entries is not None:
                self._entries[node.id] = entries
        return total

    def _binding(self, node: Expr) -> Estimate:
        """What optMap becomes: a loop that never runs, around a name."""
        assert node.target is not None
        start, result = node.args[0], node.args[3]
        total = self.cost(node.target).plus(self.cost(start))
        with self._holding(node.variables[2], self._bound(start)):
            total = total.plus(self.cost(result))
        self._copy_sizes(node, result)
        return total

    @contextmanager
    def _holding(self, name: str, local: _Local) -> Iterator[None]:
        self._locals.setdefault(name, []).append(local)
        yield
        self._locals[name].pop()

    def _bound(self, node: Expr) -> _Local:
        return _Local(self._path(node), self._size(node), self._entries_of(node))

    def _iterated(self, over: Expr, part: str) -> _Local:
        """A loop's variable. `part`: key or value of two variables; "" for the only one, which is a map's key or
        a list's item."""
        entries = self._entries_of(over)
        is_list = (entries.container if entries is not None else self._type(over).kind) == "list"
        of_value = is_list if not part else part == "value"
        if of_value:
            step = "@items" if is_list else "@values"
        else:
            step = "@indices" if is_list else "@keys"
        size = None if entries is None else entries.value if of_value else entries.key
        return _Local((*self._path(over), step), size, None)

    # What is known of a node

    def _local(self, name: str) -> _Local | None:
        found = self._locals.get(name)
        return found[-1] if found else None

    def _type(self, node: Expr) -> CelType:
        return self._types.get(node.id, t.DYN)

    def _path(self, node: Expr) -> Path:
        if node.kind == "ident":
            local = self._local(node.name)
            if local is not None:
                return local.path
        return self._paths.get(node.id, ())

    def _set_size(self, node: Expr, size: Estimate | None) -> None:
        if size is not None:
            self._sizes[node.id] = size

    def _copy_sizes(self, node: Expr, source: Expr) -> None:
        self._set_size(node, self._size(source))
        entries = self._entries_of(source)
        if entries is not None:
            self._entries[node.id] = entries

    def _size_or_unknown(self, node: Expr) -> Estimate:
        size = self._size(node)
        return size if size is not None else UNKNOWN

    def _size(self, node: Expr) -> Estimate | None:
        if node.id in self._sizes:
            return self._sizes[node.id]
        literal = _literal_size(node)
        if literal is not None:
            return literal
        size = self._schema_size(self._path(node))
        if size is not None:
            self._sizes[node.id] = size
            return size
        if _is_scalar(self._type(node)):
            return ONE
        local = self._local(node.name) if node.kind == "ident" else None
        return local.size if local is not None else None

    def _entries_of(self, node: Expr) -> _Entries | None:
        if node.id in self._entries:
            return self._entries[node.id]
        local = self._local(node.name) if node.kind == "ident" else None
        return local.entries if local is not None else None

    def _schema_size(self, path: Path) -> Estimate | None:
        """What the schema says at a path. The first step is taken for `self` whatever it is, as upstream does."""
        if not path:
            return None
        node = self._root
        for step in path[1:]:
            inner = _STEPS[step](node) if step in _STEPS else (node.fields or {}).get(step)
            if inner is None:
                return None
            node = inner
        return Estimate(0, node.elements_max)


_STEPS: dict[str, Callable[[DeclType], DeclType | None]] = {
    "@items": lambda node: node.element,
    "@values": lambda node: node.element,
    "@keys": lambda node: node.key,
}
_ANY_OVERLOAD = Overload(False, (t.DYN,), t.DYN)


def _is_binding(node: Expr) -> bool:
    over, condition = node.target, node.args[1]
    return (
        over is not None
        and over.kind == "list"
        and not over.args
        and condition.kind == "const"
        and condition.value is False
        and node.variables[2] not in _ACCUMULATORS
    )


def _literal_size(node: Expr) -> Estimate | None:
    match node.kind:
        case "const":
            return fixed(len(node.value)) if isinstance(node.value, (str, bytes)) else ONE
        case "list":
            return fixed(len(node.args))
        case "map":
            return fixed(len(node.entries))
    return None


def _is_scalar(of: CelType) -> bool:
    return _is_scalar(of.parameters[0]) if of.kind == "optional" else of in _SCALARS
