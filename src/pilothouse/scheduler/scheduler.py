"""The loop: informers → queue → decision → binding. Decisions are synchronous, one after the other; binding happens
beside them, with the pod assumed to be on its node until the API server says so or says no."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler
from pilothouse.kit.tasks import Tasks
from pilothouse.scheduler import binding
from pilothouse.scheduler.binding import BindingRefused, Permits
from pilothouse.scheduler.cache import Cache
from pilothouse.scheduler.cycle import Unschedulable, decide, post_filter
from pilothouse.scheduler.extenders import asking
from pilothouse.scheduler.extenders.extender import Extender
from pilothouse.scheduler.extenders.wire import ExtenderError
from pilothouse.scheduler.framework import Cycle, Nomination, PluginFailed
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import ASSIGNED_POD, NODE, Action, Event, node_changes, pod_changes
from pilothouse.scheduler.metrics import SchedulerMetrics
from pilothouse.scheduler.outcome import Reporter
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.pod_info import PodInfo, pod_info
from pilothouse.scheduler.profile import Profile
from pilothouse.scheduler.queue import Patience, SchedulingQueue, Waiting
from pilothouse.scheduler.timed import SAMPLE, Stopwatch, timed

log = logging.getLogger(__name__)

_IN_A_ROW = 32
"""Decisions between two turns of the event loop."""


class Scheduler:
    """Schedules the pods whose spec.schedulerName is one of `profiles`."""

    def __init__(
        self,
        handle: Handle,
        profiles: Mapping[str, Profile],
        metrics: CollectorRegistry,
        *,
        patience: Patience | None = None,
        extenders: Sequence[Extender] = (),
    ) -> None:
        self._handle = handle
        self._profiles = profiles
        self._extenders = extenders
        self._world = handle.world
        self.cache = Cache()
        self.queue = SchedulingQueue(handle.world, patience or Patience())
        self.permits = Permits(handle.world, lambda result, seconds: self._metrics.permitted(result, seconds))
        self._metrics = SchedulerMetrics(metrics, self.queue, self.cache)
        self._stopwatch = Stopwatch(handle.world.clock.monotonic)
        self._timed = {name: timed(profile, self._stopwatch) for name, profile in profiles.items()}
        self._cycles = 0
        self._reporter = Reporter(handle)
        self._tasks = Tasks("scheduler")
        self._pods = handle.informers.informer(PODS)
        self._nodes = handle.informers.informer(NODES)
        self._nodes.add_handler(_NodeHandler(self))
        self._pods.add_handler(_PodHandler(self))

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        await self._handle.informers.synced()
        self._start(self._loop())
        try:
            await self._tasks.wait()
        finally:
            await self._tasks.stop()

    async def _loop(self) -> None:
        while True:
            await self.queue.wait()
            extended = self._schedule_some()
            if extended is not None:
                await self._schedule_with_extenders(extended)
            await asyncio.sleep(0)

    def _schedule_some(self) -> Waiting | None:
        """Ends early at a pod that extenders have a say in: that takes time."""
        for _ in range(_IN_A_ROW):
            entry = self.queue.pop()
            if entry is None:
                return None
            if any(extender.is_interested(entry.info) for extender in self._extenders):
                return entry
            self._schedule(entry)
        return None

    def _is_settled(self, entry: Waiting) -> bool:
        """Whether there is nothing to decide any more."""
        info = entry.info
        if info.pod["metadata"].get("deletionTimestamp") or self.cache.is_assumed(info.uid):
            self.queue.remove(info.uid)
        return self.queue.get(info.uid) is not entry

    def _cycle(self, entry: Waiting) -> Cycle:
        """One in ten is timed plugin by plugin."""
        self._cycles += 1
        profile = entry.profile if self._cycles % SAMPLE else self._timed[entry.profile.name]
        return Cycle(entry.info, profile, self.cache.table, self._world.random, self._handle.nominator.pods())

    def _note_plugins(self, cycle: Cycle, entry: Waiting) -> None:
        """How long they took, if this was a timed cycle."""
        if cycle.profile is not entry.profile:
            self._metrics.plugins(self._stopwatch.read(), entry.profile.name)

    def _schedule(self, entry: Waiting) -> None:
        if self._is_settled(entry):
            return
        began_s = self._world.clock.monotonic()
        cycle = self._cycle(entry)
        try:
            node = decide(cycle)
        except Unschedulable as refusal:
            self._unschedulable(entry, cycle, refusal, post_filter(cycle, refusal.diagnosis), began_s)
        except PluginFailed as error:
            self._failed(entry, error, began_s)
        else:
            self._assign(entry, cycle, node, began_s)
        self._note_plugins(cycle, entry)

    async def _schedule_with_extenders(self, entry: Waiting) -> None:
        """The pod may be gone, or bound by somebody else, when the extenders have answered."""
        if self._is_settled(entry):
            return
        began_s = self._world.clock.monotonic()
        cycle = self._cycle(entry)
        try:
            node = await asking.decide(cycle, self._extenders)
        except Unschedulable as refusal:
            nomination = await asking.post_filter(cycle, refusal.diagnosis, self._extenders)
            if not self._is_settled(entry):
                self._unschedulable(entry, cycle, refusal, nomination, began_s)
        except (ExtenderError, PluginFailed) as error:
            if not self._is_settled(entry):
                self._failed(entry, error, began_s)
        else:
            if not self._is_settled(entry):
                self._assign(entry, cycle, node, began_s)
        self._note_plugins(cycle, entry)

    def _assign(self, entry: Waiting, cycle: Cycle, node: str, began_s: float) -> None:
        info = entry.info
        self._metrics.algorithm(began_s, self._world)
        self.cache.assume(info, node)
        self._handle.nominator.remove(info.uid)
        try:
            binding.reserve(cycle, node)
        except BindingRefused as refusal:
            self._not_bound(entry, refusal, {refusal.plugin}, began_s)
            return
        self._start(self._bind(entry, cycle, node, began_s))

    def _start(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.start("scheduling", work)

    def _unschedulable(
        self, entry: Waiting, cycle: Cycle, refusal: Unschedulable, nomination: Nomination, began_s: float
    ) -> None:
        diagnosis = refusal.diagnosis
        if nomination.node:
            self._handle.nominator.put(cycle.info, nomination.node)
        elif nomination.node is not None:
            self._handle.nominator.remove(cycle.info.uid)
        self._metrics.attempt("unschedulable", entry.profile.name, began_s, self._world)
        if any(isinstance(plugin, DefaultPreemption) for plugin in entry.profile.post_filter):
            self._metrics.preemption(nomination)
        self.queue.put_back(entry, diagnosis.rejected_by)
        self._start(self._reporter.unschedulable(entry.info, diagnosis.text(), nomination.node))
        if nomination.effect is not None:
            self._start(nomination.effect())

    async def _bind(self, entry: Waiting, cycle: Cycle, node: str, began_s: float) -> None:
        try:
            await binding.bind(cycle, node, self.permits)
        except BindingRefused as refusal:
            self._not_bound(entry, refusal, {refusal.plugin} - {""}, began_s)
        except ApiError as error:
            if error.code == 404:
                self._forget(entry.info)
                self.queue.remove(entry.info.uid)
                return
            self._not_bound(entry, error, set(), began_s)
        except ConnectionError as error:
            self._not_bound(entry, error, set(), began_s)
        else:
            self.queue.remove(entry.info.uid)
            self._metrics.scheduled(entry, began_s, self._world)
            self._reporter.scheduled(entry.info, node)

    def _not_bound(self, entry: Waiting, why: Exception, rejected_by: set[str], began_s: float) -> None:
        """The pod is where it was before the decision, and tries again: later when it was an error."""
        self._forget(entry.info)
        if not rejected_by:
            self._failed(entry, why, began_s)
            return
        self._metrics.attempt("unschedulable", entry.profile.name, began_s, self._world)
        self.queue.put_back(entry, rejected_by)
        self._start(self._reporter.unschedulable(entry.info, str(why)))

    def _failed(self, entry: Waiting, why: Exception, began_s: float) -> None:
        """An error, no refusal."""
        log.info("scheduling %s failed: %s", entry.info.key, why)
        self._metrics.attempt("error", entry.profile.name, began_s, self._world)
        self.queue.put_back(entry, set())
        self._start(self._reporter.failed(entry.info, str(why)))

    def _forget(self, info: PodInfo) -> None:
        """What was assumed of a pod; others may now have the room."""
        freed = self.cache.forget(info.uid)
        if freed is not None:
            self.queue.happened(Event(ASSIGNED_POD, Action.DELETE, freed.pod))

    # -- what the informers say -------------------------------------------------------------------------

    @contextmanager
    def handling(self, event: str) -> Iterator[None]:
        """Time what follows from an event."""
        began_s = self._world.clock.monotonic()
        yield
        self._metrics.event(event, self._world.clock.monotonic() - began_s)

    def pod_seen(self, pod: Obj) -> None:
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            self.pod_gone(pod)
            return
        uid = pod["metadata"]["uid"]
        if pod["spec"].get("nodeName"):
            self._placed(pod_info(pod))
            return
        profile = self._profiles.get(pod["spec"].get("schedulerName", ""))
        if profile is None or self.cache.is_assumed(uid):
            return
        if pod["metadata"].get("deletionTimestamp"):
            self._handle.nominator.remove(uid)
            self.queue.remove(uid)
            return
        info = pod_info(pod)
        if info.nominated:
            self._handle.nominator.put(info, info.nominated)
        self.queue.put(info, profile)

    def _placed(self, info: PodInfo) -> None:
        self._handle.nominator.remove(info.uid)
        self.queue.remove(info.uid)
        before = self.cache.put(info)
        if before is None:
            self.queue.happened(Event(ASSIGNED_POD, Action.ADD, None, info.pod))
        else:
            self.queue.happened(Event(ASSIGNED_POD, pod_changes(before, info), before.pod, info.pod))

    def pod_gone(self, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        self.queue.remove(uid)
        self._handle.nominator.remove(uid)
        self.permits.reject(uid, "pod is deleted")
        freed = self.cache.remove(uid)
        if freed is not None:
            self.queue.happened(Event(ASSIGNED_POD, Action.DELETE, freed.pod))

    def node_seen(self, old: Obj | None, new: Obj) -> None:
        self.cache.table.put_node(new)
        changes = Action.ADD if old is None else node_changes(old, new)
        self.queue.happened(Event(NODE, changes, old, new))

    def node_gone(self, node: Obj) -> None:
        self.cache.table.remove_node(node["metadata"]["name"])
        self.queue.happened(Event(NODE, Action.DELETE, node))


class _PodHandler(Handler):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def on_add(self, obj: Obj) -> None:
        with self._scheduler.handling(f"{_kind(obj)}Add"):
            self._scheduler.pod_seen(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        with self._scheduler.handling(f"{_kind(new)}Update"):
            self._scheduler.pod_seen(new)

    def on_delete(self, obj: Obj) -> None:
        with self._scheduler.handling(f"{_kind(obj)}Delete"):
            self._scheduler.pod_gone(obj)


def _kind(pod: Obj) -> str:
    return "AssignedPod" if pod["spec"].get("nodeName") else "UnscheduledPod"


class _NodeHandler(Handler):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def on_add(self, obj: Obj) -> None:
        with self._scheduler.handling("NodeAdd"):
            self._scheduler.node_seen(None, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        with self._scheduler.handling("NodeUpdate"):
            self._scheduler.node_seen(old, new)

    def on_delete(self, obj: Obj) -> None:
        with self._scheduler.handling("NodeDelete"):
            self._scheduler.node_gone(obj)
