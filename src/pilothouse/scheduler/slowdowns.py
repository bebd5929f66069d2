"""Slowdowns that were measured, learned pair by pair of classes.

A pod's slowdown, how many times longer the same work takes as when it runs alone, is what its neighbours together do
to it. Each measurement is one equation over the neighbours' classes; the estimates move towards fulfilling it:

    error     = measured - sum over classes b of  n_b x estimate(a, b)
    estimate(a, b) += rate x error x n_b / sum over classes of n^2        (never below 0)

That is the normalised least mean squares rule (Widrow and Hoff 1960; Nagumo and Noda 1967): it needs no history, does
not blow up, and follows workloads that change. Classes rather than pods learn, as in CPI² (Zhang et al., EuroSys 2013),
which compares a task's cycles per instruction with those of its job elsewhere; that few measurements must serve many
pairs is what Paragon and Quasar (Delimitrou and Kozyrakis, ASPLOS 2013 and 2014) answer by collaborative filtering:
here a pair that was never measured falls back on what the pods declare.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from pilothouse.scheduler.pressure import PAIR_MAX, WHOLE

RATE = 0.3
"""How far an estimate moves at one measurement; 1 believes the last one wholly."""
_PAIRS_MAX = 10_000


class Slowdowns:
    """Estimates by (class that suffers, class that is beside it), as shares: 0.25 is a quarter slower."""

    def __init__(self, rate: float = RATE) -> None:
        self._rate = rate
        self._pairs: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.observations = 0

    def __len__(self) -> int:
        return len(self._pairs)

    def set(self, one: str, other: str, share: float) -> None:
        """What is known beforehand."""
        self._pairs[one, other] = share

    def observe(self, one: str, neighbours: Mapping[str, int], slowdown: float) -> None:
        """A pod of class `one` was measured `slowdown` times (1.0: not) slowed down beside so many of each class.
        Without neighbours there is nothing to learn."""
        squares = sum(n * n for n in neighbours.values())
        if not squares:
            return
        self.observations += 1
        expected = sum(n * self._pairs.get((one, other), 0.0) for other, n in neighbours.items())
        step = self._rate * (max(slowdown - 1.0, 0.0) - expected) / squares
        for other, n in neighbours.items():
            pair = (one, other)
            known = self._pairs.get(pair)
            if known is None and step <= 0:
                self._pairs[pair] = 0.0
            else:
                self._pairs[pair] = max((known or 0.0) + step * n, 0.0)
            self._pairs.move_to_end(pair)
        while len(self._pairs) > _PAIRS_MAX:
            self._pairs.popitem(last=False)

    def estimate(self, one: str, other: str) -> int | None:
        """In thousandths; None for a pair that nobody has measured."""
        share = self._pairs.get((one, other)) if one and other else None
        return None if share is None else min(round(share * WHOLE), PAIR_MAX)
