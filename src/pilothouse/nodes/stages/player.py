"""Stages over the objects of one kind: choose one, wait, write, look again.

    changed ──▶ a stage is chosen ──▶ its delay ──▶ its steps ──▶ (the write changes it)
                     └─ none: nothing, until it changes

A change while it waits chooses anew, and the wait begins again (kwok's delay jobs). An object that a stage selected
once stays with the stages until it is gone, also when none selects it just now; that it is theirs shows in
its managed fields after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pilothouse.api.errors import ApiError
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.events import EventRecorder, reference
from pilothouse.client.informer import Informer, key_of
from pilothouse.kit.work_queue import RateLimitedQueue, work
from pilothouse.kit.world import World
from pilothouse.nodes.stages.queries import Subject
from pilothouse.nodes.stages.stage import Event, Stage, Step, choose
from pilothouse.nodes.stages.templates import TemplateError

log = logging.getLogger(__name__)

MANAGER = "pilothouse-stages"
"""The field manager of what stages write."""
_WORKERS = 16
_LEFT_S = 0.0005
"""A timer may fire that much early."""


@dataclass(slots=True)
class _Waiting:
    """What comes next for an object at a revision; `stage` None: nothing before it changes."""

    revision: int
    stage: Stage | None = None
    due_s: float = 0.0


class Player:
    """`admits` says which objects are ours to play with at all (pods of simulated nodes that are up)."""

    def __init__(
        self,
        client: Client,
        informer: Informer,
        stages: Sequence[Stage],
        world: World,
        recorder: EventRecorder,
        admits: Callable[[Obj], bool],
    ) -> None:
        self._client = client
        self._informer = informer
        self._resource = informer.resource
        self._stages = tuple(stages)
        self._world = world
        self._recorder = recorder
        self._admits = admits
        self._queue: RateLimitedQueue[str] = RateLimitedQueue(f"stages of {informer.resource.plural}", world)
        self._waiting: dict[str, _Waiting] = {}
        self._owned: set[str] = set()
        informer.add_handler(self)

    @property
    def kind(self) -> str:
        return self._resource.kind

    # -- whose it is ------------------------------------------------------------------------------------

    def owns(self, obj: Obj) -> bool:
        """Whether stages drive this object: one selects it, or did before. One that is told to end and that no
        stage selects is not theirs: somebody has to end it."""
        meta = obj["metadata"]
        uid = meta.get("uid", "")
        ending = meta.get("deletionTimestamp") is not None
        if not ending and (uid in self._owned or _is_marked(meta)):
            return True
        subject = Subject(obj)
        if not any(stage.selects(subject) for stage in self._stages):
            return False
        if uid:
            self._owned.add(uid)
        return True

    # -- handler ----------------------------------------------------------------------------------------

    def on_add(self, obj: Obj) -> None:
        self.look_at(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self.look_at(new)

    def on_delete(self, obj: Obj) -> None:
        uid = obj["metadata"]["uid"]
        self._waiting.pop(uid, None)
        self._owned.discard(uid)

    def look_at(self, obj: Obj) -> None:
        if self._admits(obj):
            self._queue.add(key_of(obj))

    # -- work -------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        name = f"stages of {self._resource.plural}"
        await work(self._queue, self._handle, workers=_WORKERS, name=name)

    async def _handle(self, key: str) -> None:
        try:
            again_s = await self._sync(key)
        except (ApiError, ConnectionError, TemplateError) as error:
            log.warning("%s %s: %s; trying again", self._resource.kind, key, error)
            self._queue.add_rate_limited(key)
        else:
            self._queue.forget(key)
            if again_s is not None:
                self._queue.add_after(key, again_s)

    async def _sync(self, key: str) -> float | None:
        """Seconds until the next stage is due; None: not before the object changes."""
        obj = self._informer.get(key)
        if obj is None or not self._admits(obj):
            return None
        uid, revision = obj["metadata"]["uid"], int(obj["metadata"]["resourceVersion"])
        waiting = self._waiting.get(uid)
        if waiting is not None and waiting.revision > revision:
            # The informer has not seen our last write; it will bring it.
            return None
        if waiting is None or waiting.revision < revision:
            waiting = self._next(obj)
        while waiting.stage is not None:
            left_s = waiting.due_s - self._world.clock.monotonic()
            if left_s > _LEFT_S:
                return left_s
            answer = await self._play(obj, waiting.stage)
            # Not before it went well: a failure plays the same stage again.
            self._waiting[uid] = _Waiting(waiting.revision)
            if answer is None or not waiting.stage.immediate:
                return None
            obj = answer
            waiting = self._next(obj)
        return None

    def _next(self, obj: Obj) -> _Waiting:
        meta = obj["metadata"]
        subject = Subject(obj)
        stage = choose(self._stages, subject, self._world.random)
        waiting = _Waiting(int(meta["resourceVersion"]), stage)
        if stage is not None:
            self._owned.add(meta["uid"])
            delay_s = stage.delay.seconds(subject, self._world.now(), self._world.random)
            waiting.due_s = self._world.clock.monotonic() + delay_s
        self._waiting[meta["uid"]] = waiting
        return waiting

    # -- what a stage does --------------------------------------------------------------------------------

    async def _play(self, obj: Obj, stage: Stage) -> Obj | None:
        """The object after the last write; None when nothing was written, or it is gone."""
        answer: Obj | None = None
        deleted = False
        for step in stage.steps:
            if step.event is not None:
                self._tell(obj, step.event)
            if deleted:
                continue
            try:
                answer = await self._write(obj, step) or answer
                deleted = step.delete
            except TemplateError as error:
                raise TemplateError(f"stage {stage.name}: {error}") from None
            except ApiError as error:
                if error.code != 404:
                    raise
                return None
        return None if deleted else answer

    def _tell(self, obj: Obj, event: Event) -> None:
        regarding = reference(obj, self._resource.group_version, self._resource.kind)
        host = (obj.get("spec") or {}).get("nodeName", "")
        self._recorder.event(regarding, event.type, event.reason, event.message, host=host)

    async def _write(self, obj: Obj, step: Step) -> Obj | None:
        meta = obj["metadata"]
        name, namespace = meta["name"], meta.get("namespace", "")
        answer: Obj | None = None
        if step.finalizers is not None:
            operations = step.finalizers.operations(meta.get("finalizers") or ())
            if operations:
                answer = await self._client.patch(
                    self._resource, name, operations, namespace, patch_type="json", fieldManager=MANAGER
                )
        if step.delete:
            options: Obj = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            await self._client.delete(self._resource, name, namespace, options)
        elif step.patch is not None:
            answer = await self._client.patch(
                self._resource,
                name,
                step.patch.body(step.patch.template.render(obj)),
                namespace,
                patch_type=step.patch.type,
                subresource=step.patch.subresource,
                fieldManager=MANAGER,
            )
        return answer


def _is_marked(meta: Obj) -> bool:
    return any(entry.get("manager") == MANAGER for entry in meta.get("managedFields") or ())
