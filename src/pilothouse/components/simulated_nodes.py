"""The simulated nodes as a whole: their informers, their events, and the fleet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.world import World
from pilothouse.nodes.fleet import Fleet
from pilothouse.nodes.kubelet_api import KubeletApi
from pilothouse.nodes.usage import Usages, says_what_it_uses

if TYPE_CHECKING:
    from pilothouse.nodes.stages.read import StageSet

USER = "system:nodes:simulated"


def usages_of(stages: StageSet | None) -> Usages:
    """What containers use, by what files and annotations say."""
    return Usages(stages.usages if stages is not None else None)


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
        usages: Usages | None = None,
        on_described: Callable[[], None] | None = None,
        external_cloud: bool = False,
    ) -> None:
        """`usages` knows what containers use; `on_described` is called as soon as a pod says so itself."""
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
        if on_described is not None:
            self.informers.informer(PODS).add_handler(_Described(on_described))
        self.kubelets = KubeletApi(self._fleet, world, usages or usages_of(stages))

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


class _Described:
    """Watches for the first pod that says what it uses."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_add(self, obj: Obj) -> None:
        if self._tell is not None and says_what_it_uses(obj):
            self._tell()
            self._tell = None

    def on_update(self, old: Obj, new: Obj) -> None:
        self.on_add(new)

    def on_delete(self, obj: Obj) -> None:
        """What is served stays served."""
