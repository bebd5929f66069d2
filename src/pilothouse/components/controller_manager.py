"""kube-controller-manager as a whole: one set of informers, one manager, each controller under its own identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Environment
from pilothouse.client.resource_client import ResourceClient
from pilothouse.controllers.manager import Manager, Settings
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World

USER = "system:kube-controller-manager"
_AS_MANAGER = frozenset(("tokens-controller",))
"""Controllers that act as the manager itself: tokens cannot depend on a token (rootClientBuilder upstream)."""


class ControllerManager:
    """`client` reads for all; `account(name)` gives a controller the client that it writes with."""

    def __init__(
        self,
        client: ResourceClient,
        account: Callable[[str], ResourceClient],
        world: World,
        metrics: CollectorRegistry,
        settings: Settings,
        names: Iterable[str] = ("*",),
    ) -> None:
        self._client = client
        self._account = account
        self._world = world
        self._metrics = metrics
        self._tasks = Tasks("kube-controller-manager")
        self._recorders: list[EventRecorder] = []
        self.informers = Informers(client, world)
        self._manager = Manager(self._environment, settings, names)

    def checks(self) -> dict[str, Callable[[], str]]:
        """Health checks, one for each controller."""
        return self._manager.checks()

    def _environment(self, account: str, component: str) -> Environment:
        client = self._client if account in _AS_MANAGER else self._account(account)
        recorder = EventRecorder(client, component, self._world)
        self._recorders.append(recorder)
        return Environment(client, self.informers, self._world, recorder, self._metrics)

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            self.informers.start()
            for recorder in self._recorders:
                self._tasks.start("events", recorder.run())
            self._tasks.start("controllers", self._manager.run())
            await self._tasks.wait()
        finally:
            await self._tasks.stop()
            await self.informers.stop()
