"""cloud-controller-manager as a whole: one provider, one set of informers, each loop under its own identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Environment
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cloud import registry
from pilothouse.cloud.manager import AS_MANAGER, Manager, Settings
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World

USER = "system:cloud-controller-manager"


class CloudControllerManager:
    """`client` reads for all; `account(name)` gives a loop the client that it writes with. `open_provider` makes the
    cloud (`cloud.registry.find`): ValueError for a `config` that it cannot use. `directory` is the provider's own."""

    def __init__(
        self,
        client: ResourceClient,
        account: Callable[[str], ResourceClient],
        world: World,
        metrics: CollectorRegistry,
        settings: Settings,
        *,
        open_provider: registry.Open,
        config: Path | None,
        directory: Path,
        names: Iterable[str] = ("*",),
    ) -> None:
        self._client = client
        self._account = account
        self._world = world
        self._metrics = metrics
        self._tasks = Tasks("cloud-controller-manager")
        self._recorders: list[EventRecorder] = []
        self.informers = Informers(client, world)
        setting = registry.Setting(
            settings.cluster_name, config, world, client, self.informers, directory, metrics
        )
        self.provider = open_provider(setting)
        self.manager = Manager(self._environment, self.provider, settings, names)

    def checks(self) -> dict[str, Callable[[], str]]:
        """Health checks, one for each loop."""
        return self.manager.checks()

    def _environment(self, account: str, component: str) -> Environment:
        client = self._account(account) if account != AS_MANAGER else self._client
        recorder = EventRecorder(client, component, self._world)
        self._recorders.append(recorder)
        return Environment(client, self.informers, self._world, recorder, self._metrics)

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            self.informers.start()
            for recorder in self._recorders:
                self._tasks.start("events", recorder.run())
            self._tasks.start("provider", self.provider.run())
            self._tasks.start("controllers", self.manager.run())
            await self._tasks.wait()
        finally:
            await self._tasks.stop()
            await self.informers.stop()
            await self.provider.close()
