"""Asking the cloud about all nodes that wait, when the first of them has its turn.

    turn of n1 ──▶ ask about n1, n2, … n1000: few calls (`batching`) ──▶ answer for n1
    turn of n2 ──▶ answer is there

Nodes are written one by one, or a few at a time; the cloud is asked about them together all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.kit.world import World

T = TypeVar("T")


class _Question(NamedTuple, Generic[T]):
    uid: str
    task: asyncio.Task[T]
    asked_s: float


class Ahead(Generic[T]):
    """`ask` asks about one node; its answer counts for `fresh_s` and is used once."""

    def __init__(self, world: World, ask: Callable[[Obj], Awaitable[T]], fresh_s: float) -> None:
        self._world = world
        self._ask = ask
        self._fresh_s = fresh_s
        self._asked: dict[str, _Question[T]] = {}

    async def about(self, node: Obj, waiting: Callable[[], Iterable[Obj]]) -> T:
        """`waiting` gives the nodes whose turn comes soon. Raises what asking about this one raised."""
        if not self._has(node):
            self._drop_stale()
            for one in (node, *waiting()):
                if not self._has(one):
                    self._start(one)
        return await self._asked.pop(key_of(node)).task

    def _has(self, node: Obj) -> bool:
        found = self._asked.get(key_of(node))
        return found is not None and found.uid == node["metadata"]["uid"] and self._is_fresh(found)

    def _is_fresh(self, question: _Question[T]) -> bool:
        return self._world.clock.monotonic() - question.asked_s < self._fresh_s

    def _start(self, node: Obj) -> None:
        task = asyncio.ensure_future(self._ask(node))
        task.add_done_callback(_look)
        self._forget(key_of(node))
        self._asked[key_of(node)] = _Question(node["metadata"]["uid"], task, self._world.clock.monotonic())

    def _drop_stale(self) -> None:
        for name in [name for name, question in self._asked.items() if not self._is_fresh(question)]:
            self._forget(name)

    def _forget(self, name: str) -> None:
        question = self._asked.pop(name, None)
        if question is not None:
            question.task.cancel()

    def close(self) -> None:
        """Nobody waits any more."""
        for name in list(self._asked):
            self._forget(name)


def _look(task: asyncio.Future[T]) -> None:
    """asyncio complains of errors that nobody looked at; the node's own turn asks anew."""
    if not task.cancelled():
        task.exception()
