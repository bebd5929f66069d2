"""kube-scheduler as a whole: its informers, its events, its profiles and extenders, and the scheduler itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from prometheus_client import CollectorRegistry

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from pilothouse.scheduler import build
from pilothouse.scheduler.build import Factory
from pilothouse.scheduler.config import defaults
from pilothouse.scheduler.explain import Explanation
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.nominator import Nominator
from pilothouse.scheduler.queue import Patience
from pilothouse.scheduler.scheduler import Scheduler

USER = "system:kube-scheduler"
UNSCHEDULABLE_S_MAX = 300.0


class SchedulerComponent:
    """`client` is who it acts as. `config` is a complete KubeSchedulerConfiguration, None for the default one;
    `plugins` are out-of-tree ones besides those that are installed as entry points.
    `features` are the feature gates that are on, of those in `scheduler.features`.
    ProfileError when a profile or an extender cannot be made of the configuration."""

    def __init__(
        self,
        client: Client,
        world: World,
        metrics: CollectorRegistry,
        config: Obj | None = None,
        *,
        plugins: Mapping[str, Factory] | None = None,
        unschedulable_s_max: float = UNSCHEDULABLE_S_MAX,
        features: Iterable[str] = (),
    ) -> None:
        gates = frozenset(features)
        config = build.checked(config or defaults.configuration(), gates)
        self._tasks = Tasks("kube-scheduler")
        self.informers = Informers(client, world)
        self._recorder = EventRecorder(client, config["profiles"][0]["schedulerName"], world, modern=True)
        handle = Handle(client, self.informers, world, self._recorder, Nominator(), gates)
        self._extenders = build.extenders(config)
        self.scheduler = Scheduler(
            handle,
            build.profiles(config, handle, plugins, self._extenders),
            metrics,
            patience=Patience(
                config["podInitialBackoffSeconds"], config["podMaxBackoffSeconds"], unschedulable_s_max
            ),
            extenders=self._extenders,
        )

    def problem(self) -> str:
        """What it waits for before it can schedule (readyz informer-sync); "" for a scheduler that does not lead."""
        waiting = self.informers.waiting
        return f"informers not started yet: {waiting}" if waiting else ""

    def explain(self, namespace: str, name: str) -> Explanation:
        """See `scheduler.explain`. ApiError 503 before it has seen the cluster, 404 for a pod that is not there."""
        if not self.informers.running or self.informers.waiting:
            raise errors.service_unavailable(
                "this scheduler does not work yet, or another one leads: ask that one"
            )
        return self.scheduler.explain(namespace, name)

    def explanation(self, path: str) -> bytes:
        """The JSON answer to GET /explain/`path`, namespaces/NS/pods/NAME; ApiError."""
        parts = path.split("/")
        if len(parts) != 4 or (parts[0], parts[2]) != ("namespaces", "pods") or not all(parts):
            raise errors.not_found("", "explanations", path)
        return msgspec.json.encode(self.explain(parts[1], parts[3]))

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
            for extender in self._extenders:
                await extender.close()
