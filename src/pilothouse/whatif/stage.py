"""The scheduler on a snapshot, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.components.scheduler import SchedulerComponent
from pilothouse.kit.tasks import Tasks
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import LoopClock, World
from pilothouse.scheduler.build import Factory, checked
from pilothouse.scheduler.config import defaults
from pilothouse.whatif import volumes
from pilothouse.whatif.memory_api import MemoryApi
from pilothouse.whatif.snapshot import Snapshot

T = TypeVar("T")

SECONDS_MAX = 900.0
"""Virtual seconds after which a pod that still waits for something is given up: half as long again as the longest
time-out of a binding."""
_LOOK_EVERY_S = 0.5
_BUSY = ("active", "backoff", "error-backoff", "in-flight")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a scheduler is made with. `config` is a complete KubeSchedulerConfiguration, None for the default one;
    `plugins` are out-of-tree ones that are no entry points. Same seed, same outcome."""

    config: Obj | None = None
    seed: int = 0
    plugins: Mapping[str, Factory] | None = None


def alone(config: Obj | None) -> Obj:
    """A configuration without its extenders: other people's programs are not asked what they would do. ProfileError
    when it is not valid."""
    return {**checked(config or defaults.configuration()), "extenders": []}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`snapshot` is as the scheduler left it; `deleted` are pods that were preempted, `gates` who holds pods back, by
    UID; `names` the scheduler names that were served."""

    snapshot: Snapshot
    deleted: tuple[Obj, ...]
    gates: Mapping[str, str]
    names: tuple[str, ...]


class Stage:
    """One run: a snapshot's copy, and a world that begins when the snapshot was taken."""

    def __init__(self, snapshot: Snapshot, setting: Setting) -> None:
        self.snapshot = snapshot.copy()
        self.world = World(LoopClock(snapshot.taken_s), random.Random(setting.seed))
        self._config = alone(setting.config)
        self._plugins = setting.plugins
        self.api = MemoryApi(self.snapshot, self.world, (volumes.react,))

    def scheduler(self) -> SchedulerComponent:
        return component(self.api, self.world, self._config, self._plugins)

    def until_quiet(self, before: Callable[[Stage], Coroutine[Any, Any, None]] | None = None) -> Outcome:
        """Let the scheduler work until it has nothing left to do. `before` puts in what it will find."""
        return run_virtual(self._until_quiet(before))

    async def _until_quiet(self, before: Callable[[Stage], Coroutine[Any, Any, None]] | None) -> Outcome:
        if before is not None:
            await before(self)
        made = self.scheduler()
        async with Tasks("simulation") as tasks:
            running = tasks.start("kube-scheduler", made.run())
            await made.informers.synced()
            await self._quiet(made, lambda: running.done())
            if running.done():
                running.result()
            gates = self._gates(made)
        names = tuple(profile["schedulerName"] for profile in self._config["profiles"])
        return Outcome(self.snapshot, tuple(self.api.deleted), gates, names)

    def _gates(self, made: SchedulerComponent) -> dict[str, str]:
        uids = (pod["metadata"]["uid"] for pod in self.snapshot.list(PODS))
        entries = (made.scheduler.queue.get(uid) for uid in uids)
        return {entry.info.uid: entry.gate for entry in entries if entry is not None and entry.gate}

    async def _quiet(self, made: SchedulerComponent, over: Callable[[], bool]) -> None:
        clock = self.world.clock
        end_s = clock.monotonic() + SECONDS_MAX
        while not over() and clock.monotonic() < end_s:
            await clock.sleep(_LOOK_EVERY_S)
            sizes = made.scheduler.queue.sizes()
            if not any(sizes[place] for place in _BUSY):  # type: ignore[index]
                return


def component(
    client: Client, world: World, config: Obj, plugins: Mapping[str, Factory] | None = None
) -> SchedulerComponent:
    return SchedulerComponent(client, world, CollectorRegistry(auto_describe=True), config, plugins=plugins)
