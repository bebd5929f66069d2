"""The fleet: all simulated nodes in one place, with one informer for nodes and one for pods."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pilothouse.api.resources import NODES, PODS, VOLUME_ATTACHMENTS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.kit.world import World
from pilothouse.nodes import kubelet_events
from pilothouse.nodes.devices import Publisher
from pilothouse.nodes.kubelet_events import KubeletEvents
from pilothouse.nodes.machines import Machines
from pilothouse.nodes.pods import Pods
from pilothouse.nodes.simulated_csi import SimulatedCsi

if TYPE_CHECKING:
    from pilothouse.nodes.stages.player import Player
    from pilothouse.nodes.stages.read import StageSet


class Fleet:
    """`count` nodes named node-0, node-1, …, and those that annotated node objects ask for (see `machines`). What
    `stages` select is theirs, everything else lives as it does without them."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        world: World,
        recorder: EventRecorder,
        *,
        count: int = 3,
        events: str = kubelet_events.WARNINGS,
        stages: StageSet | None = None,
        external_cloud: bool = False,
    ) -> None:
        self._nodes = informers.informer(NODES)
        self._pod_informer = informers.informer(PODS)
        told = KubeletEvents(recorder, events)
        self.machines = Machines(client, self._nodes, world, told, count, self._is_staged, external_cloud)
        attachments = informers.informer(VOLUME_ATTACHMENTS)
        self.pods = Pods(client, self._pod_informer, attachments, self.machines, world, told, self._is_staged)
        self._csi = SimulatedCsi(client, informers, self._pod_informer, self.machines, world, recorder)
        self._devices = Publisher(client, self._nodes, world, told, self.machines.__contains__)
        self._players: dict[str, Player] = {}
        if stages is not None:
            stages.functions.places = self.pods
            self._add_players(client, world, recorder, stages)
        self.machines.on_back = self._node_back

    def _add_players(self, client: Client, world: World, recorder: EventRecorder, stages: StageSet) -> None:
        from pilothouse.nodes.stages.player import Player

        for informer, admits in (
            (self._nodes, self._admits_node),
            (self._pod_informer, self._admits_pod),
        ):
            mine = stages.of(informer.resource)
            if mine:
                kind = informer.resource.kind
                self._players[kind] = Player(client, informer, mine, world, recorder, admits)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self._nodes.synced(), self._pod_informer.synced())
        await self.machines.register()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.machines.run(), name="heartbeats")
            tasks.create_task(self.pods.run(), name="pods of simulated nodes")
            tasks.create_task(self._csi.run(), name="simulated CSI driver")
            tasks.create_task(self._devices.run(), name="devices of simulated nodes")
            for kind, player in self._players.items():
                tasks.create_task(player.run(), name=f"stages of {kind}")

    def _is_staged(self, kind: str, obj: Obj) -> bool:
        player = self._players.get(kind)
        return player is not None and player.owns(obj)

    def _admits_node(self, node: Obj) -> bool:
        name = node["metadata"]["name"]
        return name in self.machines and not self.machines.is_stopped(name)

    def _admits_pod(self, pod: Obj) -> bool:
        name = pod["spec"].get("nodeName", "")
        return name in self.machines and not self.machines.is_stopped(name)

    def _node_back(self, name: str) -> None:
        """A node is there, or there again: everything of it is looked at anew."""
        self.pods.node_back(name)
        for player in self._players.values():
            node = self.machines.node(name)
            mine = self.pods.of_node(name) if player.kind == PODS.kind else [node] if node else []
            for obj in mine:
                player.look_at(obj)
