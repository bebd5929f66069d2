"""Clients and watchers of a store whose every call and answer is kept in a history."""

from __future__ import annotations

import asyncio
import random
import time

from pilothouse.etcd.contract import (
    Backend,
    Compare,
    Delete,
    EventType,
    OutcomeUnknown,
    Put,
    Range,
    StoreUnavailable,
    Target,
    Txn,
    Watch,
    prefix_end,
)
from pilothouse.testing.history import Answer, History, Read, Request, Seen, Swap, Watched, Write

KEYS = tuple(b"h/%d" % n for n in range(5))
PREFIX = b"h/"


class Client:
    """Writes values that nobody else writes. What is uncertain stays without an answer."""

    def __init__(self, name: str, store: Backend, history: History, seed: int) -> None:
        self._name = name
        self._store = store
        self._history = history
        self._random = random.Random(seed)
        self._known: dict[bytes, int] = {}
        self._count = 0

    async def act(self) -> None:
        request = self._choose()
        call = self._history.call(time.monotonic(), self._name, request)
        try:
            answer = await self._ask(request)
        except OutcomeUnknown:
            self._name += "'"  # a client with a call that may still go on is another one from then on
        except StoreUnavailable:
            self._history.refused(call)
        else:
            self._history.done(call, time.monotonic(), answer)

    def _choose(self) -> Request:
        key = self._random.choice(KEYS)
        self._count += 1
        value = f"{self._name}/{self._count}".encode()
        kind = self._random.random()
        if kind < 0.35:
            return Read(key)
        if kind < 0.6:
            return Write(key, value)
        if kind < 0.7:
            return Write(key, None)
        return Swap(key, self._known.get(key, 0), value)

    async def _ask(self, request: Request) -> Answer:
        key = request.key
        if isinstance(request, Read):
            found = await self._store.range(Range(key))
            kv = found.kvs[0] if found.kvs else None
            self._known[key] = kv.mod_revision if kv else 0
            return Answer(found.revision, True, kv.value if kv else None, self._known[key])
        if isinstance(request, Swap):
            compare = Compare(key, Target.MOD, "=", request.expected)
            assert request.value is not None
            done = await self._store.txn(Txn((compare,), (Put(key, request.value),), (Range(key),)))
            if done.succeeded:
                self._known[key] = done.revision
            return Answer(done.revision, done.succeeded)
        if request.value is None:
            gone = await self._store.delete(Delete(key))
            return Answer(gone.revision, gone.deleted > 0)
        return Answer((await self._store.put(Put(key, request.value))).revision)


async def act(client: Client, times: int) -> None:
    for _ in range(times):
        await client.act()


async def record(watch: Watch, watched: Watched, until: asyncio.Future[int]) -> None:
    """Until the watch is as far as the revision that `until` will name."""
    while not until.done() or watch.progress_revision < until.result():
        watch.request_progress()
        await asyncio.sleep(0)  # a store in this process answers without waiting
        batch = await watch.next()
        if batch:
            watched.events(
                [
                    Seen(e.kv.key, e.kv.value if e.type is EventType.PUT else None, e.kv.mod_revision)
                    for e in batch
                ]
            )
        watched.progress(watch.progress_revision)


def watches(store: Backend, history: History, names: str) -> list[tuple[Watch, Watched]]:
    """From now on."""
    first = store.revision + 1
    return [
        (store.watch(PREFIX, prefix_end(PREFIX), first), history.watch(name, PREFIX, first)) for name in names
    ]


def outcomes(history: History) -> tuple[int, int]:
    """How many operations were answered, and how many are unknown."""
    answered = sum(op.answer is not None for op in history.operations)
    return answered, len(history.operations) - answered
