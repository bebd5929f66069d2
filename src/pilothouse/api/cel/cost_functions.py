"""What calls cost (cel-go's checker/cost.go functionCost and ext/sets.go; Kubernetes' own functions:
k8s.io/apiserver/pkg/cel/library/cost.go).

Most functions cost 1. Those that look at every character or item, and those whose result's size can be told,
have an entry in a table here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pilothouse.api.cel import types as t
from pilothouse.api.cel.cost_estimate import ONE, UINT64_MAX, UNKNOWN, ZERO, Estimate, fixed
from pilothouse.api.cel.types import CelType

_CHARACTER = 0.1
_REGEX_CHARACTER = 0.25
_NAME_FORMAT_REGEX_SIZE = 128
_FORMAT_SIZE = 64


class Argument(NamedTuple):
    """An argument or receiver. `path` leads to it in the schema, () when none does; `size` is what is known without
    it; `value` is a literal's."""

    type: CelType
    path: tuple[str, ...]
    size: Estimate | None
    value: Any


class Call(NamedTuple):
    name: str
    overload: tuple[CelType, ...]
    """The overload's declared arguments, a receiver first."""
    target: Argument | None
    arguments: Sequence[Argument]
    costs: Sequence[Estimate]
    """Of evaluating the arguments."""
    schema_size: Callable[[tuple[str, ...]], Estimate | None]

    def size(self, of: Argument) -> Estimate:
        if of.size is not None:
            return of.size
        found = self.schema_size(of.path)
        return found if found is not None else UNKNOWN

    @property
    def argument_costs(self) -> Estimate:
        total = ZERO
        for cost in self.costs:
            total = total.plus(cost)
        return total


class CallEstimate(NamedTuple):
    cost: Estimate
    size: Estimate | None = None
    """Of the result."""


_Rule = Callable[[Call], CallEstimate | None]


def estimate_call(call: Call) -> CallEstimate:
    """A call's cost with its arguments' (the receiver's is not in it), and its result's size where that is known."""
    kubernetes = _KUBERNETES.get(call.name)
    found = kubernetes(call) if kubernetes is not None else None
    if found is not None:
        return CallEstimate(found.cost.plus(call.argument_costs), found.size)
    if call.name in ("_&&_", "_||_"):
        first, second = call.costs
        return CallEstimate(Estimate(first.least, first.plus(second).most))
    if call.name == "_?_:_":
        return _conditional(call)
    standard = _STANDARD.get(call.name)
    found = (standard(call) if standard is not None else None) or CallEstimate(ONE)
    return CallEstimate(found.cost.plus(call.argument_costs), found.size)


# Kubernetes' functions


def _each_item(call: Call) -> CallEstimate | None:
    """One comparison an item, and its characters if it has some."""
    if call.target is None:
        return None
    size = call.size(call.target)
    if not call.target.type.parameters:
        return CallEstimate(size.scaled(_CHARACTER))
    item = _item(call.target)
    cost = ONE
    if item.type in (t.STRING, t.BYTES):
        cost = cost.plus(call.size(item).scaled(_CHARACTER))
    return CallEstimate(size.times(cost))


def _item(of: Argument) -> Argument:
    return Argument(of.type.parameters[0], (*of.path, "@items") if of.path else (), None, None)


def _first_argument_read(call: Call) -> CallEstimate | None:
    if len(call.arguments) != 1:
        return None
    return CallEstimate(call.size(call.arguments[0]).scaled(_CHARACTER))


def _receiver_read(call: Call) -> CallEstimate | None:
    if call.target is None:
        return None
    size = call.size(call.target)
    return CallEstimate(size.scaled(_CHARACTER), size)


def _replace(call: Call) -> CallEstimate | None:
    if call.target is None or len(call.arguments) < 2:
        return None
    size = call.size(call.target)
    old, new = (call.size(argument) for argument in call.arguments[:2])
    count_most, kept_most = _longest(size.most, old.least, new.most)
    count_least, kept_least = _shortest(size.least, old.most, new.least)
    result = Estimate(count_least, count_most).times(new).plus(Estimate(kept_least, kept_most))
    return CallEstimate(size.scaled(2 * _CHARACTER), result)


