"""What an informer makes of a resource that its server does not serve, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from pilothouse.api import errors
from pilothouse.api.resources import RESOURCE_CLAIMS
from pilothouse.api.types import Obj
from pilothouse.client.client import Batch, Client
from pilothouse.client.informer import Informer
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

CLAIM: Obj = {"metadata": {"name": "c", "namespace": "default", "resourceVersion": "5", "uid": "u"}}


class Server:
    """Has one claim, once the resource is served."""

    def __init__(self) -> None:
        self.served = False

    async def list(self, resource: Any, namespace: str = "", **params: str) -> Obj:
        if not self.served:
            raise errors.resource_not_found()
        return {"items": [CLAIM], "metadata": {"resourceVersion": "5"}}

    async def watch(self, resource: Any, namespace: str = "", **params: str) -> AsyncIterator[Batch]:
        yield []
        await asyncio.get_running_loop().create_future()


def test_nobody_waits_for_a_resource_that_is_not_served() -> None:
    """--runtime-config switches APIs off: pods must be scheduled all the same. It is found when it comes."""

    async def play() -> None:
        server = Server()
        informer = Informer(cast(Client, server), RESOURCE_CLAIMS, simulated_world(1))
        running = asyncio.create_task(informer.run())
        await asyncio.wait_for(informer.synced(), 10)
        assert len(informer) == 0
        server.served = True
        await asyncio.sleep(60)
        assert informer.get("default/c") == CLAIM
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(play())
