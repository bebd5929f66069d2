"""kube-scheduler as a whole: its informers, its events, its profile, and the scheduler itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.nominator import Nominator
from pilothouse.scheduler.plugins import registry
from pilothouse.scheduler.profile import DEFAULT_NAME
from pilothouse.scheduler.scheduler import Scheduler

USER = "system:kube-scheduler"


class SchedulerComponent:
    """`client` is who it acts as."""

    def __init__(self, client: ResourceClient, world: World, metrics: CollectorRegistry) -> None:
        self._tasks = Tasks("kube-scheduler")
        self.informers = Informers(client, world)
        self._recorder = EventRecorder(client, DEFAULT_NAME, world, modern=True)
        handle = Handle(client, self.informers, world, self._recorder, Nominator())
        profile = registry.default_profile(handle)
        self.scheduler = Scheduler(handle, {profile.name: profile}, metrics)

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            self.informers.start()
            self._tasks.start("events", self._recorder.run())
            self._tasks.start("scheduling", self.scheduler.run())
            await self._tasks.wait()
        finally:
            await self._tasks.stop()
            await self.informers.stop()
