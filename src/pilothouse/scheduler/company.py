"""Pods that are bound together or not at all: the last step before binding waits for all of them.

    on the way ──ready──▶ waiting ──enough are ready──▶ bound
        └──failed──▶ gone        └──too few are left──▶ refused

Whatever takes time and may fail before (a Permit that waits, volumes that are provisioned) is over by then; what is
left is one request a pod.
"""

from __future__ import annotations

import asyncio


class Company:
    """`size` pods of which at least `needed` must be ready."""

    def __init__(self, size: int, needed: int) -> None:
        self._on_the_way = size
        self._needed = needed
        self._ready = 0
        self._decided = asyncio.Event()

    async def complete(self) -> bool:
        """One pod is ready. Whether enough are, once all others are ready or have failed."""
        self._ready += 1
        self._one_less()
        await self._decided.wait()
        return self._ready >= self._needed

    def leave(self) -> None:
        """One pod has failed on its way."""
        self._one_less()

    def _one_less(self) -> None:
        self._on_the_way -= 1
        if self._on_the_way <= 0:
            self._decided.set()
