"""Arithmetic of estimates: a least and a greatest value, which never grow past 64 bits
(cel-go's checker/cost.go SizeEstimate and CostEstimate)."""

from __future__ import annotations

import math
from typing import NamedTuple

UINT64_MAX = (1 << 64) - 1


class Estimate(NamedTuple):
    """Of a size (characters, bytes, items, entries) or of a cost."""

    least: int
    most: int

    def plus(self, other: Estimate) -> Estimate:
        return Estimate(_bounded(self.least + other.least), _bounded(self.most + other.most))

    def times(self, other: Estimate) -> Estimate:
        return Estimate(_bounded(self.least * other.least), _bounded(self.most * other.most))

    def scaled(self, factor: float) -> Estimate:
        """Rounded up."""
        return Estimate(_scaled(self.least, factor), _scaled(self.most, factor))

    def union(self, other: Estimate) -> Estimate:
        return Estimate(min(self.least, other.least), max(self.most, other.most))


def fixed(value: int) -> Estimate:
    return Estimate(value, value)


ZERO, ONE = fixed(0), fixed(1)
UNKNOWN = Estimate(0, UINT64_MAX)


def _bounded(value: int) -> int:
    return min(value, UINT64_MAX)


def _scaled(value: int, factor: float) -> int:
    scaled = float(value) * factor
    return UINT64_MAX if scaled >= 2.0**64 else math.ceil(scaled)
