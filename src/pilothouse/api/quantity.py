"""Quantities: exact numbers with a suffix, as k8s.io/apimachinery/pkg/api/resource Quantity.

A quantity is a whole number of nano-units and a family of suffixes (binary Ki…Ei, decimal n…E, exponent e3).
Its canonical text has no fraction, as few digits as possible, and the family it was written in.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import NamedTuple

from pilothouse.kit.caching import cached_texts

_FORM = re.compile(r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$")
FORMAT_ERROR = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_ERROR = "unable to parse quantity's suffix"

_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_NANO = 10**9
_MAX = (2**63 - 1) * _NANO


class Quantity(NamedTuple):
    """`nano` is the value times 10⁹; `family` is "binary", "decimal" or "exponent"."""

    nano: int
    family: str = "decimal"

    @property
    def value(self) -> int:
        """Whole units, rounded up (Quantity.Value)."""
        return -(-self.nano // _NANO)

    @property
    def milli(self) -> int:
        """Thousandths, rounded up (Quantity.MilliValue)."""
        return -(-self.nano // 10**6)

    def __str__(self) -> str:
        if self.family == "binary" and (self.nano % _NANO or abs(self.nano) < 1024 * _NANO):
            return _decimal(self.nano, exponent=False)
        if self.family == "binary":
            return _binary(self.nano // _NANO)
        return _decimal(self.nano, exponent=self.family == "exponent")


def _binary(units: int) -> str:
    for suffix, bits in reversed(_BINARY.items()):
        if units % (1 << bits) == 0 and units:
            return f"{units >> bits}{suffix}"
    return str(units)


def _decimal(nano: int, *, exponent: bool) -> str:
    if nano == 0:
        return "0"
    power = -9
    while nano % 1000 == 0 and power < 18:
        nano //= 1000
        power += 3
    if exponent:
        return f"{nano}e{power}" if power else str(nano)
    return f"{nano}{_DECIMAL_SUFFIX[power]}"


@cached_texts(4096)
def parse(text: str) -> Quantity:
    """ValueError with upstream's text for anything that is no quantity."""
    match = _FORM.match(text)
    if match is None or not any(c.isdigit() for c in match[1]):
        raise ValueError(FORMAT_ERROR)
    number, suffix = match[1], match[2]
    try:
        amount = Decimal(number)
    except InvalidOperation:
        raise ValueError(FORMAT_ERROR) from None
    if suffix in _BINARY:
        return _exact(amount * (1 << _BINARY[suffix]), "binary")
    if suffix in _DECIMAL:
        return _exact(amount.scaleb(_DECIMAL[suffix]), "decimal")
    if suffix[:1] in ("e", "E") and suffix[1:].lstrip("+-").isdigit():
        return _exact(amount.scaleb(int(suffix[1:])), "exponent")
    raise ValueError(SUFFIX_ERROR)


def _exact(amount: Decimal, family: str) -> Quantity:
    """Beyond nano precision numbers are rounded away from zero; beyond 2⁶³ they are capped."""
    nano = int((abs(amount) * _NANO).to_integral_value(ROUND_CEILING))
    nano = min(nano, _MAX)
    return Quantity(nano if amount >= 0 else -nano, family)


@cached_texts(4096)
def canonical(text: str) -> str:
    """The text that Go writes for what was read. Text that is canonical already stays as it is."""
    return str(parse(text))


def add(a: Quantity, b: Quantity) -> Quantity:
    """The sum, in the family of `a` unless `a` is zero."""
    return Quantity(a.nano + b.nano, a.family if a.nano else b.family)


ZERO = Quantity(0)
