"""One resource in the store: create, read, replace, delete, list, watch, by name.

Reads come from the watch cache, which has seen every write of this process before the write is acknowledged.
Writes are compare-and-swap on the object's revision: `None` says that somebody was faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.storage import keys
from pilothouse.apiserver.storage.item import Item, encode
from pilothouse.apiserver.storage.leases import LeaseManager
from pilothouse.apiserver.storage.watch_cache import Change, Predicate, ResourceCache, WatchCache, Watcher
from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Compare,
    Delete,
    FutureRevision,
    Put,
    Range,
    StoreError,
    StoreUnavailable,
    Target,
    Txn,
    prefix_end,
)

OBJECT_BYTES_MAX = 1_572_864
"""etcd's --max-request-bytes."""
_FRESH_TIMEOUT_S = 3.0


Items = list[Item]


class Page(NamedTuple):
    """`next_start` is "" at the end; `remaining` is None when a selector makes it unknown."""

    items: list[Item]
    revision: int
    next_start: str = ""
    remaining: int | None = None


class ResourceStore:
    """`ttl_s` gives an object's seconds to live (events), None for ever."""

    def __init__(
        self,
        backend: Backend,
        cache: WatchCache,
        resource: Resource,
        *,
        custom: bool = False,
        leases: LeaseManager | None = None,
        ttl_s: Callable[[Obj], int | None] | None = None,
    ) -> None:
        self.resource = resource
        self.prefix = keys.prefix(resource, custom=custom)
        self._backend = backend
        self._cache = cache
        self._leases = leases
        self._ttl_s = ttl_s
        self.cached: ResourceCache = cache.resource(self.prefix.encode())

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if namespace else f"{self.prefix}{name}"

    def get(self, key: str) -> Item | None:
        return self.cached.get(key.encode())

    def unstored(self, key: str, obj: Obj, current: Item | None = None) -> Item:
        """An item as a dry run answers it."""
        revision = current.revision if current is not None else 0
        item = Item(key.encode(), revision, encode(obj), obj)
        if revision:
            obj["metadata"]["resourceVersion"] = str(revision)
        return item

    async def create(self, key: str, obj: Obj) -> Item:
        """409 AlreadyExists when the key is taken."""
        raw_key = key.encode()
        value = self._encode(obj)
        put = Put(raw_key, value, lease=await self._lease(obj))
        item = await self._write(raw_key, value, obj, Compare(raw_key, Target.MOD, "=", 0), put)
        if item is None:
            name = obj["metadata"]["name"]
            raise errors.already_exists(self.resource.group, self.resource.plural, name)
        return item

    async def replace(self, key: str, current: Item, obj: Obj) -> Item | None:
        """Store a new state in place of `current`; `current` itself when nothing changed; None on a conflict."""
        raw_key = key.encode()
        value = self._encode(obj)
        if value == current.value:
            return current
        put = Put(raw_key, value, lease=await self._lease(obj))
        compare = Compare(raw_key, Target.MOD, "=", current.revision)
        return await self._write(raw_key, value, obj, compare, put)

    async def _write(self, key: bytes, value: bytes, obj: Obj, compare: Compare, put: Put) -> Item | None:
        item = Item(key, 0, value, obj)
        self._cache.expect(key, item)
        try:
            result = await self._backend.txn(Txn((compare,), (put,)))
        except StoreUnavailable as error:
            raise errors.service_unavailable(f"{error}; free some space, then try again") from error
        except StoreError as error:
            raise errors.ApiError(500, "", str(error)) from error
        if not result.succeeded:
            return None
        revision = result.revision
        item.revision = revision
        obj["metadata"]["resourceVersion"] = str(revision)
        await self._seen(revision)
        return item

    async def delete(self, key: str, current: Item, *, last: Obj | None = None) -> Item | None:
        """Remove; the item as it was, at the revision of its deletion. None on a conflict. `last` is a newer
        state that was never stored, for the answer."""
        raw_key = key.encode()
        compare = Compare(raw_key, Target.MOD, "=", current.revision)
        try:
            result = await self._backend.txn(Txn((compare,), (Delete(raw_key),)))
        except StoreUnavailable as error:
            raise errors.service_unavailable(f"{error}; free some space, then try again") from error
        if not result.succeeded:
            return None
        await self._seen(result.revision)
        obj = {**(last or current.obj)}
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(result.revision)}
        return Item(raw_key, result.revision, encode(obj), obj)

    async def _seen(self, revision: int) -> None:
        if self._cache.revision < revision:
            await self._cache.wait(revision, _FRESH_TIMEOUT_S)

    def _encode(self, obj: Obj) -> bytes:
        value = encode(obj)
        if len(value) > OBJECT_BYTES_MAX:
            raise errors.ApiError(500, "", "etcdserver: request is too large")
        return value

    async def _lease(self, obj: Obj) -> int:
        if self._ttl_s is None or self._leases is None:
            return 0
        ttl_s = self._ttl_s(obj)
        return await self._leases.lease(ttl_s) if ttl_s else 0

    # -- lists and watches ------------------------------------------------------------------------------

    async def wait_revision(self, revision: int) -> None:
        """Until the cache is at least there; 504 when that revision is not in sight."""
        try:
            await self._cache.wait(revision, _FRESH_TIMEOUT_S)
        except TimeoutError:
            current = self._cache.revision
            raise errors.ApiError(
                504,
                "Timeout",
                f"Timeout: Too large resource version: {revision}, current: {current}",
                {
                    "causes": [
                        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
                    ],
                    "retryAfterSeconds": 1,
                },
            ) from None

    async def list(
        self,
        namespace: str = "",
        *,
        revision: int | None = None,
        limit: int = 0,
        start: str = "",
        predicate: Predicate | None = None,
    ) -> Page:
        """Objects in key order, at the newest revision or exactly at `revision`."""
        prefix = self._prefix(namespace)
        if revision is None or revision == self._cache.revision:
            found = self.cached.keys(prefix, prefix + start.encode() if start else b"")
            candidates = list(self.cached.items(found))
            served_at = self._cache.revision
        else:
            candidates = await self._range_at(prefix, start, revision)
            served_at = revision
        return _page(candidates, prefix, served_at, limit, predicate)

    def newest(self, namespace: str = "") -> Items:
        """Everything in a namespace ("": everywhere), as the cache has it now."""
        return list(self.cached.items(self.cached.keys(self._prefix(namespace))))

    async def _range_at(self, prefix: bytes, start: str, revision: int) -> Items:
        first = prefix + start.encode()
        try:
            found = await self._backend.range(Range(first, prefix_end(prefix), revision=revision))
        except Compacted:
            raise errors.gone(
                "The provided continue parameter is too old to display a consistent list result. You can start a "
                "new list without the continue parameter."
                if start
                else f"The resourceVersion for the provided list is too old: {revision}"
            ) from None
        except FutureRevision:
            raise errors.bad_request(f"resourceVersion {revision} is in the future") from None
        return [Item(kv.key, kv.mod_revision, kv.value) for kv in found.kvs]

    def _prefix(self, namespace: str) -> bytes:
        return f"{self.prefix}{namespace}/".encode() if namespace else self.prefix.encode()

    async def watch(
        self,
        namespace: str = "",
        revision: int | None = None,
        *,
        initial_events: bool = False,
        predicate: Predicate | None = None,
    ) -> Watcher:
        """Changes after `revision` (None: from now on). With `initial_events` the present objects come first,
        as ADDED, then a marked bookmark; `revision` is then how fresh they must be at least."""
        prefix = self._prefix(namespace)
        if revision is not None and revision > self._cache.revision:
            await self.wait_revision(revision)
        now = self._cache.revision
        watcher = self.cached.add_watcher(prefix, predicate, now)
        if initial_events:
            items = self.cached.items(self.cached.keys(prefix))
            watcher.push([Change("ADDED", i, i.revision) for i in items if predicate is None or predicate(i)])
            watcher.push([Change.bookmark(now, initial_end=True)])
        elif revision is not None and revision < now:
            try:
                past = await self._cache.backlog(prefix, predicate, revision, now)
            except errors.ApiError as error:
                watcher.fail(error)
            else:
                watcher.prepend(past)
        return watcher


def _page(
    candidates: list[Item], prefix: bytes, revision: int, limit: int, predicate: Predicate | None
) -> Page:
    if not limit:
        items = candidates if predicate is None else [i for i in candidates if predicate(i)]
        return Page(items, revision)
    items = []
    for index, item in enumerate(candidates):
        if predicate is None or predicate(item):
            items.append(item)
        if len(items) == limit and index + 1 < len(candidates):
            start = (item.key[len(prefix) :] + b"\0").decode()
            remaining = len(candidates) - index - 1 if predicate is None else None
            return Page(items, revision, start, remaining)
    return Page(items, revision)
