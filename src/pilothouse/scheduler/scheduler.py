"""The scheduler's loop: informers → queue → decision → bind. Decisions are synchronous; binding happens beside
them, with the pod assumed to be on its node until the API server says so or says no."""

from __future__ import annotations

import asyncio
import logging

from prometheus_client import CollectorRegistry

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers, key_of
from pilothouse.kit import metrics as kit_metrics
from pilothouse.kit.world import World
from pilothouse.scheduler.cycle import Unschedulable, decide
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.plugins import registry
from pilothouse.scheduler.queue import SchedulingQueue, Waiting

log = logging.getLogger(__name__)

DEFAULT_NAME = "default-scheduler"
_IN_A_ROW = 32
"""Decisions between two turns of the event loop."""


class Scheduler:
    """Schedules the pods whose spec.schedulerName is `name`."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        world: World,
        *,
        recorder: EventRecorder,
        metrics: CollectorRegistry,
        name: str = DEFAULT_NAME,
    ) -> None:
        self._client = client
        self._world = world
        self._recorder = recorder
        self._name = name
        self._table = NodeTable()
        self._queue = SchedulingQueue(world)
        self._filters = registry.filters()
        self._scores = registry.scores()
        self._assumed: set[str] = set()
        self._binding: set[asyncio.Task[None]] = set()
        self._attempts = kit_metrics.counter(
            metrics,
            "scheduler_schedule_attempts",
            "Number of attempts to schedule pods, by the result.",
            ["result", "profile"],
        )
        self._pods = informers.informer(PODS)
        self._nodes = informers.informer(NODES)
        self._nodes.add_handler(_NodeHandler(self._table, self._queue))
        self._pods.add_handler(_PodHandler(self))

    async def run(self) -> None:
        """Until cancelled."""
        await self._nodes.synced()
        await self._pods.synced()
        try:
            while True:
                await self._queue.wait()
                self._schedule_some()
                await asyncio.sleep(0)
        finally:
            for task in self._binding:
                task.cancel()
            await asyncio.gather(*self._binding, return_exceptions=True)

    def _schedule_some(self) -> None:
        for _ in range(_IN_A_ROW):
            entry = self._queue.pop()
            if entry is None:
                return
            self._schedule(entry)

    def _schedule(self, entry: Waiting) -> None:
        pod, moves = entry.pod, self._queue.moves
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("nodeName"):
            self._queue.remove(pod["metadata"]["uid"])
            return
        try:
            node = decide(pod, self._table, self._filters, self._scores, self._world.random)
        except Unschedulable as reason:
            self._attempts.labels("unschedulable", self._name).inc()
            self._queue.put_back(entry, reason.rejected_by, moves)
            self._start(self._report(pod, str(reason)))
            return
        self._assume(pod, node)
        self._start(self._bind(entry, node, moves))

    def _start(self, work) -> None:  # type: ignore[no-untyped-def]
        task = asyncio.get_running_loop().create_task(work)
        self._binding.add(task)
        task.add_done_callback(self._binding.discard)

    def _assume(self, pod: Obj, node: str) -> None:
        self._assumed.add(pod["metadata"]["uid"])
        self._table.put_pod({**pod, "spec": {**pod["spec"], "nodeName": node}})

    async def _bind(self, entry: Waiting, node: str, moves: int) -> None:
        pod = entry.pod
        meta = pod["metadata"]
        body: Obj = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": {"kind": "Node", "name": node},
        }
        try:
            await self._client.create(PODS, body, meta["namespace"], name=meta["name"], subresource="binding")
        except (ApiError, ConnectionError) as error:
            self._unassume(meta["uid"])
            self._attempts.labels("error", self._name).inc()
            if isinstance(error, ApiError) and error.code == 404:
                self._queue.remove(meta["uid"])
                return
            log.info("binding %s to %s failed: %s", key_of(pod), node, error)
            self._queue.put_back(entry, set(), moves - 1)
            return
        self._attempts.labels("scheduled", self._name).inc()
        self._queue.remove(meta["uid"])
        message = f"Successfully assigned {key_of(pod)} to {node}"
        self._recorder.event(_regarding(pod), "Normal", "Scheduled", message, action="Binding")

    def _unassume(self, uid: str) -> None:
        if uid in self._assumed:
            self._assumed.discard(uid)
            self._table.remove_pod(uid)
            self._queue.move_all()

    async def _report(self, pod: Obj, message: str) -> None:
        """The event and the condition that tell why."""
        self._recorder.event(_regarding(pod), "Warning", "FailedScheduling", message, action="Scheduling")
        conditions = (pod.get("status") or {}).get("conditions") or ()
        present = next((c for c in conditions if c["type"] == "PodScheduled"), None)
        if present is not None and present["status"] == "False" and present.get("message") == message:
            return
        meta = pod["metadata"]
        condition: Obj = {
            "type": "PodScheduled",
            "status": "False",
            "observedGeneration": meta.get("generation", 0),
            "lastProbeTime": None,
            "lastTransitionTime": (present or {}).get("lastTransitionTime") or self._world.timestamp(),
            "reason": "Unschedulable",
            "message": message,
        }
        patch = {"metadata": {"uid": meta["uid"]}, "status": {"conditions": [condition]}}
        try:
            await self._client.patch(
                PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status"
            )
        except (ApiError, ConnectionError) as error:
            log.info("condition of %s not written: %s", key_of(pod), error)

    # -- what the informers say -------------------------------------------------------------------------

    def pod_seen(self, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        phase = (pod.get("status") or {}).get("phase")
        if phase in ("Succeeded", "Failed"):
            self.pod_gone(pod)
        elif pod["spec"].get("nodeName"):
            self._assumed.discard(uid)
            self._queue.remove(uid)
            self._table.put_pod(pod)
        elif pod["spec"].get("schedulerName") == self._name and uid not in self._assumed:
            if pod["spec"].get("schedulingGates") or pod["metadata"].get("deletionTimestamp"):
                self._queue.remove(uid)
            else:
                self._queue.update(pod)

    def pod_gone(self, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        self._queue.remove(uid)
        self._assumed.discard(uid)
        if self._table.has_pod(uid):
            self._table.remove_pod(uid)
            self._queue.move_all()


def _regarding(pod: Obj) -> Obj:
    return {**pod, "kind": "Pod", "apiVersion": "v1"}


class _PodHandler:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def on_add(self, obj: Obj) -> None:
        self._scheduler.pod_seen(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._scheduler.pod_seen(new)

    def on_delete(self, obj: Obj) -> None:
        self._scheduler.pod_gone(obj)


class _NodeHandler:
    def __init__(self, table: NodeTable, queue: SchedulingQueue) -> None:
        self._table = table
        self._queue = queue

    def on_add(self, obj: Obj) -> None:
        self._table.put_node(obj)
        self._queue.move_all()

    def on_update(self, old: Obj, new: Obj) -> None:
        self._table.put_node(new)
        if _matters(old, new):
            self._queue.move_all()

    def on_delete(self, obj: Obj) -> None:
        self._table.remove_node(obj["metadata"]["name"])


def _matters(old: Obj, new: Obj) -> bool:
    """Whether a node's update can let a pod in that did not fit."""
    a, b = old.get("status") or {}, new.get("status") or {}
    return (
        old.get("spec") != new.get("spec")
        or old["metadata"].get("labels") != new["metadata"].get("labels")
        or a.get("allocatable") != b.get("allocatable")
    )
