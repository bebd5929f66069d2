"""One resource in the store: create, read, replace, delete, list, watch, by name.

Reads come from the watch cache, which has seen every write of this process before the write is acknowledged, and
after `fresh` every write of others (see `freshness`).
Writes are compare-and-swap on the object's revision: `None` says that somebody was faster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.schema import nesting
from pilothouse.api.types import Obj
from pilothouse.apiserver.storage import keys
from pilothouse.apiserver.storage.item import Item, encode
from pilothouse.apiserver.storage.leases import LeaseManager
from pilothouse.apiserver.storage.requests import StoreRequests
from pilothouse.apiserver.storage.watch_cache import Change, Predicate, ResourceCache, WatchCache, Watcher
from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Compare,
    Delete,
    NoSpace,
    OutcomeUnknown,
    Put,
    Range,
    RangeResult,
    StoreError,
    StoreUnavailable,
    Target,
    Txn,
    TxnResult,
    prefix_end,
)
from pilothouse.kit.world import World

T = TypeVar("T")

OBJECT_BYTES_MAX = 1_572_864
"""etcd's --max-request-bytes."""
_FRESH_TIMEOUT_S = 3.0
_LAST_WORD_S = 1.0
"""How long who is cancelled waits for what became of his write on a shared store."""


Items = list[Item]


class Page(NamedTuple):
    """`next_start` is "" at the end; `remaining` is None when a selector makes it unknown."""

    items: list[Item]
    revision: int
    next_start: str = ""
    remaining: int | None = None


