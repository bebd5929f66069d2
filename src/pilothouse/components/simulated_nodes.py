"""The simulated nodes as a whole: their informers, their events, and the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from pilothouse.nodes.fleet import Fleet
from pilothouse.nodes.kubelet_api import KubeletApi

if TYPE_CHECKING:
    from pilothouse.nodes.stages.read import StageSet

USER = "system:nodes:simulated"


class SimulatedNodes:
    """`count` nodes, and those that annotated node objects ask for; `stages` say what becomes of what they select. With
    `external_cloud` they register as kubelets with --cloud-provider=external: a cloud has to describe them first.
    `kubelets` is the nodes' door for logs and exec, for an API server in the same process."""

    def __init__(
        self,
        client: ResourceClient,
        world: World,
        *,
        count: int,
        events: str = "warnings",
        stages: StageSet | None = None,
        external_cloud: bool = False,
    ) -> None:
        self._tasks = Tasks("simulated nodes")
        self.informers = Informers(client, world)
        self._recorder = EventRecorder(client, "kubelet", world)
        self._fleet = Fleet(
            client,
            self.informers,
            world,
            self._recorder,
            count=count,
            events=events,
            stages=stages,
            external_cloud=external_cloud,
        )
        self.kubelets = KubeletApi(self._fleet, world)

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        try:
            self.informers.start()
            self._tasks.start("events", self._recorder.run())
            self._tasks.start("fleet", self._fleet.run())
            await self._tasks.wait()
        finally:
            await self._tasks.stop()
            await self.informers.stop()
