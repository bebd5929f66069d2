"""kube-controller-manager as a whole: one set of informers, one manager, each controller under its own identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry

from pilothouse.client.resource_client import ResourceClient
from pilothouse.components.loops import Loops
from pilothouse.controllers.manager import Manager, Settings
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
        self._loops = Loops(
            "kube-controller-manager", client, account, world, metrics, as_manager=_AS_MANAGER
        )
        self.informers = self._loops.informers
        self._manager = Manager(self._loops.environment, settings, names)

    def checks(self) -> dict[str, Callable[[], str]]:
        """Health checks, one for each controller."""
        return self._manager.checks()

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        await self._loops.run({"controllers": self._manager.run()})
