"""Controllers of one's own as a program: docs/controllers.md.

    run([Greetings], kubeconfig=Path("kubeconfig"))         # a process of its own
    async with Operator([Greetings], client, world): ...    # beside a cluster in the same process

Of several copies of a program one works; health and metrics are served where a port is given. Needs what the
controllers need by RBAC, and leases and events in its namespace.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType

from prometheus_client import CollectorRegistry

from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.components.endpoint import EndpointOptions
from pilothouse.components.standalone import Clients, Connection, Election, Standalone
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World

Make = Callable[[Environment], Controller]
"""A controller's class, or a function that makes one with arguments of its own."""


class Operator:
    """Runs `controllers` with one set of informers, as `client`; their events come under `name`."""

    def __init__(
        self,
        controllers: Sequence[Make],
        client: Client,
        world: World,
        *,
        name: str = "operator",
        metrics: CollectorRegistry | None = None,
    ) -> None:
        registry = metrics if metrics is not None else CollectorRegistry(auto_describe=True)
        self._tasks = Tasks(name)
        self._informers = Informers(client, world)
        self._recorder = EventRecorder(client, name, world)
        environment = Environment(client, self._informers, world, self._recorder, registry)
        self.controllers = [make(environment) for make in controllers]
        for controller in self.controllers:
            controller.setup()

    def checks(self) -> dict[str, Callable[[], str]]:
        """What is wrong with each controller by its name, "" for nothing."""
        return {controller.name: controller.problem for controller in self.controllers}

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            self._start()
            await self._tasks.wait()
        finally:
            await self.stop()

    async def __aenter__(self) -> Operator:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _start(self) -> None:
        self._informers.start()
        self._tasks.start("events", self._recorder.run())
        for controller in self.controllers:
            self._tasks.start(controller.name, controller.run())

    async def stop(self) -> None:
        await self._tasks.stop()
        await self._informers.stop()


def run(
    controllers: Sequence[Make],
    *,
    kubeconfig: Path,
    name: str = "operator",
    namespace: str = "default",
    port: int = 0,
) -> None:
    """Until SIGINT or SIGTERM. `name` is the lease's, in `namespace`; on `port`, if it is not 0, HTTPS serves /healthz
    and /readyz. LeadershipLost when another copy may lead."""
    asyncio.run(_until_signal(_serve(controllers, kubeconfig, name, namespace, port)))


async def _serve(controllers: Sequence[Make], kubeconfig: Path, name: str, namespace: str, port: int) -> None:
    world, metrics = World(), new_registry()
    clients = Clients(Connection(kubeconfig), world, name)
    standalone = Standalone(
        clients, world, metrics, Election(name, namespace), EndpointOptions(name, port=port)
    )

    async def work() -> None:
        operator = Operator(controllers, clients.own, world, name=name, metrics=metrics)
        standalone.watch_over(operator.checks())
        await operator.run()

    await standalone.run(work)


async def _until_signal(serving: Coroutine[object, object, None]) -> None:
    task = asyncio.get_running_loop().create_task(serving)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
