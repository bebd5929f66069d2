"""The way from one scheduler to the API server, and what goes wrong on it. Everything is drawn from a seed.

A request is on its way by itself: who gives up waiting for it does not call it back.

    refused    an error, and nothing was done (409, 429, 500, a connection that cannot be made)
    unknown    an error, and it was done, or will be done some seconds later
    slow       it takes its time
    streams    end early, fail, come late

A line that is held delivers nothing in either direction until it is let go: the process was paused. A dead one
delivers nothing any more: the process was killed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from pilothouse.api.errors import ApiError
from pilothouse.api.types import Obj
from pilothouse.client.transport import Transport

Trace = Callable[[str], None]


class Line:
    def __init__(self, inner: Transport, name: str, chance: random.Random, trace: Trace) -> None:
        self._inner = inner
        self.name = name
        self._chance = chance
        self._trace = trace
        self.faulty = True
        self._open = asyncio.Event()
        self._open.set()
        self._dead = False
        self._on_the_way: dict[asyncio.Task[Any], str] = {}
        self.unknown: set[str] = set()
        """Paths of writes of which the scheduler does not know what became of them."""
        self.sent: Callable[[str, str, Any], None] = lambda method, path, body: None
        """Told of each request when the scheduler makes it."""

    def hold(self) -> None:
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    def kill(self) -> None:
        """Requests that the server has are done; nobody hears of it."""
        self._dead = True
        self.unknown.update(self._on_the_way.values())

    async def _passes(self) -> None:
        if self._dead:
            await asyncio.Event().wait()
        await self._open.wait()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        await self._passes()
        self.sent(method, path, body)
        fault = self._fault(method, path)
        if fault is not None and fault != "unknown":
            await asyncio.sleep(self._chance.random() * 0.1)
            await self._passes()
            self._trace(f"{self.name}: {method} {path} refused: {fault}")
            raise fault
        delay_s = self._delay_s() if method != "GET" else 0.0
        work = asyncio.get_running_loop().create_task(
            self._deliver(delay_s, method, path, query, body, content_type)
        )
        self._on_the_way[work] = path
        work.add_done_callback(self._arrived)
        if fault == "unknown":
            await asyncio.sleep(min(delay_s, self._chance.random()))
            await self._passes()
            self._trace(f"{self.name}: {method} {path}: nobody knows")
            self.unknown.add(path)
            raise ConnectionError("the answer got lost")
        try:
            answer = await asyncio.shield(work)
        except asyncio.CancelledError:
            self.unknown.add(path)
            raise
        await self._passes()
        return answer

    def _arrived(self, work: asyncio.Task[Any]) -> None:
        self._on_the_way.pop(work, None)
        if not work.cancelled():
            work.exception()  # nobody may be left to ask for it

    async def _deliver(self, delay_s: float, *request: Any) -> Any:
        if delay_s:
            await asyncio.sleep(delay_s)
        return await self._inner.request(*request)

    def _delay_s(self) -> float:
        if not self.faulty or self._chance.random() < 0.7:
            return 0.002
        return self._chance.choice((0.05, 0.3, 2.0))

    def _fault(self, method: str, path: str) -> Exception | str | None:
        if not self.faulty or "/leases" in path or "/events" in path:
            return None
        likely = 0.25 if path.endswith("/binding") else 0.12
        if self._chance.random() >= likely:
            return None
        if method != "GET" and self._chance.random() < 0.4:
            return "unknown"
        return self._chance.choice(
            (
                ApiError(500, "InternalError", "an error on the server has prevented the request"),
                ApiError(429, "TooManyRequests", "Too many requests, please try again later."),
                ApiError(409, "Conflict", "the object has been modified") if method != "GET" else None,
                ConnectionError("connection refused"),
            )
        ) or ApiError(500, "InternalError", "etcdserver: request timed out")

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[tuple[str, Obj]]]:
        await self._passes()
        if self.faulty and self._chance.random() < 0.1:
            raise ConnectionError("connection refused")
        left = self._chance.randint(5, 60) if self.faulty else -1
        stream = self._inner.stream(path, query)
        async for batch in stream:
            await self._passes()
            if self.faulty:
                lag_s = self._chance.choice((0, 0, 0, 0, 0, 0, 0.01, 0.1, 0.5, 3.0))
                if lag_s:
                    await asyncio.sleep(lag_s)
                    await self._passes()
                left -= 1
                if left == 0:
                    self._trace(f"{self.name}: watch of {path} is lost")
                    how = self._chance.choice(("end", "reset", "gone"))
                    if how == "reset":
                        raise ConnectionError("connection reset by peer")
                    if how == "gone":
                        raise ApiError(410, "Expired", "too old resource version")
                    return
            yield batch

    async def close(self) -> None:
        for work in list(self._on_the_way):
            work.cancel()
        await asyncio.gather(*self._on_the_way, return_exceptions=True)
        await self._inner.close()
