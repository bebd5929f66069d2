"""The watch cache: every resource's newest objects in memory, what happened last, and who watches.

One watch of the whole store feeds all resources:

    store ──events──▶ WatchCache ──by key prefix──▶ ResourceCache ──▶ items (lists, gets)
                                                        ├──▶ ring of the last events (watches from a revision)
                                                        └──▶ Watcher buffers ──all that waits at once──▶ client

A change is encoded once for all who see it. A client that does not keep up is ended, as upstream does: it lists
again. A watch from before the ring is served from the store's own history.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.apiserver.storage.foreign import Translate, foreign, head
from pilothouse.apiserver.storage.freshness import Revisions
from pilothouse.apiserver.storage.item import Item
from pilothouse.etcd.contract import (
    Backend,
    Compacted,
    Event,
    EventType,
    KeyValue,
    Range,
    StoreClosed,
    StoreError,
    Watch,
    prefix_end,
)
from pilothouse.kit.world import World

log = logging.getLogger(__name__)

BUFFER_MAX = 20_000
"""Changes that may wait for one client."""
BUFFER_BYTES_MAX = 128 * 1024 * 1024
"""And how much they may keep in memory: their objects, which others may be done with."""
RING_MAX = 1_024
"""Past events that one resource remembers."""
_RETRY_S = 1.0
_PAGE = 10_000
"""Objects that one read of a shared store asks for."""
_QUIET_S = 10.0
_ASK_FIRST_S = 0.01
_ASK_PERIOD_S = 0.1
"""How often a watch is asked for its progress while somebody waits (cacher's conditionalProgressRequester)."""

Predicate = Callable[[Item], bool]


class Change:
    """One change as one watcher sees it; shared by all that see it the same way, unless it is `present` (what a watch
    begins with). `item` is None for a bookmark."""

    __slots__ = ("_line", "_present", "initial_end", "item", "revision", "type")

    def __init__(
        self,
        type: str,
        item: Item | None,
        revision: int,
        *,
        initial_end: bool = False,
        present: bool = False,
    ) -> None:
        self._present = present
        self.type = type
        self.item = item
        self.revision = revision
        self.initial_end = initial_end
        self._line: bytes | None = None

    @classmethod
    def bookmark(cls, revision: int, *, initial_end: bool = False) -> Change:
        return cls("BOOKMARK", None, revision, initial_end=initial_end)

    @property
    def size(self) -> int:
        """What it keeps in memory, about."""
        return len(self.item.value) if self.item is not None else 0

    @property
    def line(self) -> bytes:
        """The JSON line on the wire, made once for all who share it."""
        if self._line is not None:
            return self._line
        assert self.item is not None
        line = b'{"type":"%b","object":%b}\n' % (self.type.encode(), self.item.document)
        if not self._present:
            self._line = line
        return line


class Happened:
    """One event and the changes that watchers may see in it, each made when somebody first sees it."""

    __slots__ = ("_entered", "_left", "_whole", "current", "key", "previous", "revision")

    def __init__(self, key: bytes, current: Item | None, previous: Item | None, revision: int) -> None:
        self.key = key
        self.current = current
        self.previous = previous
        self.revision = revision
        self._whole: Change | None = None
        self._entered: Change | None = None
        self._left: Change | None = None

    @property
    def change(self) -> Change:
        """For those who see every object."""
        if self._whole is None:
            if self.current is None:
                self._whole = Change("DELETED", self._last(), self.revision)
            else:
                kind = "ADDED" if self.previous is None else "MODIFIED"
                self._whole = Change(kind, self.current, self.revision)
        return self._whole

    def seen_by(self, predicate: Predicate | None) -> Change | None:
        """The change for a selection: objects that enter it are ADDED, that leave it DELETED (in their last
        selected state)."""
        if predicate is None:
            return self.change
        now = self.current is not None and predicate(self.current)
        before = self.previous is not None and predicate(self.previous)
        if now:
            return self.change if before or self.previous is None else self._enter()
        return self._leave() if before else None

    def _enter(self) -> Change:
        if self._entered is None:
            self._entered = Change("ADDED", self.current, self.revision)
        return self._entered

    def _leave(self) -> Change:
        if self.current is None:
            return self.change
        if self._left is None:
            self._left = Change("DELETED", self._last(), self.revision)
        return self._left

    def _last(self) -> Item:
        """The previous state, at the revision of the event."""
        assert self.previous is not None
        return Item(self.key, self.revision, self.previous.value)


class Watcher:
    """One client's watch of one resource."""

    def __init__(
        self,
        prefix: bytes,
        predicate: Predicate | None,
        cache_revision: Callable[[], int],
        forget: Callable[[Watcher], None],
    ) -> None:
        self.prefix = prefix
        self.predicate = predicate
        self._cache_revision = cache_revision
        self._handed = cache_revision()
        self._forget = forget
        self._buffer: deque[Change] = deque()
        self._room = BUFFER_MAX
        self._bytes = 0
        self._after = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: errors.ApiError | None = None

    @property
    def revision(self) -> int:
        """Everything up to here was handed over or is no concern of this watcher: what a bookmark may say."""
        return max(self._handed if self._buffer else self._cache_revision(), self._after)

    @property
    def waiting(self) -> int:
        """How many changes were not taken yet."""
        return len(self._buffer)

    def skip_to(self, revision: int) -> None:
        """Hand over only what comes after a revision that is still to come."""
        self._after = revision

    def push(self, changes: list[Change], size: int) -> None:
        """What happened just now, and its bytes; too much of it ends the watch."""
        if self._after:
            changes = [change for change in changes if change.revision > self._after]
        self._buffer.extend(changes)
        self._bytes += size
        if len(self._buffer) > self._room or self._bytes > BUFFER_BYTES_MAX:
            log.info("a watch of %s is ended: its client does not keep up", self.prefix.decode())
            self.close()
        elif self._buffer:
            self._wake()

    def begin_with(self, changes: list[Change]) -> None:
        """What comes before all that was pushed: the present objects, or the past. However much it is, it does
        not count as lagging behind."""
        self._buffer.extendleft(reversed(changes))
        self._room = BUFFER_MAX + len(changes)
        self._wake()

    def fail(self, error: errors.ApiError) -> None:
        """`next` raises `error` from now on."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self, timeout_s: float) -> list[Change] | None:
        """All that waits; [] when nothing came in time; None when the watch has ended. Raises ApiError when
        the history it needs is lost."""
        if not self._buffer and not self._closed and self._error is None:
            await self._wait(timeout_s)
        if self._closed:
            return None
        if self._error is not None:
            raise self._error
        batch = list(self._buffer)
        if batch:
            self._buffer.clear()
            self._room = BUFFER_MAX
            self._bytes = 0
            self._handed = batch[-1].revision
        return batch

    async def _wait(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._forget(self)
            self._buffer.clear()
            self._wake()


class ResourceCache:
    """One resource's newest objects, by key, its last events and its watchers.

    `changed` is the revision of its last change, `complete_from` the one after which every event is known here.
    """

    def __init__(self, prefix: bytes, cache_revision: Callable[[], int] = int) -> None:
        self.prefix = prefix
        self.changed = 0
        self.complete_from = 0
        self.stored: Resource | None = None
        """The version that values of a built-in resource are in; those of custom ones have their own."""
        self.head = b""
        self.listings = 0
        """How often it began again."""
        self.received = 0
        """Events that came from the store."""
        self.held: list[Event] | None = None
        """Events that came while the cache is being filled."""
        self._cache_revision = cache_revision
        self._items: dict[bytes, Item] = {}
        self._keys: list[bytes] = []
        self._ring: deque[Happened] = deque()
        self._watchers: list[Watcher] = []

    def __len__(self) -> int:
        return len(self._keys)

    def holds(self, stored: Resource) -> None:
        """What is kept here: other values are translated."""
        self.stored, self.head = stored, head(stored)

    def estimated_bytes(self) -> int:
        """Of all objects together, by a few of them."""
        count = len(self._items)
        if not count:
            return 0
        keys = self._keys
        some = [self._items.get(keys[i * (len(keys) - 1) // 4]) for i in range(5)] if keys else []
        sizes = [len(item.value) for item in some if item is not None]
        return count * sum(sizes) // len(sizes) if sizes else 0

    def get(self, key: bytes) -> Item | None:
        return self._items.get(key)

    def keys(self, prefix: bytes, start: bytes = b"") -> list[bytes]:
        """Sorted keys with a prefix, from `start` on."""
        first = bisect_left(self._keys, start or prefix)
        return self._keys[first : bisect_left(self._keys, prefix_end(prefix), first)]

    def items(self, keys: Iterable[bytes]) -> Iterator[Item]:
        items = self._items
        return (items[key] for key in keys)

    def reset(self, items: Iterable[Item], revision: int) -> None:
        """Begin again with a fresh listing. What happened before is not known: watchers are ended."""
        self.listings += 1
        self._items = {item.key: item for item in items}
        self._keys = sorted(self._items)
        self._ring.clear()
        self.changed = self.complete_from = revision
        self.close_watchers()

    def apply(self, key: bytes, current: Item | None, revision: int) -> Happened | None:
        """Bring one event in; None when it changes nothing."""
        previous = self._items.get(key)
        if current is not None:
            self._items[key] = current
            if previous is None:
                insort(self._keys, key)
        elif previous is not None:
            del self._items[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            return None
        self.changed = revision
        return Happened(key, current, previous, revision)

    def dispatch(self, batch: list[Happened]) -> None:
        """Remember what happened, and tell the watchers."""
        self._ring.extend(batch)
        while len(self._ring) > RING_MAX:
            self.complete_from = self._ring.popleft().revision
        if self._watchers:
            self._tell(batch)
        for happened in batch:
            if happened.previous is not None:
                happened.previous.forget_object()

    def _tell(self, batch: list[Happened]) -> None:
        by_prefix = {self.prefix: batch}
        whole: dict[bytes, tuple[list[Change], int]] = {}
        for watcher in list(self._watchers):
            prefix, predicate = watcher.prefix, watcher.predicate
            part = by_prefix.get(prefix)
            if part is None:
                part = by_prefix[prefix] = [h for h in batch if h.key.startswith(prefix)]
            if not part:
                continue
            if predicate is not None:
                self._tell_selected(watcher, part, predicate)
                continue
            shared = whole.get(prefix)
            if shared is None:
                changes = [h.change for h in part]
                shared = whole[prefix] = (changes, _size(changes))
            watcher.push(*shared)

    def _tell_selected(self, watcher: Watcher, part: list[Happened], predicate: Predicate) -> None:
        try:
            changes = [c for c in [h.seen_by(predicate) for h in part] if c is not None]
        except Exception:
            # One watcher's selection of one odd object must not stop the cache, and with it all writes.
            log.exception("a selection failed: its watch of %s is ended", watcher.prefix.decode())
            watcher.fail(errors.internal("the selection failed; see the server's log"))
            return
        watcher.push(changes, _size(changes))

    def since(self, after: int, prefix: bytes, predicate: Predicate | None) -> list[Change] | None:
        """The changes after a revision; None when the ring does not reach back that far."""
        if after < self.complete_from:
            return None
        changes = []
        for happened in reversed(self._ring):
            if happened.revision <= after:
                break
            if happened.key.startswith(prefix):
                change = happened.seen_by(predicate)
                if change is not None:
                    changes.append(change)
        changes.reverse()
        return changes

    def add_watcher(self, prefix: bytes, predicate: Predicate | None) -> Watcher:
        """A watcher of what happens from now on."""
        watcher = Watcher(prefix, predicate, self._cache_revision, self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    @property
    def watcher_count(self) -> int:
        return len(self._watchers)

    def watchers_of_all(self) -> int:
        """How many of the watchers see the whole resource, as against one namespace of it."""
        return sum(watcher.prefix == self.prefix for watcher in self._watchers)

    def close_watchers(self) -> None:
        for watcher in list(self._watchers):
            watcher.close()


class WatchCache:
    """All resources' caches on one backend."""

    def __init__(
        self, backend: Backend, root: bytes, world: World | None = None, translate: Translate = foreign
    ) -> None:
        """`translate` makes JSON of values that are none."""
        self._backend = backend
        self._root = root
        self._translate = translate
        self._alone = not backend.shared
        self._revisions = Revisions(backend, root + b"health")
        self._watch: Watch | None = None
        self._asking: asyncio.Task[None] | None = None
        self._quiet_until_s = 0.0
        self.bookmarks = 0
        """How often the store said how far the watch has come."""
        self._clock = (world or World()).clock
        self._caches: dict[bytes, ResourceCache] = {}
        self.revision = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._pump: asyncio.Task[None] | None = None
        self._new: dict[bytes, Item] = {}

    @property
    def root(self) -> str:
        """The prefix of all keys, with its closing slash."""
        return self._root.decode()

    def resource(self, prefix: bytes) -> ResourceCache:
        """The cache of a resource. One that comes after `start` knows only what happens from then on, until
        `fill`."""
        cache = self._caches.get(prefix)
        if cache is None:
            cache = self._caches[prefix] = ResourceCache(prefix, lambda: self.revision)
            cache.changed = cache.complete_from = self.revision
        return cache

    async def fill(self, cache: ResourceCache) -> None:
        """Load one resource that came after `start` (a custom resource)."""
        cache.held = []
        listings = cache.listings
        try:
            items, revision = await self._read(cache.prefix)
            await self.wait(revision)
            if cache.listings == listings:  # else a reload of everything brought newer ones meanwhile
                cache.reset(items, revision)
        finally:
            held, cache.held = cache.held, None
            self._bring_in(cache, [e for e in held if e.kv.mod_revision > cache.complete_from])

    def drop(self, cache: ResourceCache) -> None:
        """Forget a resource that is served no more; its watches end."""
        self._caches.pop(cache.prefix, None)
        cache.close_watchers()

    async def start(self) -> None:
        """Load what is there and follow what comes."""
        await self._reload()
        self._pump = asyncio.get_running_loop().create_task(self._follow(), name="watch cache")
        self._pump.add_done_callback(_log_crash)

    async def stop(self) -> None:
        tasks = [task for task in (self._pump, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._revisions.stop()
        for cache in self._caches.values():
            cache.close_watchers()

    async def _read(self, prefix: bytes) -> tuple[list[Item], int]:
        """All items under a prefix at one revision. From a shared store they come page by page: an answer has its
        limits on the wire."""
        limit = _PAGE if self._backend.shared else 0
        found = await self._backend.range(Range(prefix, prefix_end(prefix), limit))
        revision, items = found.revision, [self._item(kv) for kv in found.kvs]
        while found.more:
            after = found.kvs[-1].key + b"\0"
            found = await self._backend.range(Range(after, prefix_end(prefix), limit, revision))
            items += [self._item(kv) for kv in found.kvs]
        return items, revision

    def _item(self, kv: KeyValue) -> Item:
        return self.item(kv.key, kv.mod_revision, kv.value)

    def item(self, key: bytes, revision: int, value: bytes) -> Item:
        """Of a stored value, which another kind of server may have written."""
        cache = self._cache_of(key)
        return Item(key, revision, value) if cache is None else self._item_of(cache, key, revision, value)

    def _item_of(self, cache: ResourceCache, key: bytes, revision: int, value: bytes) -> Item:
        if cache.stored is not None and not value.startswith(cache.head):
            value = self._translate(key, value, cache.stored)
        return Item(key, revision, value)

    async def _reload(self) -> None:
        items, revision = await self._read(self._root)
        by_cache: dict[bytes, list[Item]] = {}
        for item in items:
            cache = self._cache_of(item.key)
            if cache is not None:
                by_cache.setdefault(cache.prefix, []).append(item)
        self._new.clear()
        for prefix, cache in self._caches.items():
            cache.reset(by_cache.get(prefix, ()), revision)
        self._advance(revision)

    async def _follow(self) -> None:
        lost = False
        while True:
            try:
                if lost:
                    await self._reload()
                    lost = False
                await self._follow_once()
            except Compacted:
                log.warning("the store forgot what came after revision %d: loading everything", self.revision)
                lost = True
            except StoreClosed:
                return
            except StoreError as error:
                log.warning("the watch of the store broke off: %s; trying again", error)
                await self._clock.sleep(_RETRY_S)

    async def _follow_once(self) -> None:
        self._watch = watch = self._backend.watch(self._root, prefix_end(self._root), self.revision + 1)
        try:
            while True:
                events = await watch.next()
                if events:
                    self._apply(events)
                else:
                    self.bookmarks += 1
                    if watch.progress_revision > self.revision:
                        self._advance(watch.progress_revision)
        finally:
            self._watch = None
            watch.close()

    def _apply(self, events: list[Event]) -> None:
        by_cache: dict[bytes, tuple[ResourceCache, list[Event]]] = {}
        for event in events:
            cache = self._cache_of(event.kv.key)
            if cache is not None:
                by_cache.setdefault(cache.prefix, (cache, []))[1].append(event)
        happened = [(cache, self._items(cache, part)) for cache, part in by_cache.values()]
        self._advance(events[-1].kv.mod_revision)
        for cache, batch in happened:
            cache.dispatch(batch)

    def _bring_in(self, cache: ResourceCache, events: list[Event]) -> None:
        cache.dispatch(self._items(cache, events))

    def _items(self, cache: ResourceCache, events: list[Event]) -> list[Happened]:
        cache.received += len(events)
        if cache.held is not None:
            cache.held += events
            return []
        batch = []
        for event in events:
            key, value, _, revision, _, _ = event.kv
            item = None if event.type is EventType.DELETE else self._made(cache, key, revision, value)
            happened = cache.apply(key, item, revision)
            if happened is not None:
                batch.append(happened)
        return batch

    def expect(self, item: Item) -> None:
        """A writer's own item: used when its event comes, so that its object need not be decoded again. Of
        several writers of one key the first is the likeliest to win."""
        self._new.setdefault(item.key, item)

    def unexpect(self, item: Item) -> None:
        """It was not written."""
        if self._new.get(item.key) is item:
            del self._new[item.key]

    def _made(self, cache: ResourceCache, key: bytes, revision: int, value: bytes) -> Item:
        item = self._new.pop(key, None)
        if item is not None and item.value == value:
            item.stored_at(revision)
            return item
        return self._item_of(cache, key, revision, value)

    def _cache_of(self, key: bytes) -> ResourceCache | None:
        """By the longest registered prefix: /registry/X/ or /registry/X/Y/."""
        end = key.find(b"/", len(self._root))
        cache = self._caches.get(key[: end + 1])
        if cache is None:
            end = key.find(b"/", end + 1)
            cache = self._caches.get(key[: end + 1])
        return cache

    def _advance(self, revision: int) -> None:
        self.revision = revision
        if self._waiters:
            ready = [f for r, f in self._waiters if r <= revision]
            self._waiters = [(r, f) for r, f in self._waiters if r > revision]
            for future in ready:
                if not future.done():
                    future.set_result(None)

    @property
    def is_fresh(self) -> bool:
        """Whether it is known, without asking, that the cache has all that the store has."""
        return self._alone and self._backend.revision <= self.revision

    async def fresh(self, timeout_s: float) -> None:
        """Until the cache has all that the store had when this was called. TimeoutError, StoreError."""
        revision = await self._revisions.newest()
        if revision > self.revision:
            self._ask_soon()
            await self.wait(revision, timeout_s)

    def _ask_soon(self) -> None:
        if self._asking is None:
            loop = asyncio.get_running_loop()
            self._asking = loop.create_task(self._ask_for_progress(), name="watch progress")

    async def wait(self, revision: int, timeout_s: float | None = None) -> None:
        """Until the cache has seen a revision; TimeoutError."""
        if revision <= self.revision:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        waiter = (revision, future)
        self._waiters.append(waiter)
        if self._backend.shared:
            self._ask_soon()
        try:
            async with asyncio.timeout(timeout_s):
                await future
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def complain(self, revision: int) -> None:
        """Of a revision that should have come long ago; once for all who miss it."""
        now_s = self._clock.monotonic()
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + _QUIET_S
            log.warning("the watch cache is behind: it is at revision %d, not at %d", self.revision, revision)

    async def _ask_for_progress(self) -> None:
        """While somebody waits: no event comes for what happens outside the root."""
        try:
            await self._clock.sleep(_ASK_FIRST_S if self._backend.shared else 0)
            while self._waiters:
                if self._watch is not None:
                    self._watch.request_progress()
                await self._clock.sleep(_ASK_PERIOD_S)
        finally:
            self._asking = None

    async def backlog(
        self, cache: ResourceCache, prefix: bytes, predicate: Predicate | None, after: int
    ) -> list[Change]:
        """What a resource's watch of `prefix` missed after a revision, up to the cache's, from the store's history.
        410 when it is forgotten."""
        # Nothing comes after the resource's last change: no need to hear how far the watch has come.
        upto = cache.changed
        if after >= upto:
            return []
        watch = self._backend.watch(cache.prefix, prefix_end(cache.prefix), after + 1, prev=True)
        changes: list[Change] = []
        try:
            while watch.progress_revision < upto:
                for event in await watch.next():
                    if event.kv.mod_revision > upto:
                        return changes
                    if event.kv.key.startswith(prefix):
                        change = self._past(event, after).seen_by(predicate)
                        if change is not None:
                            changes.append(change)
            return changes
        except Compacted as error:
            raise _too_old(after, error.compact_revision) from None
        finally:
            watch.close()

    def _past(self, event: Event, after: int) -> Happened:
        kv, prev = event.kv, event.prev
        if prev is None and kv.version != 1:
            # Just at the compacted revision an event is still known, but not what was before it.
            raise _too_old(after, self._backend.compact_revision)
        current = self._item(kv) if event.type is EventType.PUT else None
        previous = self._item(prev) if prev is not None else None
        return Happened(kv.key, current, previous, kv.mod_revision)


def _size(changes: list[Change]) -> int:
    return sum([change.size for change in changes])


def _too_old(revision: int, oldest: int) -> errors.ApiError:
    return errors.gone(f"too old resource version: {revision} ({oldest})")


def _log_crash(pump: asyncio.Task[None]) -> None:
    if not pump.cancelled() and (error := pump.exception()) is not None:
        log.critical("the watch cache stopped: writes will time out until a restart", exc_info=error)