def _longest(size: int, old: int, new: int) -> tuple[int, int]:
    """Replacements and kept characters of the longest result: an empty text is found around every character."""
    if old == 0:
        return min(size + 1, UINT64_MAX), size
    return (0, size) if new <= old else (math.ceil(float(size) / old), 0)


def _shortest(size: int, old: int, new: int) -> tuple[int, int]:
    if old == 0:
        return min(size + 1, UINT64_MAX), size
    return (0, size) if old <= new else (math.ceil(float(size) / old), 0)


def _split(call: Call) -> CallEstimate | None:
    if call.target is None:
        return None
    size = call.size(call.target)
    most = size.most
    if len(call.arguments) > 1 and isinstance(call.arguments[1].value, int):
        most = max(0, call.arguments[1].value)
    return CallEstimate(size.scaled(2 * _CHARACTER), Estimate(0, most))


def _join(call: Call) -> CallEstimate | None:
    if call.target is None:
        return None
    count, size = call.size(call.target), ZERO
    if call.target.type.parameters:
        size = count.times(call.size(_item(call.target)))
    if call.arguments:
        separators = Estimate(max(0, count.least - 1), max(0, count.most - 1))
        size = size.plus(call.size(call.arguments[0]).times(separators))
    return CallEstimate(size.scaled(_CHARACTER), size)


def _pattern_cost(text: Estimate, pattern: Estimate) -> Estimate:
    return text.plus(ONE).scaled(_CHARACTER).times(pattern.scaled(_REGEX_CHARACTER))


def _find(call: Call) -> CallEstimate | None:
    if call.target is None or not call.arguments:
        return None
    size = call.size(call.target)
    return CallEstimate(_pattern_cost(size, call.size(call.arguments[0])), Estimate(0, size.most))


def _argument_of_method_read(call: Call) -> CallEstimate | None:
    # Upstream looks for a receiver, which functions like quantity() don't have: they cost 1.
    if call.target is None or not call.arguments:
        return None
    return CallEstimate(call.size(call.arguments[0]).scaled(_CHARACTER))


_ADDRESS = Estimate(4, 16)


def _contains_ip(call: Call) -> CallEstimate | None:
    if call.target is None or not call.arguments:
        return None
    cost = _ADDRESS.plus(_ADDRESS).scaled(_CHARACTER)
    return CallEstimate(cost.plus(_parsed(call)))


def _contains_cidr(call: Call) -> CallEstimate | None:
    found = _contains_ip(call)
    return None if found is None else CallEstimate(found.cost.plus(_ADDRESS.scaled(_CHARACTER)).plus(ONE))


def _parsed(call: Call) -> Estimate:
    """What reading an address out of a string costs."""
    if call.overload[-1] != t.STRING:
        return ZERO
    return call.size(call.arguments[0]).scaled(_CHARACTER)


def _validate_format(call: Call) -> CallEstimate | None:
    if call.target is None or not call.arguments:
        return None
    read = call.size(call.arguments[0]).scaled(_CHARACTER)
    return CallEstimate(read.scaled(_NAME_FORMAT_REGEX_SIZE * _REGEX_CHARACTER))


def _equal_objects(call: Call) -> CallEstimate | None:
    """Equality of Kubernetes' own types; None for all others."""
    if len(call.arguments) != 2 or call.arguments[0].type != call.arguments[1].type:
        return None
    of = call.arguments[0].type
    if of.kind != "opaque":
        return None
    most = {"kubernetes.NamedFormat": _FORMAT_SIZE, "kubernetes.URL": _url_size(call)}.get(of.name)
    return CallEstimate(ONE if most is None else Estimate(1, most).scaled(_CHARACTER))


def _url_size(call: Call) -> int:
    # Upstream asks the right side twice.
    size = call.arguments[1].size
    return 1 if size is None else size.most


def _sets(factor: float) -> _Rule:
    def cost(call: Call) -> CallEstimate | None:
        if len(call.arguments) != 2:
            return None
        first, second = (call.size(argument) for argument in call.arguments)
        return CallEstimate(first.times(second).scaled(factor).plus(ONE))

    return cost


