"""A pool of numbers of which some are taken: the allocator under both addresses and ports."""

from __future__ import annotations

import random
from collections.abc import Iterable


class Full(Exception):
    """Nothing is left."""


class Pool:
    """Numbers `first`…`last`. Random ones come from the upper part while there are any, so that the lower part
    stays free for those who choose (KEP-3070, KEP-3668): the lower min(max(16, size/16), 256) are kept back."""

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        size = last - first + 1
        self._static = min(max(16, size // 16), 256) if size > 16 else 0
        self._reserved: set[int] = set()

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last

    def reserve(self, number: int, taken: Iterable[int]) -> bool:
        """Take a chosen number; False when somebody has it."""
        if number in self._reserved or number in set(taken):
            return False
        self._reserved.add(number)
        return True

    def pick(self, taken: Iterable[int], chance: random.Random) -> int:
        """A free number at random; raises Full."""
        used = self._reserved | set(taken)
        for low, high in ((self.first + self._static, self.last), (self.first, self.last)):
            for _ in range(16):
                number = chance.randint(low, high)
                if number not in used:
                    self._reserved.add(number)
                    return number
            free = [n for n in range(low, min(high, low + 100_000) + 1) if n not in used]
            if free:
                number = chance.choice(free)
                self._reserved.add(number)
                return number
        raise Full

    def release(self, number: int) -> None:
        """The reservation ends: the number was stored, or is not wanted after all."""
        self._reserved.discard(number)
