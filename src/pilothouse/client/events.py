"""The event recorder: what components tell people about an object (client-go tools/record and tools/events).

Recording never waits and never fails its caller: events go to a bounded queue, a loop writes them. Repeats of
one event within ten minutes raise its count instead of making a new one; more than ten similar ones become
one "(combined from similar events)"; a source that floods about one object is cut to a bucket of 25 with one
more every five minutes (EventCorrelator's defaults).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import EVENTS
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_QUEUE_MAX = 1000
_CACHE_MAX = 4096
_AGGREGATE_AFTER = 10
_AGGREGATE_WINDOW_S = 600.0
_SPAM_BURST = 25
_SPAM_REFILL_PER_S = 1 / 300


def reference(obj: Obj, api_version: str = "", kind: str = "") -> Obj:
    """The ObjectReference of an object; give kind and version for items of typed lists, which carry none."""
    meta = obj["metadata"]
    ref: Obj = {
        "kind": obj.get("kind", kind),
        "namespace": meta.get("namespace", ""),
        "name": meta.get("name", ""),
        "uid": meta.get("uid", ""),
        "apiVersion": obj.get("apiVersion", api_version),
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    return {k: v for k, v in ref.items() if v}


class _Note(NamedTuple):
    regarding: Obj
    type: str
    reason: str
    message: str
    action: str
    related: Obj | None
    host: str = ""
    component: str = ""


@dataclass(slots=True)
class _Written:
    """An event that exists: its name, and how often it was seen."""

    name: str
    namespace: str
    count: int
    first: str


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last_s: float = 0.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    last_s: float


class EventRecorder:
    """One component's recorder (source component and reportingController `component`). With `modern` it fills
    the fields of events.k8s.io (action, eventTime, reportingInstance), as kube-scheduler does."""

    def __init__(
        self, client: Client, component: str, world: World, *, host: str = "", modern: bool = False
    ) -> None:
        self._client = client
        self._component = component
        self._world = world
        self._host = host
        self._modern = modern
        self._queue: asyncio.Queue[_Note] = asyncio.Queue(_QUEUE_MAX)
        self._written: OrderedDict[tuple[str, ...], _Written] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, ...], _Bucket] = OrderedDict()
        self.dropped_total = 0

    def event(
        self,
        regarding: Obj,
        type: str,
        reason: str,
        message: str,
        *,
        action: str = "",
        related: Obj | None = None,
        host: str = "",
        component: str = "",
    ) -> None:
        """Record; `regarding` is an object or an ObjectReference, `type` Normal or Warning. `host` and `component`
        replace the recorder's own."""
        ref = reference(regarding) if "metadata" in regarding else regarding
        try:
            self._queue.put_nowait(
                _Note(
                    ref,
                    type,
                    reason,
                    message,
                    action,
                    related,
                    host or self._host,
                    component or self._component,
                )
            )
        except asyncio.QueueFull:
            self.dropped_total += 1

    async def run(self) -> None:
        """Write events until cancelled."""
        while True:
            note = await self._queue.get()
            try:
                await self._write(note)
            except ApiError as error:
                log.info("event %s on %s not written: %s", note.reason, note.regarding.get("name"), error)
            except ConnectionError as error:
                log.warning("event %s on %s lost: %s", note.reason, note.regarding.get("name"), error)

    async def drain(self) -> None:
        """Write what waits now."""
        while not self._queue.empty():
            await self._write(self._queue.get_nowait())

    async def _write(self, note: _Note) -> None:
        now = self._world.now()
        if not self._spam_allows(note, now):
            self.dropped_total += 1
            return
        message, key = self._correlate(note, now)
        known = self._written.get(key)
        if known is not None and await self._raise_count(known, message):
            self._written.move_to_end(key)
            return
        event = self._event(note, message, now)
        await self._client.create(EVENTS, event, event["metadata"]["namespace"])
        self._written[key] = _Written(
            event["metadata"]["name"], event["metadata"]["namespace"], 1, event.get("firstTimestamp", "")
        )
        if len(self._written) > _CACHE_MAX:
            self._written.popitem(last=False)

    async def _raise_count(self, known: _Written, message: str) -> bool:
        """False when the event has expired meanwhile."""
        known.count += 1
        patch: dict[str, Any] = {
            "count": known.count,
            "lastTimestamp": self._world.timestamp(),
            "message": message,
        }
        try:
            await self._client.patch(EVENTS, known.name, patch, known.namespace, patch_type="strategic")
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _correlate(self, note: _Note, now: float) -> tuple[str, tuple[str, ...]]:
        ref = note.regarding
        group = (
            note.component,
            ref.get("kind", ""),
            ref.get("namespace", ""),
            ref.get("name", ""),
            ref.get("uid", ""),
            note.type,
            note.reason,
        )
        similar = self._similar.get(group)
        if similar is None or now - similar.last_s > _AGGREGATE_WINDOW_S:
            similar = self._similar[group] = _Similar()
            if len(self._similar) > _CACHE_MAX:
                self._similar.popitem(last=False)
        similar.last_s = now
        similar.messages.add(note.message)
        if len(similar.messages) < _AGGREGATE_AFTER:
            return note.message, (*group, note.message)
        similar.messages.discard(next(iter(similar.messages)))
        return f"(combined from similar events): {note.message}", group

    def _spam_allows(self, note: _Note, now: float) -> bool:
        ref = note.regarding
        key = (ref.get("kind", ""), ref.get("namespace", ""), ref.get("name", ""), ref.get("uid", ""))
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(_SPAM_BURST, now)
            if len(self._buckets) > _CACHE_MAX:
                self._buckets.popitem(last=False)
        bucket.tokens = min(_SPAM_BURST, bucket.tokens + (now - bucket.last_s) * _SPAM_REFILL_PER_S)
        bucket.last_s = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _event(self, note: _Note, message: str, now: float) -> Obj:
        ref = note.regarding
        namespace = ref.get("namespace") or "default"
        name = f"{ref.get('name', '')}.{int(now * 1e9) + self._world.random.getrandbits(9):x}"
        event: Obj = {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": ref,
            "reason": note.reason,
            "message": message,
            "type": note.type,
        }
        if self._modern:
            event["eventTime"] = self._world.micro_timestamp()
            event["reportingComponent"] = note.component
            event["reportingInstance"] = self._host or note.component
            event["action"] = note.action or note.reason
            if note.related:
                event["related"] = note.related
            return event
        event["source"] = {"component": note.component}
        if note.host:
            event["source"]["host"] = note.host
        event["firstTimestamp"] = event["lastTimestamp"] = self._world.timestamp()
        event["count"] = 1
        event["reportingComponent"] = note.component
        if note.host:
            event["reportingInstance"] = note.host
        return event