_KUBERNETES: Mapping[str, _Rule] = {
    "check": lambda call: CallEstimate(fixed(350_000)),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _each_item),
    "url": _first_argument_read,
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _receiver_read),
    "replace": _replace,
    "split": _split,
    "join": _join,
    **dict.fromkeys(("find", "findAll"), _find),
    **dict.fromkeys(
        ("cidr", "isIP", "isCIDR", "ip", "quantity", "isQuantity", "semver", "isSemver"),
        _argument_of_method_read,
    ),
    "containsIP": _contains_ip,
    "containsCIDR": _contains_cidr,
    "validate": _validate_format,
    "_==_": _equal_objects,
    "sets.contains": _sets(1),
    "sets.intersects": _sets(1),
    "sets.equivalent": _sets(2),
}


# CEL's own


def _known(of: Argument) -> Estimate:
    return of.size if of.size is not None else UNKNOWN


def _conditional(call: Call) -> CallEstimate:
    condition, yes, no = call.costs
    size = _known(call.arguments[1]).union(_known(call.arguments[2]))
    return CallEstimate(condition.plus(yes.union(no)), size)


def _format(call: Call) -> CallEstimate | None:
    return CallEstimate(_known(call.target).scaled(_CHARACTER)) if call.target is not None else None


def _to_bytes(call: Call) -> CallEstimate | None:
    if call.overload != (t.STRING,):
        return None
    size = _known(call.arguments[0])
    # Go's multiplication wraps around.
    return CallEstimate(size.scaled(_CHARACTER), Estimate(size.least, size.most * 4 & UINT64_MAX))


def _to_string(call: Call) -> CallEstimate | None:
    if call.overload != (t.BYTES,):
        return None
    size = _known(call.arguments[0])
    return CallEstimate(size.scaled(_CHARACTER), Estimate(size.least // 4, size.most))


def _quote(call: Call) -> CallEstimate | None:
    size = _known(call.arguments[0])
    return CallEstimate(size.scaled(_CHARACTER), Estimate(size.least + 2, size.most * 2 + 2 & UINT64_MAX))


def _prefix(call: Call) -> CallEstimate | None:
    return CallEstimate(_known(call.arguments[0]).scaled(_CHARACTER)) if len(call.arguments) == 1 else None


def _in(call: Call) -> CallEstimate | None:
    return CallEstimate(_known(call.arguments[1]).scaled(1)) if call.overload[-1].kind == "list" else None


def _matches(call: Call) -> CallEstimate | None:
    if call.target is None or len(call.arguments) != 1:
        return None
    return CallEstimate(_pattern_cost(_known(call.target), _known(call.arguments[0])))


def _contains(call: Call) -> CallEstimate | None:
    if call.target is None or len(call.arguments) != 1:
        return None
    text, part = (_known(of).scaled(_CHARACTER) for of in (call.target, call.arguments[0]))
    return CallEstimate(text.times(part))


def _add(call: Call) -> CallEstimate | None:
    first = call.overload[0]
    if first not in (t.STRING, t.BYTES) and first.kind != "list":
        return None
    size = _known(call.arguments[0]).plus(_known(call.arguments[1]))
    return CallEstimate(ONE if first.kind == "list" else size.scaled(_CHARACTER), size)


def _compare_texts(call: Call) -> CallEstimate | None:
    return _compare(call) if call.overload[0] in (t.STRING, t.BYTES) else None


def _compare(call: Call) -> CallEstimate | None:
    most = min(_known(call.arguments[0]).most, _known(call.arguments[1]).most)
    return CallEstimate(Estimate(min(1, most), most).scaled(_CHARACTER))


_STANDARD: Mapping[str, _Rule] = {
    "format": _format,
    "bytes": _to_bytes,
    "string": _to_string,
    "strings.quote": _quote,
    **dict.fromkeys(("startsWith", "endsWith"), _prefix),
    "@in": _in,
    "matches": _matches,
    "contains": _contains,
    "_+_": _add,
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _compare_texts),
    **dict.fromkeys(("_==_", "_!=_"), _compare),
}
