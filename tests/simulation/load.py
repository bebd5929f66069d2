"""Clients of two API servers, what they were told, and what they saw: the material of `verdict`.

Every write carries a token of its own. The answer puts it in one of three classes:

    acknowledged   its token must be in every watcher's history, once
    refused        never
    unknown        (no answer, 5xx) once or never: it may still be done seconds later, by a member that wakes up

A writer reads its own keys through either server: after an acknowledged write nothing older may be read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS
from pilothouse.client.resource_client import ResourceClient

NAMESPACE = "default"
_OWN_KEYS = 5
_SHARED_KEYS = 3
_PAUSE_S = 0.02
_PROBE_PERIOD_S = 0.05
_PROBE_SLOTS = 60
_REQUEST_TIMEOUT_S = 20.0


class Seen(NamedTuple):
    """One event as a watcher got it."""

    revision: int
    type: str
    name: str
    uid: str
    token: str


@dataclass
class Ledger:
    """What every write was answered, by token; deletions by uid."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    maybe_deleted: set[str] = field(default_factory=set)
    stale: list[str] = field(default_factory=list)
    """Reads that were older than an acknowledged write."""
    successes_s: list[float] = field(default_factory=list)
    """When probes were acknowledged."""
    answers: dict[str, int] = field(default_factory=dict)


class Outcome(NamedTuple):
    """`obj` of an acknowledged write; else whether it is certain that nothing was done."""

    obj: Any = None
    is_unknown: bool = False


class Load:
    """`servers` are clients by the server's name."""

    def __init__(self, servers: dict[str, ResourceClient], random: Random, writers: int = 6) -> None:
        self.ledger = Ledger()
        self.watchers = [
            Watcher(f"{name}/{n}", client, random) for name, client in servers.items() for n in (1, 2)
        ]
        self._servers = list(servers.values())
        self._random = random
        self._tokens = itertools.count(1)
        self._go = asyncio.Event()
        self._go.set()
        self._busy = 0
        self._idle = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._writers = writers
        self._probes: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        work = [self._write(f"w{n}") for n in range(self._writers)]
        work += [self._probe(f"probe-{n}", client) for n, client in enumerate(self._servers)]
        work += [watcher.run() for watcher in self.watchers]
        self._tasks = [asyncio.ensure_future(w) for w in work]

    async def stop(self) -> None:
        for task in [*self._tasks, *self._probes]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._probes, return_exceptions=True)

    def crashed(self) -> str:
        for task in self._tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                return repr(task.exception())
        return ""

    @contextlib.asynccontextmanager
    async def quiet(self) -> Any:
        """No write is under way inside."""
        self._go.clear()
        while self._busy:
            self._idle.clear()
            await self._idle.wait()
        try:
            yield
        finally:
            self._go.set()

    # -- one write --------------------------------------------------------------------------------------

    async def attempt(self, token: str, call: Callable[[], Awaitable[Any]]) -> Outcome:
        await self._go.wait()
        self._busy += 1
        try:
            obj = await asyncio.wait_for(call(), _REQUEST_TIMEOUT_S)
        except ApiError as error:
            self._count(f"{error.code} {error.reason}")
            if error.code >= 500 or error.code == 429:
                self.ledger.unknown[token] = error.message
                return Outcome(None, True)
            self.ledger.refused[token] = error.message
            return Outcome()
        except (TimeoutError, ConnectionError) as error:
            self._count(type(error).__name__)
            self.ledger.unknown[token] = repr(error)
            return Outcome(None, True)
        finally:
            self._busy -= 1
            self._idle.set()
        self._count("ok")
        self.ledger.acknowledged[token] = int(obj["metadata"].get("resourceVersion") or 0)
        return Outcome(obj)

    def _count(self, answer: str) -> None:
        self.ledger.answers[answer] = self.ledger.answers.get(answer, 0) + 1

    def _token(self) -> str:
        return f"t{next(self._tokens)}"

    def _server(self) -> ResourceClient:
        return self._random.choice(self._servers)

    # -- writers ----------------------------------------------------------------------------------------

    async def _write(self, writer: str) -> None:
        possible: dict[str, set[str]] = {}
        while True:
            await asyncio.sleep(_PAUSE_S * self._random.random())
            if self._random.random() < 0.25:
                await self._change_shared()
            else:
                await self._change_own(f"{writer}-{self._random.randrange(_OWN_KEYS)}", possible)

    async def _change_own(self, name: str, possible: dict[str, set[str]]) -> None:
        """`possible` has the tokens that the key may show; "" is its absence."""
        try:
            found = await self._read(name)
        except (ApiError, TimeoutError, ConnectionError):
            return
        shown = found["data"]["token"] if found else ""
        allowed = possible.setdefault(name, {""})
        if shown not in allowed:
            self.ledger.stale.append(f"{name} shows {shown or 'nothing'}, may show {sorted(allowed)}")
        token, server = self._token(), self._server()
        if found is None:
            outcome = await self.attempt(
                token, lambda: server.create(CONFIG_MAPS, _body(name, token), NAMESPACE)
            )
        elif self._random.random() < 0.15:
            await self._delete(server, found, token, allowed)
            return
        else:
            body = {**_body(name, token), "metadata": {**found["metadata"]}}
            outcome = await self.attempt(token, lambda: server.update(CONFIG_MAPS, body))
        if outcome.obj is not None:
            possible[name] = {token}
        elif outcome.is_unknown:
            allowed.add(token)

    async def _delete(self, server: ResourceClient, found: Any, token: str, allowed: set[str]) -> None:
        meta = found["metadata"]
        options = {"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
        outcome = await self.attempt(
            token, lambda: server.delete(CONFIG_MAPS, meta["name"], NAMESPACE, options)
        )
        self.ledger.acknowledged.pop(token, None)  # a deletion leaves no token behind
        if outcome.obj is not None:
            self.ledger.deleted.add(meta["uid"])
            allowed.clear()
            allowed.add("")
        elif outcome.is_unknown:
            self.ledger.maybe_deleted.add(meta["uid"])
            allowed.add("")

    async def _change_shared(self) -> None:
        """Compare-and-swap that others race for."""
        name = f"shared-{self._random.randrange(_SHARED_KEYS)}"
        token, server = self._token(), self._server()
        try:
            found = await self._read(name)
        except (ApiError, TimeoutError, ConnectionError):
            return
        if found is None:
            await self.attempt(token, lambda: server.create(CONFIG_MAPS, _body(name, token), NAMESPACE))
            return
        body = {**_body(name, token), "metadata": {**found["metadata"]}}
        await self.attempt(token, lambda: server.update(CONFIG_MAPS, body))

    async def _read(self, name: str) -> Any:
        try:
            get = self._server().get(CONFIG_MAPS, name, NAMESPACE)
            return await asyncio.wait_for(get, _REQUEST_TIMEOUT_S)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    # -- probes -----------------------------------------------------------------------------------------

    async def _probe(self, name: str, server: ResourceClient) -> None:
        """A write every 50 ms, whatever became of the one before: how long nobody gets through."""
        for number in itertools.count():
            await self._go.wait()
            if len(self._probes) < 2 * _PROBE_SLOTS:
                task = asyncio.ensure_future(self._probe_once(f"{name}-{number % _PROBE_SLOTS}", server))
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)
            await asyncio.sleep(_PROBE_PERIOD_S)

    async def _probe_once(self, name: str, server: ResourceClient) -> None:
        token = self._token()
        outcome = await self.attempt(
            token, lambda: server.patch(CONFIG_MAPS, name, {"data": {"token": token}}, NAMESPACE)
        )
        if token in self.ledger.refused:
            token = self._token()
            outcome = await self.attempt(
                token, lambda: server.create(CONFIG_MAPS, _body(name, token), NAMESPACE)
            )
        if outcome.obj is not None:
            self.ledger.successes_s.append(time.monotonic())


