"""What real nodes and a real volume provisioner would do, in short: pods start, end when they are told to, and vanish
with their node; claims that wait for a node get a volume there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.world import World
from tests.simulation.scheduling import shapes
from tests.simulation.scheduling.history import Change, History
from tests.simulation.scheduling.rules import BIND_COMPLETED, SELECTED_NODE, labels_of


class Hands:
    def __init__(self, client: ResourceClient, history: History, world: World, chance: random.Random) -> None:
        self._client = client
        self._history = history
        self._world = world
        self._chance = chance
        self._busy: dict[asyncio.Task[None], None] = {}
        self._doing: set[tuple[str, str]] = set()
        self.faulty = True
        history.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        if change.kind == "pods" and change.new is not None:
            self._pod(change.new)
        elif change.kind == "persistentvolumeclaims" and change.new is not None:
            self._claim(change.new)
        elif change.kind == "persistentvolumes" and change.new is not None:
            self._volume(change.new)
        elif change.kind == "nodes" and change.new is None:
            for pod in list(self._history.now("pods").values()):
                if pod["spec"].get("nodeName") == change.key:
                    self._after(2.0 + 5 * self._chance.random(), "gone", pod, self._remove(pod))

    def _after(self, delay_s: float, what: str, obj: Obj, work: Coroutine[None, None, None]) -> None:
        mark = (what, obj["metadata"]["uid"])
        if mark in self._doing:
            work.close()
            return
        self._doing.add(mark)

        async def later() -> None:
            await self._world.clock.sleep(delay_s)
            self._doing.discard(mark)
            try:
                await work
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

        task = asyncio.get_running_loop().create_task(later())
        self._busy[task] = None
        task.add_done_callback(lambda done: self._busy.pop(done, None))

    async def stop(self) -> None:
        """Raises what went wrong."""
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    # -- pods -------------------------------------------------------------------------------------------

    def _pod(self, pod: Obj) -> None:
        name = pod["spec"].get("nodeName")
        if not name:
            return
        if pod["metadata"].get("deletionTimestamp"):
            self._after(self._chance.choice((0.1, 1.0, 5.0)), "end", pod, self._remove(pod))
        elif name not in self._history.now("nodes"):
            self._after(3.0, "gone", pod, self._remove(pod))
        elif not pod["status"].get("startTime"):
            self._after(0.2 + self._chance.random(), "start", pod, self._start(pod))

    async def _remove(self, pod: Obj) -> None:
        meta = pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        await self._client.delete(PODS, meta["name"], meta["namespace"], options)

    async def _start(self, pod: Obj) -> None:
        meta = pod["metadata"]
        patch = {
            "metadata": {"uid": meta["uid"]},
            "status": {"phase": "Running", "startTime": self._world.timestamp()},
        }
        await self._client.patch(PODS, meta["name"], patch, meta["namespace"], subresource="status")

    # -- volumes ----------------------------------------------------------------------------------------

    def _claim(self, claim: Obj) -> None:
        annotations = claim["metadata"].get("annotations") or {}
        if SELECTED_NODE in annotations and not claim["spec"].get("volumeName"):
            self._after(0.3 + 3 * self._chance.random(), "provision", claim, self._provision(claim))

    async def _provision(self, claim: Obj) -> None:
        meta = claim["metadata"]
        now = self._history.now("persistentvolumeclaims").get(f"{meta['namespace']}/{meta['name']}")
        if now is None or now["metadata"]["uid"] != meta["uid"] or now["spec"].get("volumeName"):
            return
        node = self._history.now("nodes").get((now["metadata"].get("annotations") or {}).get(SELECTED_NODE))
        if node is None or (self.faulty and self._chance.random() < 0.2):
            # external-provisioner: what cannot be made there is left to the scheduler again
            gone = {"metadata": {"uid": meta["uid"], "annotations": {SELECTED_NODE: None}}}
            await self._client.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], gone, meta["namespace"])
            return
        zone = labels_of(node).get(shapes.ZONE, "")
        name = f"pv-{meta['uid'][:8]}"
        made = shapes.volume(name, zone, now["spec"]["storageClassName"], now)
        await self._client.create(PERSISTENT_VOLUMES, made)
        await self._bind(now, name)

    def _volume(self, volume: Obj) -> None:
        """The scheduler has kept a volume for a claim: the controller binds them."""
        reference = volume["spec"].get("claimRef")
        if volume["spec"].get("storageClassName") != shapes.LOCAL or not reference:
            return
        claim = self._history.now("persistentvolumeclaims").get(
            f"{reference['namespace']}/{reference['name']}"
        )
        if claim is None or claim["metadata"]["uid"] != reference.get("uid"):
            self._after(2.0, "free", volume, self._free(volume))
        elif not claim["spec"].get("volumeName"):
            self._after(0.2, "bind", volume, self._bind(claim, volume["metadata"]["name"]))

    async def _free(self, volume: Obj) -> None:
        """Its claim is gone; nobody wipes disks here."""
        meta = volume["metadata"]
        patch = {"metadata": {"uid": meta["uid"]}, "spec": {"claimRef": None}}
        await self._client.patch(PERSISTENT_VOLUMES, meta["name"], patch)
        await self._client.patch(
            PERSISTENT_VOLUMES, meta["name"], {"status": {"phase": "Available"}}, subresource="status"
        )

    async def _bind(self, claim: Obj, volume: str) -> None:
        meta = claim["metadata"]
        bound = {
            "metadata": {"uid": meta["uid"], "annotations": {BIND_COMPLETED: "yes"}},
            "spec": {"volumeName": volume},
        }
        await self._client.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], bound, meta["namespace"])
        phase = {"metadata": {"uid": meta["uid"]}, "status": {"phase": "Bound"}}
        await self._client.patch(
            PERSISTENT_VOLUME_CLAIMS, meta["name"], phase, meta["namespace"], subresource="status"
        )
        await self._client.patch(
            PERSISTENT_VOLUMES, volume, {"status": {"phase": "Bound"}}, subresource="status"
        )
