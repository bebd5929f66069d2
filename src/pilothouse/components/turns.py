"""A component that runs in one of several processes at a time, inside a process that goes on without it.

    waiting for the lease ──▶ made, and running ──lease lost, or etcd away for too long──▶ stopped: waiting again

A component of a process of its own ends with its lease (`standalone`); in `pilothouse up` the API server stays.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

from pilothouse.client.leader_election import LeaderElector, LeadershipLost, Timings
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]
"""Makes a component and runs it; called once for each turn."""


class Turns:
    """`name` is the lease's, in kube-system: the one that the component takes in a process of its own, too."""

    def __init__(
        self, client: ResourceClient, world: World, name: str, timings: Timings | None = None
    ) -> None:
        self._client = client
        self._world = world
        self._name = name
        self._timings = timings or Timings()

    async def run(self, work: Work) -> None:
        """Until cancelled; raises what crashed."""
        identity = f"{platform.node()}_{self._world.uid()}"
        while True:
            elector = LeaderElector(
                self._client, self._world, name=self._name, identity=identity, timings=self._timings
            )
            try:
                await elector.run(work)
            except LeadershipLost as error:
                log.warning("%s stops and waits for its next turn: %s", self._name, error)


class LatestMetrics(Collector):
    """The figures of the latest turn: each begins with a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=True)

    def renew(self) -> CollectorRegistry:
        self._registry = CollectorRegistry(auto_describe=True)
        return self._registry

    def describe(self) -> Iterable[Metric]:
        """Nothing yet: the names come with the turns."""
        return ()

    def collect(self) -> Iterable[Metric]:
        return self._registry.collect()
