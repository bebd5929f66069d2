"""kube-scheduler as a whole: its informers, its events, and the scheduler itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from pilothouse.scheduler.scheduler import DEFAULT_NAME, Scheduler

USER = "system:kube-scheduler"


class SchedulerComponent:
    """`client` is who it acts as."""

    def __init__(self, client: ResourceClient, world: World, metrics: CollectorRegistry) -> None:
        self._tasks = Tasks("kube-scheduler")
        self.informers = Informers(client, world)
        self._recorder = EventRecorder(client, DEFAULT_NAME, world, modern=True)
        self._scheduler = Scheduler(client, self.informers, world, recorder=self._recorder, metrics=metrics)

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            self.informers.start()
            self._tasks.start("events", self._recorder.run())
            self._tasks.start("scheduling", self._scheduler.run())
            await self._tasks.wait()
        finally:
            await self._tasks.stop()
            await self.informers.stop()
