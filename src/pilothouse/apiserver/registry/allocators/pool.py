"""A pool of numbers of which some are taken: the allocator under both addresses and ports."""

from __future__ import annotations

import random
from collections.abc import Callable

Taken = Callable[[int], bool]
"""Whether an object holds a number."""

_TRIES = 16
_SCAN_MAX = 1 << 16


class Full(Exception):
    """Nothing is left."""


class Pool:
    """Numbers `first`…`last`. Random ones come from above the `kept_back` first ones while there are any, so
    that those who choose find the low ones free (KEP-3070, KEP-3668)."""

    def __init__(self, first: int, last: int, kept_back: int) -> None:
        self.first = first
        self.last = last
        self._kept_back = kept_back
        self._reserved: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def reserve(self, number: int, taken: Taken) -> bool:
        """Take a chosen number; False when somebody has it."""
        if number in self._reserved or taken(number):
            return False
        self._reserved.add(number)
        return True

    def pick(self, taken: Taken, chance: random.Random) -> int:
        """A free number at random; raises Full."""
        upper = self.first + self._kept_back
        for low, high in ((upper, self.last), (self.first, upper - 1)):
            if low <= high:
                number = self._pick_between(low, high, taken, chance)
                if number is not None:
                    self._reserved.add(number)
                    return number
        raise Full

    def _pick_between(self, low: int, high: int, taken: Taken, chance: random.Random) -> int | None:
        """A few throws of the dice, then, where the pool is nearly full, every number from a random one on."""
        for _ in range(_TRIES):
            number = chance.randint(low, high)
            if number not in self._reserved and not taken(number):
                return number
        size = high - low + 1
        start = chance.randrange(size)
        for step in range(min(size, _SCAN_MAX)):
            number = low + (start + step) % size
            if number not in self._reserved and not taken(number):
                return number
        return None

    def release(self, number: int) -> None:
        """The reservation ends: the number was stored, or is not wanted after all."""
        self._reserved.discard(number)


def kept_back(size: int, *, least: int, most: int, share: int) -> int:
    """How many of `size` numbers random allocation leaves alone at first: a `share`th, within bounds; none of
    a pool that is smaller than the lower bound."""
    return 0 if size < least else min(max(size // share, least), most)
