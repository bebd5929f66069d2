"""Informers: a local, always current copy of a resource (client-go tools/cache).

A list, then a watch from its revision, and again from the start when history is lost. Handlers are called
synchronously and in event order; they only note what changed (a key into a work queue) and never wait.

    stopped ──run──▶ listing ──▶ watching ──stream ends──▶ watching (from the last revision)
                        ▲            │
                        └──410 Gone──┘          any other failure: back-off, then where it was

Objects are shared by everyone who reads them: never change one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client, WatchEvent
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

_BACKOFF_S_MIN = 0.8
_BACKOFF_S_MAX = 30.0


class Handler(Protocol):
    """What wants to hear of changes. `final` state of a deletion that was missed is the last one seen."""

    def on_add(self, obj: Obj) -> None: ...

    def on_update(self, old: Obj, new: Obj) -> None: ...

    def on_delete(self, obj: Obj) -> None: ...


Objects = list[Obj]
IndexFunction = Callable[[Obj], Iterable[str]]


def key_of(obj: Obj) -> str:
    """NAMESPACE/NAME, or NAME for cluster-scoped objects (MetaNamespaceKeyFunc)."""
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name) of a key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


class Informer:
    """One resource's copy. `params` narrow the list and watch (fieldSelector, labelSelector)."""

    def __init__(self, client: Client, resource: Resource, world: World, **params: str) -> None:
        self.resource = resource
        self._client = client
        self._world = world
        self._params = params
        self._objects: dict[str, Obj] = {}
        self._handlers: list[Handler] = []
        self._indexes: dict[str, tuple[IndexFunction, dict[str, dict[str, Obj]]]] = {}
        self._synced = asyncio.Event()
        self.last_revision = ""
        self.events_total = 0

    def add_handler(self, handler: Handler) -> None:
        """Also told of everything that is already here."""
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler.on_add(obj)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Maintain a lookup from each value that `function` gives for an object to the object. Adding the same
        name again changes nothing."""
        if name in self._indexes:
            return
        table: dict[str, dict[str, Obj]] = {}
        self._indexes[name] = (function, table)
        for key, obj in self._objects.items():
            for value in function(obj):
                table.setdefault(value, {})[key] = obj

    def get(self, key: str) -> Obj | None:
        return self._objects.get(key)

    def list(self) -> Iterable[Obj]:
        return self._objects.values()

    def keys(self) -> Iterable[str]:
        return self._objects.keys()

    def __len__(self) -> int:
        return len(self._objects)

    def by_index(self, name: str, value: str) -> Objects:
        return list(self._indexes[name][1].get(value, {}).values())

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    async def synced(self) -> None:
        """Wait for the first list to be in."""
        await self._synced.wait()

    async def run(self) -> None:
        """Follow the resource until cancelled."""
        delay = _BACKOFF_S_MIN
        while True:
            try:
                if not self.last_revision:
                    await self._relist()
                await self._follow()
                delay = _BACKOFF_S_MIN
            except ApiError as error:
                # A server that has another history (made anew, or restored) knows no revision of ours.
                self.last_revision = ""
                if error.code == 410:
                    continue
                if error.code == 404:
                    self._synced.set()  # a resource that is not served has no objects: nobody waits for them
                await self._failed(error, delay)
            except ConnectionError as error:
                await self._failed(error, delay)
            else:
                continue
            delay = min(delay * 2, _BACKOFF_S_MAX)

    async def _failed(self, error: Exception, delay: float) -> None:
        log.warning("watch of %s failed: %s; trying again", self.resource.plural, error)
        await self._world.clock.sleep(delay * (1 + self._world.random.random()))

    async def _relist(self) -> None:
        answer = await self._client.list(self.resource, **{"resourceVersion": "0", **self._params})
        fresh: dict[str, Obj] = {}
        for item in answer.get("items") or ():
            fresh[key_of(item)] = item
        for key, old in [(k, o) for k, o in self._objects.items() if k not in fresh]:
            self._delete(key, old)
        for key, new in fresh.items():
            self._put(key, new)
        self.last_revision = answer["metadata"]["resourceVersion"]
        self._synced.set()

    async def _follow(self) -> None:
        params = {"allowWatchBookmarks": "true", "resourceVersion": self.last_revision, **self._params}
        async for batch in self._client.watch(self.resource, **params):
            for event in batch:
                self._apply(event)

    def _apply(self, event: WatchEvent) -> None:
        obj = event.object
        self.last_revision = obj["metadata"]["resourceVersion"]
        if event.type == "BOOKMARK":
            return
        self.events_total += 1
        key = key_of(obj)
        if event.type == "DELETED":
            if key in self._objects:
                self._delete(key, obj)
        else:
            self._put(key, obj)

    def _put(self, key: str, new: Obj) -> None:
        old = self._objects.get(key)
        if old is not None and old["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]:
            return
        self._objects[key] = new
        if self._indexes:
            self._unindex(key, old)
            for function, table in self._indexes.values():
                for value in function(new):
                    table.setdefault(value, {})[key] = new
        if old is None:
            for handler in self._handlers:
                handler.on_add(new)
        elif old["metadata"].get("uid") != new["metadata"].get("uid"):
            for handler in self._handlers:
                handler.on_delete(old)
                handler.on_add(new)
        else:
            for handler in self._handlers:
                handler.on_update(old, new)

    def _delete(self, key: str, final: Obj) -> None:
        old = self._objects.pop(key)
        self._unindex(key, old)
        for handler in self._handlers:
            handler.on_delete(final)

    def _unindex(self, key: str, old: Obj | None) -> None:
        if old is None:
            return
        for function, table in self._indexes.values():
            for value in function(old):
                entries = table.get(value)
                if entries is not None:
                    entries.pop(key, None)
                    if not entries:
                        del table[value]


class Informers:
    """Shared informers: one per resource and selection, started on demand."""

    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world
        self._informers: dict[tuple[Resource, tuple[tuple[str, str], ...]], Informer] = {}
        self._tasks: dict[Informer, asyncio.Task[None]] = {}
        self._running = False

    def informer(self, resource: Resource, **params: str) -> Informer:
        """The shared informer; runs at once if the others do."""
        key = (resource, tuple(sorted(params.items())))
        found = self._informers.get(key)
        if found is None:
            found = self._informers[key] = Informer(self._client, resource, self._world, **params)
            if self._running:
                self._start(found)
        return found

    def start(self) -> None:
        self._running = True
        for informer in self._informers.values():
            self._start(informer)

    async def synced(self) -> None:
        """Wait until every informer known now has its first list."""
        await asyncio.gather(*(i.synced() for i in list(self._informers.values())))

    @property
    def resources(self) -> list[Resource]:
        """What is followed."""
        return list(dict.fromkeys(informer.resource for informer in self._informers.values()))

    @property
    def running(self) -> bool:
        return self._running

    @property
    def waiting(self) -> list[str]:
        """The resources whose first list is not there yet; none while nothing runs."""
        return [i.resource.plural for i in self._informers.values() if self._running and not i.has_synced]

    def forget(self, informer: Informer) -> None:
        """Stop and drop one (a custom resource that is gone)."""
        task = self._tasks.pop(informer, None)
        if task is not None:
            task.cancel()
        self._informers = {k: v for k, v in self._informers.items() if v is not informer}

    async def stop(self) -> None:
        self._running = False
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, informer: Informer) -> None:
        if informer not in self._tasks:
            name = f"informer {informer.resource.plural}"
            self._tasks[informer] = asyncio.get_running_loop().create_task(informer.run(), name=name)
