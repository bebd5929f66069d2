"""Watches over a whole server, in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from pilothouse.apiserver.request import Request, UserInfo
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

ADMIN = UserInfo("admin", "", ("system:masters", "system:authenticated"))
MAPS = "/api/v1/namespaces/default/configmaps"


async def _told(timeout_s: int, **query: str) -> list[tuple[float, str]]:
    """When each event of a watch came, in seconds after its begin."""
    world = simulated_world(1)
    async with Cluster(ClusterOptions(secure_port=None, nodes=0, controllers=()), world) as cluster:
        asked = {"watch": ["1"], "timeoutSeconds": [str(timeout_s)], **{k: [v] for k, v in query.items()}}
        response = await cluster.api.handle(Request("GET", MAPS, asked, {}, None, ADMIN))
        assert isinstance(response.body, AsyncIterator)
        started, told = world.clock.monotonic(), []
        async for chunk in response.body:
            for line in chunk.splitlines():
                told.append((round(world.clock.monotonic() - started), json.loads(line)["type"]))
        told.append((round(world.clock.monotonic() - started), "end"))
        return told


@pytest.mark.parametrize(
    ("timeout_s", "bookmarks_at"), [(130, [60, 120, 128]), (30, [28]), (62, [60]), (2, []), (1, [])]
)
def test_bookmarks_come_every_minute_and_shortly_before_the_end(
    timeout_s: int, bookmarks_at: list[int]
) -> None:
    told = run_virtual(_told(timeout_s, allowWatchBookmarks="true"))
    assert told == [*((at, "BOOKMARK") for at in bookmarks_at), (timeout_s, "end")]


def test_nobody_gets_bookmarks_unasked() -> None:
    assert run_virtual(_told(130)) == [(130, "end")]
