"""What the two controller managers have in common: one set of informers, and for each loop an identity and the name
that its events come under."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from prometheus_client import CollectorRegistry

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Environment
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World


class Loops:
    """`client` reads for all, and writes for the accounts `as_manager`; `account(name)` gives each other one the client
    that it writes with."""

    def __init__(
        self,
        component: str,
        client: ResourceClient,
        account: Callable[[str], ResourceClient],
        world: World,
        metrics: CollectorRegistry,
        *,
        as_manager: frozenset[str],
    ) -> None:
        self._client = client
        self._account = account
        self._world = world
        self._metrics = metrics
        self._as_manager = as_manager
        self._tasks = Tasks(component)
        self._recorders: list[EventRecorder] = []
        self.informers = Informers(client, world)

    def environment(self, account: str, component: str) -> Environment:
        client = self._client if account in self._as_manager else self._account(account)
        recorder = EventRecorder(client, component, self._world)
        self._recorders.append(recorder)
        return Environment(client, self.informers, self._world, recorder, self._metrics)

    async def run(self, work: Mapping[str, Coroutine[Any, Any, None]]) -> None:
        """`work` by name, until cancelled; raises what crashed."""
        try:
            self.informers.start()
            for recorder in self._recorders:
                self._tasks.start("events", recorder.run())
            for name, each in work.items():
                self._tasks.start(name, each)
            await self._tasks.wait()
        finally:
            await self._tasks.stop()
            await self.informers.stop()