def _body(name: str, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"token": token},
    }


class Watcher:
    """Lists once and then follows, resuming where a watch ended, as client-go's reflector does."""

    def __init__(self, name: str, client: ResourceClient, random: Random) -> None:
        self.name = name
        self.history: list[Seen] = []
        self.relists: list[str] = []
        self.newest = 0
        """The revision of the last list, event or bookmark."""
        self._client = client
        self._random = random
        self._revision = ""

    async def run(self) -> None:
        while True:
            try:
                if not self._revision:
                    await self._list()
                await self._follow()
            except ApiError as error:
                if error.code == 410:
                    self.relists.append(error.message)
                    self._revision = ""
            except ConnectionError:
                pass  # and again from where we were
            await asyncio.sleep(0.05)

    async def _list(self) -> None:
        answer = await self._client.list(CONFIG_MAPS, NAMESPACE)
        self._revision = answer["metadata"]["resourceVersion"]
        self.newest = int(self._revision)
        self.history.append(Seen(self.newest, "LIST", "", "", ""))
        for obj in answer.get("items") or ():
            self.history.append(_seen("ADDED", obj)._replace(revision=int(self._revision)))

    async def _follow(self) -> None:
        params = {
            "resourceVersion": self._revision,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._random.randint(2, 8)),
        }
        async for batch in self._client.watch(CONFIG_MAPS, NAMESPACE, **params):
            for event in batch:
                self._revision = event.object["metadata"]["resourceVersion"]
                self.newest = int(self._revision)
                if event.type != "BOOKMARK":
                    self.history.append(_seen(event.type, event.object))


def _seen(type: str, obj: Any) -> Seen:
    meta = obj["metadata"]
    token = (obj.get("data") or {}).get("token", "")
    return Seen(int(meta["resourceVersion"]), type, meta["name"], meta["uid"], token)