class ContinueExpired(errors.ApiError):
    """The revision that a list goes on at was compacted; the list may go on at the newest, from `start`
    (k8s.io/apiserver/pkg/storage/etcd3 handleCompactedErrorForPaging). Whoever knows tokens sets `token`."""

    def __init__(self, start: str) -> None:
        super().__init__(
            410,
            "Expired",
            "The provided continue parameter is too old to display a consistent list result. You can start a new "
            "list without the continue parameter, or use the continue token in this response to retrieve the "
            "remainder of the results. Continuing with the provided token results in an inconsistent list - "
            "objects that were created, modified, or deleted between the time the first chunk was returned and "
            "now may show up in the list.",
        )
        self.start = start
        self.token = ""

    def status(self) -> Obj:
        return {**super().status(), "metadata": {"continue": self.token}}


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
        requests: StoreRequests | None = None,
        world: World | None = None,
    ) -> None:
        self.resource = resource
        self.prefix = keys.prefix(resource, custom=custom, root=cache.root)
        self._backend = backend
        self._cache = cache
        self._leases = leases
        self._ttl_s = ttl_s
        self._requests = requests
        self._clock = (world or World()).clock
        self.cached: ResourceCache = cache.resource(self.prefix.encode())
        if not custom:
            self.cached.holds(resource)

    def key(self, namespace: str, name: str) -> str:
        return f"{self.prefix}{namespace}/{name}" if namespace else f"{self.prefix}{name}"

    def get(self, key: str) -> Item | None:
        """As the cache has it."""
        return self.cached.get(key.encode())

    @property
    def is_fresh(self) -> bool:
        """Whether `fresh` has nothing to do: asked first where every microsecond counts."""
        return self._cache.is_fresh

    async def fresh(self) -> None:
        """Until the cache has all that the store has now: what a read without a resourceVersion promises."""
        if self._cache.is_fresh:
            return
        try:
            await self._cache.fresh(_FRESH_TIMEOUT_S)
        except StoreError as error:
            raise failure(error) from error
        except TimeoutError:
            raise errors.ApiError(
                504, "Timeout", "Timeout: the watch cache is behind the store and does not catch up"
            ) from None

    async def has_news(self) -> bool:
        """Whether the store has more than the cache had: what was decided on that must be thought over. The cache has
        it when this returns."""
        before = self._cache.revision
        if not self._backend.shared:
            return False
        await self.fresh()
        return self._cache.revision > before

    async def is_outdated(self, key: str, item: Item | None) -> bool:
        """Whether what was read of a key is not the newest any more, so that a refusal because of it must be thought
        over (GuaranteedUpdate of k8s.io/apiserver/pkg/storage/etcd3 reads again, too)."""
        if not self._backend.shared:
            return False
        await self.fresh()
        return self.get(key) is not item

    def unstored(self, key: str, obj: Obj, current: Item | None = None) -> Item:
        """An item as a dry run answers it."""
        revision = current.revision if current is not None else 0
        item = Item(key.encode(), revision, encode(obj), obj)
        if revision:
            obj["metadata"]["resourceVersion"] = str(revision)
        return item

    async def create(self, key: str, obj: Obj) -> Item:
        """Store a new object, which then belongs to the store. 409 AlreadyExists when the key is taken."""
        raw_key = key.encode()
        item = await self._write(raw_key, obj, self._encode(obj), 0)
        if item is None:
            name = obj["metadata"]["name"]
            raise errors.already_exists(self.resource.group, self.resource.plural, name)
        return item

    async def replace(self, key: str, current: Item, obj: Obj) -> Item | None:
        """Store a new state in place of `current`; `current` itself, and no write, when nothing changed; None on
        a conflict, after which `get` has what came between."""
        value = self._encode(obj)
        if current.holds(value):
            return current
        return await self._write(key.encode(), obj, value, current.revision)

    async def _write(self, key: bytes, obj: Obj, value: bytes, expected_revision: int) -> Item | None:
        item = Item(key, 0, value, obj)
        try:
            put = Put(key, value, lease=await self._lease(obj))
            self._cache.expect(item)
            result = await self._txn(key, expected_revision, put)
        except BaseException:
            self._cache.unexpect(item)
            raise
        if not result.succeeded:
            self._cache.unexpect(item)
            return None
        if item.revision != result.revision:
            item.stored_at(result.revision)
        return item

    async def holds(self, key: str, obj: Obj) -> bool | None:
        """Whether this very object was stored: for a writer who was cancelled while he waited for the outcome. None
        when the store does not say."""
        try:
            await self.fresh()
        except errors.ApiError:
            return None
        item = self.get(key)
        return item is not None and item.value == encode(obj)

    async def delete(self, key: str, current: Item, *, last: Obj | None = None) -> Item | None:
        """Remove; the item as it was, at the revision of its deletion. None on a conflict. `last` is a newer
        state that was never stored, for the answer."""
        raw_key = key.encode()
        result = await self._txn(raw_key, current.revision, Delete(raw_key))
        if not result.succeeded:
            return None
        obj = {**(last or current.obj)}
        obj["metadata"] = {**obj["metadata"], "resourceVersion": str(result.revision)}
        value = current.value if last is None else encode(obj)
        return Item(raw_key, result.revision, value, obj)

    async def _txn(self, key: bytes, expected_revision: int, op: Put | Delete) -> TxnResult:
        """Compare and swap. When it returns the cache knows the outcome, or what was in the way."""
        compare = Compare(key, Target.MOD, "=", expected_revision)
        operation = "delete" if isinstance(op, Delete) else "update" if expected_revision else "create"
        request = self._backend.txn(Txn((compare,), (op,), (Range(key),)))
        result = await self._ask(operation, _to_the_end(request) if self._backend.shared else request)
        revision = result.revision if result.succeeded else _in_the_way(result)
        if self._cache.revision < revision:
            await self._seen(revision, result.succeeded)
        return result

    async def _ask(self, operation: str, request: Awaitable[T]) -> T:
        """A request to the store, counted where it goes over a wire."""
        if self._requests is None:
            try:
                return await request
            except StoreError as error:
                raise failure(error) from error
        began, failed = self._clock.monotonic(), True
        try:
            result = await request
            failed = False
            return result
        except StoreError as error:
            raise failure(error) from error
        finally:
            r, seconds = self.resource, self._clock.monotonic() - began
            self._requests.count(operation, r.group, r.plural, seconds, failed=failed)

    async def _seen(self, revision: int, written: bool) -> None:
        try:
            await self._cache.wait(revision, _FRESH_TIMEOUT_S)
        except TimeoutError:
            if written:
                # As good as upstream's writes, which do not wait for the cache at all.
                self._cache.complain(revision)
                return
            raise errors.ApiError(
                504,
                "Timeout",
                "Timeout: another write came between, which the watch cache did not see in time",
            ) from None

    def _encode(self, obj: Obj) -> bytes:
        value = encode(obj)
        if len(value) > OBJECT_BYTES_MAX:
            raise errors.ApiError(500, "", "etcdserver: request is too large")
        if nesting.may_exceed(value) and (why := nesting.exceeded(obj, nesting.STORED_MAX)):
            raise errors.bad_request(f"the object cannot be stored: {why}")
        return value

    async def _lease(self, obj: Obj) -> int:
        if self._ttl_s is None or self._leases is None:
            return 0
        ttl_s = self._ttl_s(obj)
        if not ttl_s:
            return 0
        try:
            return await self._leases.lease(ttl_s)
        except StoreError as error:
            raise failure(error) from error

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
        if revision is None or self.cached.changed <= revision <= self._cache.revision:
            served_at = self._cache.revision if revision is None else revision
            return self._cached_page(prefix, start, served_at, limit, predicate)
        return await self._past_page(prefix, start, revision, limit, predicate)

    def _cached_page(
        self, prefix: bytes, start: str, revision: int, limit: int, predicate: Predicate | None
    ) -> Page:
        found = self.cached.keys(prefix, prefix + start.encode() if start else b"")
        if predicate is None and 0 < limit < len(found):
            items = list(self.cached.items(found[:limit]))
            return Page(items, revision, _after(items[-1], prefix), len(found) - limit)
        return _page(list(self.cached.items(found)), prefix, revision, limit, predicate)

    async def _past_page(
        self, prefix: bytes, start: str, revision: int, limit: int, predicate: Predicate | None
    ) -> Page:
        first = prefix + start.encode()
        asked = limit if predicate is None else 0
        past = Range(first, prefix_end(prefix), asked, revision)
        try:
            found = await self._backend.range(past)
        except Compacted:
            if start:
                raise ContinueExpired(start) from None
            raise errors.gone("The resourceVersion for the provided list is too old.") from None
        except StoreError as error:
            raise failure(error) from error
        items = [self._cache.item(kv.key, kv.mod_revision, kv.value) for kv in found.kvs]
        if found.more:
            return Page(items, revision, _after(items[-1], prefix), found.count - limit)
        return _page(items, prefix, revision, limit, predicate)

    def newest(self, namespace: str = "") -> Items:
        """Everything in a namespace ("": everywhere), as the cache has it now."""
        return list(self.cached.items(self.cached.keys(self._prefix(namespace))))

    async def newest_of_all(self) -> Items:
        """Everything that the store has now."""
        await self.fresh()
        return self.newest()

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
        """Changes after `revision` (None: from now on; 0: from what the cache has), which may be still to come. With
        `initial_events` the present objects come first, as ADDED, then a marked bookmark; `revision` is then how
        fresh they must be at least (None: as fresh as the store).
        What goes wrong from here on is told in the stream, as upstream's cacher does."""
        prefix = self._prefix(namespace)
        try:
            if revision is None:
                await self.fresh()
            elif initial_events:
                await self.wait_revision(revision)
        except errors.ApiError as error:
            watcher = self.cached.add_watcher(prefix, predicate)
            watcher.fail(error)
            return watcher
        now = self._cache.revision
        watcher = self.cached.add_watcher(prefix, predicate)
        if initial_events:
            items = self.cached.items(self.cached.keys(prefix))
            present = [
                Change("ADDED", i, i.revision, present=True)
                for i in items
                if predicate is None or predicate(i)
            ]
            watcher.begin_with([*present, Change.bookmark(now, initial_end=True)])
        elif revision and revision < now:
            await self._begin_after(watcher, revision)
        elif revision:
            watcher.skip_to(revision)
        return watcher

    async def _begin_after(self, watcher: Watcher, revision: int) -> None:
        """Give a watcher what happened between a revision and its registration."""
        past = self.cached.since(revision, watcher.prefix, watcher.predicate)
        try:
            if past is None:
                past = await self._cache.backlog(self.cached, watcher.prefix, watcher.predicate, revision)
            watcher.begin_with(past)
        except errors.ApiError as error:
            watcher.fail(error)
        except StoreError as error:
            watcher.fail(failure(error))
        except asyncio.CancelledError:
            watcher.close()
            raise


