"""The fleet: all simulated nodes in one place, with one informer for nodes and one for pods."""

from __future__ import annotations

import asyncio

from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.kit.world import World
from pilothouse.nodes import kubelet_events
from pilothouse.nodes.kubelet_events import KubeletEvents
from pilothouse.nodes.machines import Machines
from pilothouse.nodes.pods import Pods


class Fleet:
    """`count` nodes named node-0, node-1, …, and those that annotated node objects ask for (see `machines`)."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        world: World,
        recorder: EventRecorder,
        *,
        count: int = 3,
        events: str = kubelet_events.WARNINGS,
    ) -> None:
        self._nodes = informers.informer(NODES)
        self._pod_informer = informers.informer(PODS)
        told = KubeletEvents(recorder, events)
        self.machines = Machines(client, self._nodes, world, told, count, self._is_staged)
        self.pods = Pods(client, self._pod_informer, self.machines, world, told, self._is_staged)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._nodes.synced(), self._pod_informer.synced())
        await self.machines.register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.machines.run(), name="heartbeats")
            tasks.create_task(self.pods.run(), name="pods of simulated nodes")

    def _is_staged(self, obj: Obj) -> bool:
        return False
