"""Writers and a watcher that keep books, and what must hold after the server was killed in the middle.

An object belongs to one writer, who does one thing at a time. So after a kill an object is in one of two states:
the one that was acknowledged last, or the one of the write that nobody acknowledged:

    acknowledged ──write sent──▶ in doubt ──answer──▶ acknowledged
                                    └──killed──▶ whatever the restarted server says, if it is one of the two

Every write carries a token of its own, so that each can be told in the watcher's events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

TOKEN = "admintoken"
NAMESPACE = "/api/v1/namespaces/default"
ABSENT = ""
_MERGE = {"Content-Type": "application/merge-patch+json"}


class Gone(Exception):
    """The server went away before it answered."""


class Client:
    def __init__(self, url: str) -> None:
        self._url = url
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {TOKEN}"}, connector=aiohttp.TCPConnector(ssl=False, limit=0)
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        try:
            async with self._session.request(method, self._url + path, data=data, headers=headers) as answer:
                return answer.status, await answer.json()
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            raise Gone from error

    async def watch(self, path: str, after: int, see: Callable[[Any], None]) -> None:
        """Hand every event to `see` until the server goes away."""
        url = f"{self._url}{path}?watch=true&resourceVersion={after}"
        try:
            async with self._session.get(url, timeout=aiohttp.ClientTimeout(None)) as answer:
                async for line in answer.content:
                    if line.endswith(b"\n"):
                        see(json.loads(line))
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Gone from error


@dataclass
class Books:
    """`written` has each revision's object and token (`ABSENT`: deleted)."""

    written: dict[int, tuple[str, str]] = field(default_factory=dict)

    def enter(self, revision: int, name: str, token: str) -> None:
        """A revision belongs to one write for ever, whoever saw it and however it ended."""
        entry = (name, token)
        assert self.written.setdefault(revision, entry) == entry, f"revision {revision} was given twice"


@dataclass
class Thing:
    """One object of one writer: its acknowledged state, and the token of the write in doubt."""

    name: str
    token: str = ABSENT
    revision: int = 0
    doubt: str | None = None


class Writer:
    """Creates, updates, patches and deletes a few config maps of its own."""

    def __init__(self, number: int, client: Client, books: Books, random: Random) -> None:
        self._client = client
        self._books = books
        self._random = random
        self._tokens = (f"{number}.{n}" for n in range(10**9))
        self.things = [Thing(f"w{number}-{n}") for n in range(4)]
        self.acknowledged = 0

    async def run(self) -> None:
        while True:
            await self._write(self._random.choice(self.things))

    async def _write(self, thing: Thing) -> None:
        path = f"{NAMESPACE}/configmaps"
        named = f"{path}/{thing.name}"
        token = next(self._tokens)
        body: dict[str, Any] = {"metadata": {"name": thing.name}, "data": {"token": token, "pad": "x" * 300}}
        if not thing.token:
            await self._settled(thing, token, self._client.ask("POST", path, body))
            return
        kind = self._random.choice(("update", "update", "patch", "delete"))
        if kind == "update":
            body["metadata"]["resourceVersion"] = str(thing.revision)
            await self._settled(thing, token, self._client.ask("PUT", named, body))
        elif kind == "patch":
            patch = {"data": {"token": token}}
            await self._settled(thing, token, self._client.ask("PATCH", named, patch, **_MERGE))
        else:
            await self._settled(thing, ABSENT, self._client.ask("DELETE", named))

    async def _settled(self, thing: Thing, token: str, asked: Any) -> None:
        thing.doubt = token
        status, answer = await asked
        assert status in (200, 201), answer
        thing.token, thing.doubt = token, None
        if token:
            thing.revision = int(answer["metadata"]["resourceVersion"])
            self._books.enter(thing.revision, thing.name, token)
        self.acknowledged += 1

    async def check(self) -> None:
        """After a restart."""
        for thing in self.things:
            status, found = await self._client.ask("GET", f"{NAMESPACE}/configmaps/{thing.name}")
            token = found["data"]["token"] if status == 200 else ABSENT
            allowed = {thing.token} if thing.doubt is None else {thing.token, thing.doubt}
            assert token in allowed, f"{thing.name} is {token!r}, not one of {allowed}"
            if token:
                revision = int(found["metadata"]["resourceVersion"])
                if token == thing.token:
                    assert revision == thing.revision, f"{thing.name} was written again"
                self._books.enter(revision, thing.name, token)
                thing.revision = revision
            thing.token, thing.doubt = token, None


