"""The loop: informers → queue → decision → binding. Decisions are synchronous, one after the other; binding happens
beside them, with the pod assumed to be on its node until the API server says so or says no."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial

from prometheus_client import CollectorRegistry

from pilothouse.api import errors
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.informer import Handler
from pilothouse.kit.tasks import Tasks
from pilothouse.scheduler import binding
from pilothouse.scheduler.binding import BindingRefused, Permits
from pilothouse.scheduler.cache import Cache
from pilothouse.scheduler.company import Company
from pilothouse.scheduler.cycle import Unschedulable, decide, post_filter
from pilothouse.scheduler.explain import Explanation, explain, queue_state
from pilothouse.scheduler.extenders import asking
from pilothouse.scheduler.extenders.extender import Extender
from pilothouse.scheduler.extenders.wire import ExtenderError
from pilothouse.scheduler.framework import Cycle, Effect, Nomination, NoRoomMade, PluginFailed
from pilothouse.scheduler.gang_scheduler import GangScheduler, Hands, gangs_of
from pilothouse.scheduler.gangs import has_ended
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.hints import (
    ASSIGNED_POD,
    GATED,
    NODE,
    OTHERS,
    Action,
    Event,
    node_changes,
    pod_changes,
)
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
        self._gangs = self._gang_scheduler(profiles)
        self._reporter = Reporter.of(handle)
        handle.nominator.freed = self._room_kept_no_more
        self._tasks = Tasks("scheduler")
        self._pods = handle.informers.informer(PODS)
        self._nodes = handle.informers.informer(NODES)
        self._nodes.add_handler(_NodeHandler(self))
        self._pods.add_handler(_PodHandler(self))
        if self._gangs is not None:
            self._gangs.watch(lambda event: self._metrics.event(event, 0.0))
        self._follow_others()

    def _gang_scheduler(self, profiles: Mapping[str, Profile]) -> GangScheduler | None:
        gangs = gangs_of(profiles)
        if gangs is None:
            return None
        hands = Hands(
            self._cycle,
            self._note_plugins,
            self._is_settled,
            self._refuse,
            self._failed,
            self._bind,
            self._start,
            self._make_room,
            self._world.clock.monotonic,
        )
        return GangScheduler(gangs, self._handle, self.queue, self.cache, self._extenders, hands)

    def _follow_others(self) -> None:
        """The kinds that some plugin registers for; the others need no informer."""
        wanted = {
            registration.resource
            for profile in self._profiles.values()
            for registrations in profile.registrations.values()
            for registration in registrations
        }
        gated = {kind: found for kind, (gate, found) in GATED.items() if gate in self._handle.features}
        for kind, resource in {**OTHERS, **gated}.items():
            if kind in wanted:
                self._handle.informers.informer(resource).add_handler(_OtherHandler(self, kind))

    async def run(self) -> None:
        """Until cancelled; raises what crashed."""
        await self._handle.informers.synced()
        if self._gangs is not None:
            self._gangs.begin()
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
            if self._gangs is not None and self._gangs.takes(entry.info):
                self._gangs.schedule(entry)
                continue
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
        self._handle.nominator.remove(info.uid, node)
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
        if self._put_back(entry, diagnosis.rejected_by):
            self._start(self._reporter.unschedulable(entry.info, diagnosis.text(), nomination.node))
        if nomination.effect is not None:
            self._make_room(entry, nomination.effect)

    def _make_room(self, entry: Waiting, effect: Effect) -> None:
        self._handle.nominator.under_way.add(entry.info.uid)
        self._start(self._made_room(entry, effect))

    async def _made_room(self, entry: Waiting, effect: Effect) -> None:
        """What a PostFilter wants done. If it fails nothing may ever happen that the pod waits for: it tries again."""
        uid = entry.info.uid
        try:
            await effect()
        except NoRoomMade as error:
            log.warning("%s", error)
            self.queue.retry(uid)
        finally:
            self._handle.nominator.under_way.discard(uid)
        self.queue.reconsider(uid, DefaultPreemption.name)
        if self._gangs is not None:
            self._gangs.room_made(entry.info.pod)

    async def _bind(
        self, entry: Waiting, cycle: Cycle, node: str, began_s: float, company: Company | None = None
    ) -> None:
        try:
            await self._reporter.reported(entry.info.uid)
            await binding.bind(cycle, node, self.permits, company)
        except BindingRefused as refusal:
            self._not_bound(entry, refusal, {refusal.plugin} - {""}, began_s)
        except (ApiError, ConnectionError) as error:
            self._keep_for_gang(entry, node, company)
            self._not_bound(entry, error, set(), began_s)
        else:
            self.queue.remove(entry.info.uid)
            self._metrics.scheduled(entry, began_s, self._world)
            self._reporter.scheduled(entry.info, node)

    def _keep_for_gang(self, entry: Waiting, node: str, company: Company | None) -> None:
        """The others of its gang are on their nodes: nobody may take its room while it tries again."""
        if company is not None and self._waits_still(entry.info) is not None:
            self._handle.nominator.put(entry.info, node)

    def _not_bound(self, entry: Waiting, why: Exception, rejected_by: set[str], began_s: float) -> None:
        """The pod is where it was before the decision, and tries again: later when it was an error."""
        self._forget(entry.info)
        if not rejected_by:
            self._failed(entry, why, began_s)
            return
        self._refuse(entry, str(why), rejected_by, began_s)

    def _refuse(
        self,
        entry: Waiting,
        why: str,
        rejected_by: set[str],
        began_s: float,
        nominated: str | None = None,
    ) -> None:
        """Back into the queue, until something happens that may help."""
        self._metrics.attempt("unschedulable", entry.profile.name, began_s, self._world)
        if self._put_back(entry, rejected_by):
            self._start(self._reporter.unschedulable(entry.info, why, nominated))

    def _failed(self, entry: Waiting, why: Exception, began_s: float) -> None:
        """An error, no refusal."""
        log.info("scheduling %s failed: %s", entry.info.key, why)
        self._metrics.attempt("error", entry.profile.name, began_s, self._world)
        if self._put_back(entry, set()):
            self._start(self._reporter.failed(entry.info, str(why)))

    def _waits_still(self, info: PodInfo) -> Obj | None:
        """The pod as it is now; None when there is nothing to schedule any more: it was bound after all, or is gone."""
        pod = self._pods.get(info.key)
        if pod is None or pod["metadata"]["uid"] != info.uid or pod["metadata"].get("deletionTimestamp"):
            return None
        return None if pod["spec"].get("nodeName") or has_ended(pod) else pod

    def _put_back(self, entry: Waiting, rejected_by: set[str]) -> bool:
        """Into the queue, as the pod is by now: what was said of it while it was on its way is news (upstream's
        handleSchedulingFailure). False when there is nothing to schedule any more."""
        pod = self._waits_still(entry.info)
        if pod is None:
            self.queue.remove(entry.info.uid)
            self._handle.nominator.remove(entry.info.uid)
            return False
        if pod["metadata"]["resourceVersion"] != entry.info.pod["metadata"]["resourceVersion"]:
            entry.info = pod_info(pod)
        self.queue.put_back(entry, rejected_by)
        return True

    def _room_kept_no_more(self, info: PodInfo) -> None:
        """A nomination is over: to those that it kept out it is as if the pod had left the node."""
        self.queue.happened(Event(ASSIGNED_POD, Action.DELETE, info.pod))

    def _forget(self, info: PodInfo) -> None:
        """What was assumed of a pod; others may now have the room."""
        freed = self.cache.forget(info.uid)
        if freed is not None:
            self.queue.happened(Event(ASSIGNED_POD, Action.DELETE, freed.pod))

    # -- what people ask --------------------------------------------------------------------------------

    def explain(self, namespace: str, name: str) -> Explanation:
        """Why a pod is where it is, or nowhere, as things are now. ApiError for one that there is not, or that another
        scheduler looks after."""
        pod = self._pods.get(f"{namespace}/{name}")
        if pod is None:
            raise errors.not_found("", "pods", name)
        scheduler = pod["spec"].get("schedulerName", "")
        profile = self._profiles.get(scheduler)
        if profile is None:
            ours = ", ".join(self._profiles)
            raise errors.bad_request(
                f"pod {namespace}/{name} is for scheduler {scheduler}, and here is {ours}"
            )
        uid, info = pod["metadata"]["uid"], pod_info(pod)
        return explain(
            pod,
            self.cache.table,
            profile,
            queue_state(pod, self.queue.get(uid), self._world),
            guests=self._handle.nominator.pods(),
            nominated=self._handle.nominator.node_of(uid),
            extenders=[extender.url for extender in self._extenders if extender.is_interested(info)],
        )

    # -- what the informers say -------------------------------------------------------------------------

    def handle(self, event: str, what: Callable[..., None], *objects: Obj | None) -> None:
        """Do what follows from an event, and time it."""
        began_s = self._world.clock.monotonic()
        what(*objects)
        self._metrics.event(event, self._world.clock.monotonic() - began_s)

    def pod_seen(self, old: Obj | None, pod: Obj) -> None:
        if has_ended(pod):
            self.pod_gone(pod)
            return
        uid = pod["metadata"]["uid"]
        if pod["spec"].get("nodeName"):
            self._placed(pod_info(pod, self.cache.table.pod(uid)))
            if old is None and self._gangs is not None:
                self._gangs.came(pod)  # at a start it may be seen after those that wait for it
            return
        profile = self._profiles.get(pod["spec"].get("schedulerName", ""))
        if profile is None:
            return
        if pod["metadata"].get("deletionTimestamp"):
            self._stops_waiting(uid)
            return
        if self.cache.is_assumed(uid):
            return
        info = pod_info(pod)
        was = ((old or {}).get("status") or {}).get("nominatedNodeName", "")
        self._handle.nominator.seen(was, info)
        is_new = self.queue.get(uid) is None
        self.queue.put(info, profile)
        if is_new and self._gangs is not None:
            self._gangs.came(pod)

    def _stops_waiting(self, uid: str) -> None:
        """It is being deleted. If it was on its way to a node, binding will fail, and others need not wait for that
        (handleAssumedPodDeletion)."""
        self._handle.nominator.remove(uid)
        self.queue.remove(uid)
        self.permits.reject(uid, "pod is deleted")
        freed = self.cache.forget(uid)
        if freed is not None:
            self.queue.happened(Event(ASSIGNED_POD, Action.DELETE, freed.pod))

    def _placed(self, info: PodInfo) -> None:
        self._handle.nominator.remove(info.uid, info.node)
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
        if self._gangs is not None:
            self._gangs.went(pod)

    def node_seen(self, old: Obj | None, new: Obj) -> None:
        self.cache.table.put_node(new)
        changes = Action.ADD if old is None else node_changes(old, new)
        self.queue.happened(Event(NODE, changes, old, new))

    def node_gone(self, node: Obj) -> None:
        self.cache.table.remove_node(node["metadata"]["name"])
        self.queue.happened(Event(NODE, Action.DELETE, node))


class _OtherHandler(Handler):
    """Of a kind that only plugins look at."""

    def __init__(self, scheduler: Scheduler, kind: str) -> None:
        self._scheduler = scheduler
        self._kind = kind

    def on_add(self, obj: Obj) -> None:
        self._scheduler.handle(f"{self._kind}Add", partial(self._tell, Action.ADD), None, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._scheduler.handle(f"{self._kind}Update", partial(self._tell, Action.UPDATE), old, new)

    def on_delete(self, obj: Obj) -> None:
        self._scheduler.handle(f"{self._kind}Delete", partial(self._tell, Action.DELETE), obj)

    def _tell(self, action: Action, old: Obj | None, new: Obj | None = None) -> None:
        self._scheduler.queue.happened(Event(self._kind, action, old, new))


class _PodHandler(Handler):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def on_add(self, obj: Obj) -> None:
        self._scheduler.handle(f"{_kind(obj)}Add", self._scheduler.pod_seen, None, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._scheduler.handle(f"{_kind(new)}Update", self._scheduler.pod_seen, old, new)

    def on_delete(self, obj: Obj) -> None:
        self._scheduler.handle(f"{_kind(obj)}Delete", self._scheduler.pod_gone, obj)


def _kind(pod: Obj) -> str:
    return "AssignedPod" if pod["spec"].get("nodeName") else "UnscheduledPod"


class _NodeHandler(Handler):
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def on_add(self, obj: Obj) -> None:
        self._scheduler.handle("NodeAdd", self._scheduler.node_seen, None, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._scheduler.handle("NodeUpdate", self._scheduler.node_seen, old, new)

    def on_delete(self, obj: Obj) -> None:
        self._scheduler.handle("NodeDelete", self._scheduler.node_gone, obj)
