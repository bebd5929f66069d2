"""Lists of quantities by resource name, and their arithmetic (k8s.io/apiserver/pkg/quota/v1 resources.go).

Functions return new dicts unless they say otherwise. A sum keeps the family (Mi, m, …) of the first number that is
not zero, as Go's Quantity does: it shows in `used: limits.memory=512Mi`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.api import quantity
from pilothouse.api.quantity import ZERO, Quantity

Amounts = dict[str, Quantity]


def read(texts: Mapping[str, str] | None) -> Amounts:
    """A ResourceList of an object."""
    return {name: quantity.parse(str(text)) for name, text in (texts or {}).items()}


def texts(amounts: Mapping[str, Quantity]) -> dict[str, str]:
    """A ResourceList for an object, names in order, as Go writes a map."""
    return {name: str(amounts[name]) for name in sorted(amounts)}


def add(a: Mapping[str, Quantity], b: Mapping[str, Quantity]) -> Amounts:
    total = dict(a)
    add_to(total, b)
    return total


def add_to(total: Amounts, more: Mapping[str, Quantity]) -> None:
    """Changes `total`."""
    for name, amount in more.items():
        present = total.get(name)
        total[name] = amount if present is None else quantity.add(present, amount)


def raise_to(total: Amounts, floor: Mapping[str, Quantity]) -> None:
    """The greater of both for every name in `floor`. Changes `total`."""
    for name, amount in floor.items():
        present = total.get(name)
        if present is None or amount.nano > present.nano:
            total[name] = amount


def increase(now: Mapping[str, Quantity], before: Mapping[str, Quantity]) -> Amounts:
    """What `now` has more; 0 where it has less (SubtractWithNonNegativeResult)."""
    more: Amounts = {}
    for name, amount in now.items():
        left = amount.nano - before.get(name, ZERO).nano
        more[name] = Quantity(left, amount.family) if left > 0 else ZERO
    for name in before:
        more.setdefault(name, ZERO)
    return more


def mask(amounts: Mapping[str, Quantity], names: Iterable[str]) -> Amounts:
    wanted = set(names)
    return {name: amount for name, amount in amounts.items() if name in wanted}


def exceeded(amounts: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> list[str]:
    """The names of which there is more than the limit."""
    return [name for name, most in limits.items() if name in amounts and amounts[name].nano > most.nano]


def without_zeros(amounts: Mapping[str, Quantity]) -> Amounts:
    return {name: amount for name, amount in amounts.items() if amount.nano}


def negative(amounts: Mapping[str, Quantity]) -> list[str]:
    return [name for name, amount in amounts.items() if amount.nano < 0]


def equal(a: Mapping[str, Quantity], b: Mapping[str, Quantity]) -> bool:
    """The same names with the same values, however they are written."""
    return a.keys() == b.keys() and all(a[name].nano == b[name].nano for name in a)


def pretty(amounts: Mapping[str, Quantity]) -> str:
    """`limits.memory=2Gi,requests.cpu=600m`."""
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))