class Counters:
    """Writers who add one to the same number, each on what it has read: no addition may be lost or done twice."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.sure = 0
        self.doubtful = 0

    async def make(self) -> None:
        await self._client.ask(
            "POST", f"{NAMESPACE}/configmaps", {"metadata": {"name": "sum"}, "data": {"n": "0"}}
        )

    async def run(self) -> None:
        path = f"{NAMESPACE}/configmaps/sum"
        while True:
            _, found = await self._client.ask("GET", path)
            found["data"]["n"] = str(int(found["data"]["n"]) + 1)
            try:
                status, _ = await self._client.ask("PUT", path, found)
            except Gone:
                self.doubtful += 1
                raise
            assert status in (200, 409)
            self.sure += status == 200

    async def check(self) -> None:
        _, found = await self._client.ask("GET", f"{NAMESPACE}/configmaps/sum")
        number = int(found["data"]["n"])
        assert self.sure <= number <= self.sure + self.doubtful
        self.sure, self.doubtful = number, 0


class Services:
    """Makes and deletes services with node ports: what is allocated stays with one owner."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._numbers = iter(range(10**9))

    async def run(self) -> None:
        while True:
            number = next(self._numbers)
            spec = {"type": "NodePort", "ports": [{"port": 80}, {"port": 81, "name": "b"}]}
            spec["ports"][0]["name"] = "a"  # type: ignore[index]
            body = {"metadata": {"name": f"s{number}"}, "spec": spec}
            status, answer = await self._client.ask("POST", f"{NAMESPACE}/services", body)
            assert status == 201, answer
            if number % 3:
                await self._client.ask("DELETE", f"{NAMESPACE}/services/s{number - 1}")

    async def check(self) -> None:
        _, found = await self._client.ask("GET", "/api/v1/services")
        addresses = [a for s in found["items"] for a in s["spec"].get("clusterIPs") or ()]
        ports = [p["nodePort"] for s in found["items"] for p in s["spec"]["ports"] if "nodePort" in p]
        assert len(addresses) == len(set(addresses))
        assert len(ports) == len(set(ports))


class Watcher:
    """Follows all config maps from the last event it saw; `state` is what it believes to be there."""

    def __init__(self, client: Client, books: Books, after: int) -> None:
        self._client = client
        self._books = books
        self.revision = after
        self.state: dict[str, str] = {}
        self._seen = asyncio.Event()

    async def run(self) -> None:
        await self._client.watch(f"{NAMESPACE}/configmaps", self.revision, self._see)

    def _see(self, event: Any) -> None:
        self._seen.set()
        meta = event["object"]["metadata"]
        assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), event
        revision, name = int(meta["resourceVersion"]), meta["name"]
        assert revision > self.revision, f"revision {revision} came after {self.revision}"
        self.revision = revision
        if name == "sum" or name.startswith("kube-"):
            return
        gone = event["type"] == "DELETED"
        token = event["object"]["data"]["token"]
        self._books.enter(revision, name, ABSENT if gone else token)
        assert (name in self.state) == (event["type"] != "ADDED"), (
            f"{event['type']} of {name}: one was missed"
        )
        if gone:
            assert self.state.pop(name) == token, f"{name} was changed unseen before it was deleted"
        else:
            self.state[name] = token

    async def caught_up(self, things: Iterator[Thing]) -> None:
        """Wait until all that is there was seen."""
        expected = {thing.name: thing.token for thing in things if thing.token}
        async with asyncio.timeout(10):
            while self.state != expected:
                self._seen.clear()
                await self._seen.wait()
