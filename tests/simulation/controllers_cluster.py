"""A control plane in virtual time whose parts can be had out singly: one API server, several controller managers of
which one leads, a scheduler, simulated nodes. Each part speaks through the weather.

As `cluster.Cluster` wires them, but each part's line can be cut and each part can be started anew.
"""

from __future__ import annotations

import asyncio
from random import Random

from pilothouse.apiserver.authn.service_account import user_info
from pilothouse.apiserver.inprocess import InProcessTransport
from pilothouse.apiserver.request import UserInfo
from pilothouse.apiserver.server import Options
from pilothouse.client.resource_client import ResourceClient
from pilothouse.components.api_server import MASTERS, ServedApi, Serving
from pilothouse.components.controller_manager import USER as MANAGER
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.components.scheduler import USER as SCHEDULER
from pilothouse.components.scheduler import SchedulerComponent
from pilothouse.components.simulated_nodes import USER as NODES_USER
from pilothouse.components.simulated_nodes import SimulatedNodes
from pilothouse.components.turns import Turns
from pilothouse.controllers.manager import Settings
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.world import World
from tests.simulation.controllers_history import History
from tests.simulation.controllers_weather import Line, StormyTransport, Weather

_AUTHENTICATED = "system:authenticated"


class Party:
    """`managers` of which one leads; with one of them there is no election. Use as a context."""

    def __init__(self, world: World, random: Random, *, nodes: int = 4, managers: int = 1) -> None:
        self.world = world
        self.weather = Weather()
        """Of the controllers."""
        self.mild = Weather()
        """Of the scheduler and the nodes."""
        self._random = random
        self._nodes = nodes
        self._lines = [Line() for _ in range(managers)]
        self._managers: list[asyncio.Task[None] | None] = [None] * managers
        self._others: list[asyncio.Task[None]] = []
        self.restarts_s: list[float] = []

    async def __aenter__(self) -> Party:
        self.store: EmbeddedBackend = await open_backend(self.world, NoLog())
        self.history = History(self.store)
        serving = Serving(listen=False, server=Options(compaction_interval_s=0))
        self._served = ServedApi(serving, self.world, new_registry(), self.store)
        await self._served.start()
        self.history.start()
        self.client = self._plain("kubernetes-admin", (MASTERS,))
        for index in range(len(self._lines)):
            self.start_manager(index)
        self._others = [asyncio.ensure_future(run) for run in (self._scheduler().run(), self._fleet().run())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        running = [task for task in (*self._managers, *self._others) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._served.stop()
        await self.store.close()

    @property
    def manager_count(self) -> int:
        return len(self._lines)

    def crashed(self) -> list[str]:
        """Parts that ended by themselves."""
        running = [task for task in (*self._managers, *self._others) if task is not None]
        return [repr(task.exception()) for task in running if task.done() and not task.cancelled()]

    # -- parts ------------------------------------------------------------------------------------------

    def _transport(self, user: str, groups: tuple[str, ...]) -> InProcessTransport:
        info = UserInfo(user, "", (*groups, _AUTHENTICATED))
        return InProcessTransport(self._served.api.handle, info, user.rpartition(":")[2])

    def _plain(self, user: str, groups: tuple[str, ...] = ()) -> ResourceClient:
        return ResourceClient(self._transport(user, groups))

    def _client(
        self, user: str, groups: tuple[str, ...], weather: Weather, line: Line | None = None
    ) -> ResourceClient:
        inner = self._transport(user, groups)
        who = user.rpartition(":")[2]
        random = Random(self._random.random())
        return ResourceClient(StormyTransport(inner, weather, line or Line(), who, random, self._now))

    def _now(self) -> tuple[int, float]:
        return self.store.revision, asyncio.get_running_loop().time()

    def _manager(self, line: Line) -> ControllerManager:
        def account(name: str) -> ResourceClient:
            info = user_info("kube-system", name, "")
            return self._client(info.name, info.groups, self.weather, line)

        settings = Settings(self._served.authority.pem, self._served.api.signer.legacy)
        own = self._client(MANAGER, (), self.weather, line)
        return ControllerManager(own, account, self.world, new_registry(), settings)

    def start_manager(self, index: int) -> None:
        line = self._lines[index]
        if len(self._lines) == 1:
            self._managers[index] = asyncio.ensure_future(self._manager(line).run())
            return
        own = self._client(MANAGER, (), self.weather, line)
        turns = Turns(own, self.world, "kube-controller-manager")
        self._managers[index] = asyncio.ensure_future(turns.run(lambda: self._manager(line).run()))

    async def restart_manager(self, index: int) -> None:
        """As if its process had been ended and started again."""
        task = self._managers[index]
        assert task is not None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.restarts_s.append(asyncio.get_running_loop().time())
        self.start_manager(index)

    async def cut_manager(self, index: int, seconds: float) -> None:
        """Its connection is away for a while; with others to follow it loses the lease."""
        self.restarts_s.append(asyncio.get_running_loop().time())
        self._lines[index].cut = True
        await asyncio.sleep(seconds)
        self._lines[index].cut = False

    def _scheduler(self) -> SchedulerComponent:
        return SchedulerComponent(
            self._client(SCHEDULER, (), self.mild), self.world, new_registry(), features=()
        )

    def _fleet(self) -> SimulatedNodes:
        return SimulatedNodes(self._client(NODES_USER, (MASTERS,), self.mild), self.world, count=self._nodes)
