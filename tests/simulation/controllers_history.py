"""All that ever was in the store, by revision: the material of the verdict.

Read from a watch of the store itself, beside the API server and its caches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from pilothouse.api.types import Obj
from pilothouse.etcd.contract import Backend, EventType

_decode = msgspec.json.Decoder().decode
_PREFIX = b"/registry/"
_UNSEEN = (
    "events",
    "leases",
    "masterleases",
    "clusterroles",
    "clusterrolebindings",
    "roles",
    "rolebindings",
    "prioritylevelconfigurations",
    "flowschemas",
    "apiregistration.k8s.io",
    "priorityclasses",
)


class Change(NamedTuple):
    """`obj` None: it is gone, `last` is what it was. `kind` is the resource's name in the key (pods, jobs, …)."""

    revision: int
    time_s: float
    kind: str
    key: str
    obj: Obj | None
    last: Obj | None

    @property
    def uid(self) -> str:
        return str((self.obj or self.last or {})["metadata"]["uid"])


class History:
    """Follows the store until stopped; then complete."""

    def __init__(self, store: Backend) -> None:
        self.changes: list[Change] = []
        self.writes: list[tuple[float, str]] = []
        """Every write at all, with its key: also of what is not kept."""
        self._store = store
        self._watch = store.watch(_PREFIX, b"/registry0", 1)
        self._live: dict[str, Obj] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._follow())

    async def stop(self) -> None:
        """Everything up to now is in."""
        while self._watch.progress_revision < self._store.revision:
            self._watch.request_progress()
            await asyncio.sleep(0.01)
        self._watch.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for event in await self._watch.next():
                key = event.kv.key.decode()[len(_PREFIX) :]
                self.writes.append((loop.time(), key))
                kind = kind_of(key)
                if kind in _UNSEEN:
                    continue
                last = self._live.get(key)
                if event.type is EventType.DELETE:
                    self._live.pop(key, None)
                    if last is not None:
                        self._add(event.kv.mod_revision, loop.time(), kind, key, None, last)
                    continue
                obj: Obj = _decode(event.kv.value)
                self._live[key] = obj
                self._add(event.kv.mod_revision, loop.time(), kind, key, obj, last)

    def _add(self, *fields: Any) -> None:
        self.changes.append(Change(*fields))

    # -- what there is ----------------------------------------------------------------------------------

    def now(self, kind: str) -> list[Obj]:
        """Objects of a kind that exist at the end."""
        return [obj for key, obj in self._live.items() if kind_of(key) == kind]

    def all_now(self) -> Iterator[tuple[str, Obj]]:
        yield from self._live.items()

    def of(self, kind: str) -> list[Change]:
        return [change for change in self.changes if change.kind == kind]


def kind_of(key: str) -> str:
    """The resource's name in a key: pods, minions, controllers, …; specs and endpoints for those of services."""
    first, second, *_ = key.split("/")
    return second if first == "services" else first


def owner_refs(obj: Obj) -> list[Obj]:
    return obj["metadata"].get("ownerReferences") or []


def controller(obj: Obj) -> Obj | None:
    return next((ref for ref in owner_refs(obj) if ref.get("controller")), None)


def name_of(obj: Obj) -> str:
    meta = obj["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"
