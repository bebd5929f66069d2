"""cloud-controller-manager as a whole: one provider, one set of informers, each loop under its own identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry

from pilothouse.client.resource_client import ResourceClient
from pilothouse.cloud import registry
from pilothouse.cloud.manager import AS_MANAGER, Manager, Settings
from pilothouse.components.loops import Loops
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
        self._loops = Loops(
            "cloud-controller-manager", client, account, world, metrics, as_manager=frozenset((AS_MANAGER,))
        )
        self.informers = self._loops.informers
        setting = registry.Setting(
            settings.cluster_name, config, world, client, self.informers, directory, metrics
        )
        self.provider = open_provider(setting)
        self.manager = Manager(self._loops.environment, self.provider, settings, names)

    def checks(self) -> dict[str, Callable[[], str]]:
        """Health checks, one for each loop."""
        return self.manager.checks()

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            await self._loops.run({"provider": self.provider.run(), "controllers": self.manager.run()})
        finally:
            await self.provider.close()
