"""What goes wrong between a component and the API server, drawn from the seed.

    refused     409, 429 or 500, and nothing was done
    unknown     the connection breaks: the request was done, is done a little later, or never was
    late        a watch's events come seconds after they happened: caches are old
    dropped     a watch ends, breaks off, or says that its history is lost (410)
    cut         a process has no connection at all: it loses its lease

`Deed`s are what was asked for and answered: the verdict tells by them who did what.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.types import Obj
from pilothouse.client.transport import Transport

_LATE_S_MAX = 4.0
_UNKNOWN_S_MAX = 3.0
_STREAM_S = 40.0


class Deed(NamedTuple):
    """A write: `revision` of the store when it was asked for; `outcome` is ok, refused or unknown."""

    revision: int
    time_s: float
    who: str
    verb: str
    path: str
    outcome: str
    uid: str


@dataclass
class Weather:
    """Shares of requests and of watches, 0 to 1; all 0 is calm."""

    refused: float = 0.0
    unknown: float = 0.0
    late: float = 0.0
    dropped: float = 0.0
    deeds: list[Deed] = field(default_factory=list)

    def clear(self) -> None:
        self.refused = self.unknown = self.late = self.dropped = 0.0


@dataclass
class Line:
    """A process' connection; while it is cut nothing passes."""

    cut: bool = False


class StormyTransport:
    """Another transport in this weather. `revision` tells the store's."""

    def __init__(
        self, inner: Transport, weather: Weather, line: Line, who: str, random: Random, clock: Any
    ) -> None:
        self._inner = inner
        self._weather = weather
        self._line = line
        self._who = who
        self._random = random
        self._clock = clock
        self._late: set[asyncio.Task[Any]] = set()

    async def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        self._pass()
        weather, chance = self._weather, self._random.random()
        if chance < weather.refused:
            self._note(method, path, "refused")
            raise self._refusal(method)
        if chance < weather.refused + weather.unknown:
            self._note(method, path, "unknown")
            return await self._lose(method, path, query, body, content_type)
        if method == "GET":
            return await self._inner.request(method, path, query, body, content_type)
        revision, now_s = self._clock()
        try:
            answer = await self._inner.request(method, path, query, body, content_type)
        except ApiError:
            weather.deeds.append(Deed(revision, now_s, self._who, method, path, "refused", ""))
            raise
        weather.deeds.append(Deed(revision, now_s, self._who, method, path, "ok", _uid(answer)))
        return answer

    def _refusal(self, method: str) -> ApiError:
        codes = [(429, "TooManyRequests"), (500, "InternalError")]
        if method in ("PUT", "PATCH"):
            codes.append((409, "Conflict"))
        return ApiError(*self._random.choice(codes), "the weather is bad")

    async def _lose(self, *request: Any) -> Any:
        kind = self._random.choice(("done", "later", "never"))
        if kind == "done":
            await self._in_vain(request)
        elif kind == "later" and request[0] != "GET":
            task = asyncio.ensure_future(self._do_later(request))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        raise ConnectionError("the connection was lost")

    async def _do_later(self, request: tuple[Any, ...]) -> None:
        await asyncio.sleep(self._random.uniform(0, _UNKNOWN_S_MAX))
        await self._in_vain(request)

    async def _in_vain(self, request: tuple[Any, ...]) -> None:
        try:
            await self._inner.request(*request)
        except ApiError:
            return

    def _note(self, method: str, path: str, outcome: str) -> None:
        if method != "GET":
            revision, now_s = self._clock()
            self._weather.deeds.append(Deed(revision, now_s, self._who, method, path, outcome, ""))

    def _pass(self) -> None:
        if self._line.cut:
            raise ConnectionError("the line is cut")

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[list[tuple[str, Obj]]]:
        self._pass()
        ends_s = self._ends_s()
        async for batch in self._inner.stream(path, query):
            if self._random.random() < self._weather.late:
                await asyncio.sleep(self._random.uniform(0, _LATE_S_MAX))
            self._pass()
            if self._weather.dropped and asyncio.get_running_loop().time() > ends_s:
                self._drop()
                return
            yield batch

    def _ends_s(self) -> float:
        share = self._weather.dropped
        lives_s = self._random.expovariate(share / _STREAM_S) if share else float("inf")
        return asyncio.get_running_loop().time() + lives_s

    def _drop(self) -> None:
        kind = self._random.choice(("ended", "broken", "gone"))
        if kind == "broken":
            raise ConnectionError("the watch broke off")
        if kind == "gone":
            raise ApiError(410, "Expired", "too old resource version")

    async def close(self) -> None:
        for task in list(self._late):
            task.cancel()


def _uid(answer: Any) -> str:
    if not isinstance(answer, dict):
        return ""
    found = (answer.get("metadata") or {}).get("uid") or (answer.get("details") or {}).get("uid")
    return str(found or "")
