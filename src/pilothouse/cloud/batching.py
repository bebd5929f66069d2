"""Many questions, few calls: what is asked within a moment goes to the cloud together.

    ask(a) ─┐
    ask(b) ─┼─ window ─▶ describe([a, b, c]) ─▶ {a: …, b: …}   c is missing: None
    ask(c) ─┘

Clouds bill and throttle calls, not instances: upstream's providers collect describe calls the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from pilothouse.kit.world import World

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

WINDOW_S = 0.05


class _Batch(Generic[K, V]):
    """The keys of one call, and the task that makes it."""

    def __init__(self) -> None:
        self.keys: dict[K, None] = {}
        self.full = asyncio.Event()
        self.task: asyncio.Task[Mapping[K, V]]


class Batcher(Generic[K, V]):
    """`describe` is called with at most `most` distinct keys, and answers for those that exist."""

    def __init__(
        self,
        world: World,
        describe: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        most: int,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        self._world = world
        self._describe = describe
        self._most = most
        self._window_s = window_s
        self._open: _Batch[K, V] | None = None
        self._full: _Batch[K, V] | None = None
        """The last one that took no more keys, until its call begins: who asks for one of its keys may join."""
        self._running: set[asyncio.Task[Mapping[K, V]]] = set()

    async def ask(self, key: K) -> V | None:
        """None for a key that the cloud does not know; raises what `describe` raised for its batch."""
        batch = self._full
        if batch is None or key not in batch.keys:
            batch = self._open or self._begin()
            batch.keys[key] = None
            if len(batch.keys) == self._most:
                self._open, self._full = None, batch
                batch.full.set()
        # Shielded: one who gives up does not take the answer from the others.
        return (await asyncio.shield(batch.task)).get(key)

    def _begin(self) -> _Batch[K, V]:
        batch = self._open = _Batch[K, V]()
        batch.task = asyncio.get_running_loop().create_task(self._call(batch))
        self._running.add(batch.task)
        batch.task.add_done_callback(self._running.discard)
        return batch

    async def _call(self, batch: _Batch[K, V]) -> Mapping[K, V]:
        try:
            await self._world.within(self._window_s, batch.full.wait())
        except TimeoutError:
            if self._open is batch:
                self._open = None
        if self._full is batch:
            self._full = None
        return await self._describe(list(batch.keys))

    async def close(self) -> None:
        """Who still waits is cancelled."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