def _in_the_way(result: TxnResult) -> int:
    """The revision that shows why a compare-and-swap failed."""
    found = result.results[0]
    assert isinstance(found, RangeResult)
    return found.kvs[0].mod_revision if found.kvs else result.revision


async def _to_the_end(request: Coroutine[Any, Any, T]) -> T:
    """A caller who is cancelled withdraws nothing that is on its way: he is kept until it is known what became of it,
    as by the embedded store, for what he holds for it (an address, a port) must not go to somebody else."""
    sent = asyncio.ensure_future(request)
    try:
        return await asyncio.shield(sent)
    except asyncio.CancelledError:
        # Not for ever: a store that is away must not keep a server from stopping.
        await asyncio.wait((sent,), timeout=_LAST_WORD_S)
        sent.add_done_callback(_heard)
        raise


def _heard(sent: asyncio.Future[Any]) -> None:
    """Nobody else asks how it ended."""
    if not sent.cancelled():
        sent.exception()


class UnknownOutcome(errors.ApiError):
    """A write of which nobody knows whether it was done. Upstream tells it as the 500 that it is to its etcd client;
    whoever keeps something for the write must keep it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            500, "", f"etcdserver: request timed out: the write may have been done or not ({reason})"
        )


def failure(error: StoreError) -> errors.ApiError:
    """What a client is told of a store that refuses."""
    if isinstance(error, OutcomeUnknown):
        return UnknownOutcome(error.reason)
    if isinstance(error, StoreUnavailable) and not isinstance(error, NoSpace):
        return errors.service_unavailable(str(error))
    return errors.ApiError(500, "", str(error))


def _after(item: Item, prefix: bytes) -> str:
    """Where the next page starts: right after an item."""
    return (item.key[len(prefix) :] + b"\0").decode()


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
            remaining = len(candidates) - index - 1 if predicate is None else None
            return Page(items, revision, _after(item, prefix), remaining)
    return Page(items, revision)
