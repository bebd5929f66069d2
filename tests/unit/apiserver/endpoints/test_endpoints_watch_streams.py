"""Bookmarks, ends and beginnings of watches, in virtual time (KEP-956, KEP-3157, cacher nextBookmarkTime)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry

from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.server import Options
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.served import ADMIN

MAPS = "/api/v1/namespaces/default/configmaps"
Event = dict[str, Any]


class Server:
    def __init__(self, **options: Any) -> None:
        self.world = simulated_world(1)
        serving = Serving(listen=False, server=Options(compaction_interval_s=0, **options))
        self.served = ServedApi(serving, self.world, CollectorRegistry(auto_describe=True))

    async def ask(self, method: str, path: str, body: Any = None) -> Response:
        parts = urlsplit(path)
        query, headers = parse_qs(parts.query), {"content-type": "application/json"}
        raw = None if body is None else json.dumps(body).encode()
        return await self.served.api.handle(Request(method, parts.path, query, headers, raw, ADMIN))

    async def create(self, name: str) -> int:
        made = await self.ask("POST", MAPS, {"metadata": {"name": name, "labels": {"name": name}}})
        assert isinstance(made.body, bytes)
        return int(json.loads(made.body)["metadata"]["resourceVersion"])

    async def watch(self, query: str) -> list[tuple[float, Event]]:
        """All events, each with the seconds since the beginning, until the watch ends."""
        began_s = self.world.clock.monotonic()
        response = await self.ask("GET", f"{MAPS}?watch=true&{query}")
        assert response.status == 200, response.body
        assert isinstance(response.body, AsyncIterator)
        found = []
        async for chunk in response.body:
            now_s = self.world.clock.monotonic() - began_s
            found += [(now_s, json.loads(line)) for line in chunk.splitlines()]
        return found


def served(test: Callable[[Server], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        server = Server(**options)
        await server.served.start()
        try:
            await test(server)
        finally:
            await server.served.stop()

    run_virtual(main())


def kinds(events: list[tuple[float, Event]]) -> list[tuple[int, str]]:
    return [(round(at), event["type"]) for at, event in events]


def test_a_bookmark_comes_every_minute_and_before_the_end_though_there_are_events() -> None:
    async def test(server: Server) -> None:
        watch = asyncio.create_task(
            server.watch("resourceVersion=1000&timeoutSeconds=150&allowWatchBookmarks=true")
        )
        for n in range(5):
            await asyncio.sleep(25)
            await server.create(f"m{n}")
        seen = [(at, kind) for at, kind in kinds(await watch) if kind == "BOOKMARK"]
        assert seen == [(60, "BOOKMARK"), (120, "BOOKMARK"), (148, "BOOKMARK")]

    served(test)


def test_who_does_not_ask_gets_no_bookmark() -> None:
    async def test(server: Server) -> None:
        assert await server.watch("resourceVersion=1000&timeoutSeconds=150") == []

    served(test)


def test_a_bookmark_moves_on_with_what_happens_elsewhere() -> None:
    async def test(server: Server) -> None:
        now = await server.create("first")
        query = f"resourceVersion={now}&timeoutSeconds=70&allowWatchBookmarks=true&labelSelector=no%3Dsuch"
        watch = asyncio.create_task(server.watch(query))
        await asyncio.sleep(1)
        last = await server.create("second")
        revisions = [event["object"]["metadata"]["resourceVersion"] for _, event in await watch]
        assert revisions == [str(last), str(last)]
        assert now < last

    served(test)


def test_one_object_is_watched_by_its_name() -> None:
    async def test(server: Server) -> None:
        query = "timeoutSeconds=5&fieldSelector=metadata.name%3Db"
        watch = asyncio.create_task(server.watch(query))
        await asyncio.sleep(1)
        for name in "abc":
            await server.create(name)
        assert [event["object"]["metadata"]["name"] for _, event in await watch] == ["b"]

    served(test)


def test_what_is_too_old_is_an_error_in_the_stream() -> None:
    async def test(server: Server) -> None:
        await server.create("a")
        for n in range(1100):
            await server.create(f"m{n}")
        backend = server.served._backend
        assert backend is not None
        await backend.compact(backend.revision)
        (at_event,) = await server.watch("resourceVersion=5&timeoutSeconds=5")
        error = at_event[1]
        assert error["type"] == "ERROR"
        assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
        assert error["object"]["message"].startswith("too old resource version: 5 (")

    served(test)


def test_a_beginning_that_is_still_to_come_is_an_error_after_three_seconds() -> None:
    async def test(server: Server) -> None:
        query = (
            "resourceVersion=99999&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=9"
        )
        ((at, event),) = await server.watch(query)
        assert (round(at), event["type"], event["object"]["code"]) == (3, "ERROR", 504)
        assert event["object"]["message"].startswith("Timeout: Too large resource version: 99999, current: ")
        quiet = await server.watch("resourceVersion=99999&timeoutSeconds=9")
        assert quiet == []
        got = await server.ask("GET", f"{MAPS}/a?resourceVersion=99999")
        assert got.status == 504

    served(test)


def test_a_request_has_its_time() -> None:
    async def test(server: Server) -> None:
        async def never() -> bytes:
            await asyncio.sleep(1000)
            return b""

        request = Request("POST", MAPS, {}, {"content-type": "application/json"}, None, ADMIN)
        request.receive = never
        began_s = server.world.clock.monotonic()
        response = await server.served.api.handle(request)
        assert round(server.world.clock.monotonic() - began_s) == 7
        assert response.status == 504
        assert isinstance(response.body, bytes)
        assert json.loads(response.body)["message"] == (
            "Timeout: request did not complete within requested timeout - context deadline exceeded"
        )

    served(test, request_timeout_s=7.0)


def test_a_body_is_read_once_its_sender_is_known_and_allowed() -> None:
    async def test(server: Server) -> None:
        async def unread() -> bytes:
            raise AssertionError("the body was read")

        for headers, status in (({}, 403), ({"authorization": "Bearer x"}, 401)):
            request = Request("POST", MAPS, {}, headers)
            request.receive = unread
            assert (await server.served.api.handle(request)).status == status

    served(test)
