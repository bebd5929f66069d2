"""The watch cache: every resource's newest objects in memory, and who watches them.

One watch of the whole store feeds all resources; a change is dispatched by its key's prefix, encoded once,
and put into the buffer of each watcher that selects it. A watcher takes all that waits in one go. One that
does not keep up is ended, as upstream does: its client lists again.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from pilothouse.api import errors
from pilothouse.apiserver.storage.item import Item
from pilothouse.etcd.contract import Backend, Compacted, Event, EventType, Range, StoreClosed, prefix_end

BUFFER_MAX = 20_000
"""Changes that may wait for one client."""

Predicate = Callable[[Item], bool]


class Change:
    """One change as one watcher sees it; shared by all that see it the same way. `item` is None for a
    bookmark."""

    __slots__ = ("_line", "initial_end", "item", "revision", "type")

    def __init__(self, type: str, item: Item | None, revision: int, *, initial_end: bool = False) -> None:
        self.type = type
        self.item = item
        self.revision = revision
        self.initial_end = initial_end
        self._line: bytes | None = None

    @classmethod
    def bookmark(cls, revision: int, *, initial_end: bool = False) -> Change:
        return cls("BOOKMARK", None, revision, initial_end=initial_end)

    @property
    def line(self) -> bytes:
        """The JSON line on the wire, made once."""
        if self._line is None:
            assert self.item is not None
            self._line = b'{"type":"%b","object":%b}\n' % (self.type.encode(), self.item.document)
        return self._line


class _Happened:
    """One event and the changes that watchers may see in it."""

    __slots__ = ("_entered", "_left", "change", "current", "previous")

    def __init__(self, current: Item | None, previous: Item | None, revision: int) -> None:
        self.current = current
        self.previous = previous
        if current is None:
            assert previous is not None
            self.change = Change("DELETED", Item(previous.key, revision, previous.value), revision)
        else:
            self.change = Change("MODIFIED" if previous is not None else "ADDED", current, revision)
        self._entered: Change | None = None
        self._left: Change | None = None

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
            self._entered = Change("ADDED", self.current, self.change.revision)
        return self._entered

    def _leave(self) -> Change:
        if self.current is None:
            return self.change
        if self._left is None:
            assert self.previous is not None
            last = Item(self.previous.key, self.change.revision, self.previous.value)
            self._left = Change("DELETED", last, self.change.revision)
        return self._left


class Watcher:
    """One client's watch of one resource."""

    def __init__(
        self, prefix: bytes, predicate: Predicate | None, revision: int, forget: Callable[[Watcher], None]
    ) -> None:
        self.prefix = prefix
        self._predicate = predicate
        self._revision = revision
        self._forget = forget
        self._buffer: deque[Change] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: errors.ApiError | None = None

    @property
    def revision(self) -> int:
        """Everything up to here was handed over or is no concern of this watcher."""
        return self._revision

    def seen(self, revision: int) -> None:
        self._revision = revision

    def offer(self, happened: _Happened) -> None:
        change = happened.seen_by(self._predicate)
        if change is not None:
            self.push((change,))

    def push(self, changes: Iterable[Change]) -> None:
        self._buffer.extend(changes)
        if len(self._buffer) > BUFFER_MAX:
            self.close()
        self._wake()

    def prepend(self, changes: list[Change]) -> None:
        """What happened before this watcher was registered."""
        self._buffer.extendleft(reversed(changes))
        self._wake()

    def fail(self, error: errors.ApiError) -> None:
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
        self._buffer.clear()
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
    """One resource's newest objects, by key, and its watchers."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix
        self._items: dict[bytes, Item] = {}
        self._keys: list[bytes] = []
        self._watchers: list[Watcher] = []

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: bytes) -> Item | None:
        return self._items.get(key)

    def keys(self, prefix: bytes, start: bytes = b"") -> list[bytes]:
        """Sorted keys with a prefix, from `start` on."""
        first = bisect_left(self._keys, start or prefix)
        return self._keys[first : bisect_left(self._keys, prefix_end(prefix), first)]

    def items(self, keys: Iterable[bytes]) -> Iterator[Item]:
        items = self._items
        return (items[key] for key in keys)

    def load(self, items: Iterable[Item]) -> None:
        """Replace everything (first fill)."""
        self._items = {item.key: item for item in items}
        self._keys = sorted(self._items)

    def replace(self, items: Iterable[Item], revision: int) -> None:
        """Bring the cache to a fresh listing; watchers see the difference."""
        fresh = {item.key: item for item in items}
        for key in [k for k in self._keys if k not in fresh]:
            self.apply(key, None, revision)
        for key, item in fresh.items():
            present = self._items.get(key)
            if present is None or present.revision != item.revision:
                self.apply(key, item, item.revision)

    def apply(self, key: bytes, current: Item | None, revision: int) -> None:
        previous = self._items.get(key)
        if current is not None:
            self._items[key] = current
            if previous is None:
                insort(self._keys, key)
        elif previous is not None:
            del self._items[key]
            del self._keys[bisect_left(self._keys, key)]
        else:
            return
        if self._watchers:
            happened = _Happened(current, previous, revision)
            for watcher in list(self._watchers):
                if key.startswith(watcher.prefix):
                    watcher.offer(happened)
                watcher.seen(revision)

    def add_watcher(self, prefix: bytes, predicate: Predicate | None, revision: int) -> Watcher:
        watcher = Watcher(prefix, predicate, revision, self._watchers.remove)
        self._watchers.append(watcher)
        return watcher

    @property
    def watcher_count(self) -> int:
        return len(self._watchers)

    def close_watchers(self) -> None:
        for watcher in list(self._watchers):
            watcher.close()


class WatchCache:
    """All resources' caches on one backend."""

    def __init__(self, backend: Backend, root: bytes) -> None:
        self._backend = backend
        self._root = root
        self._caches: dict[bytes, ResourceCache] = {}
        self.revision = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._pump: asyncio.Task[None] | None = None
        self._new: dict[bytes, Item] = {}

    def resource(self, prefix: bytes) -> ResourceCache:
        """The cache of a resource; filled at once when the store is already being followed."""
        cache = self._caches.get(prefix)
        if cache is None:
            cache = self._caches[prefix] = ResourceCache(prefix)
        return cache

    async def fill(self, cache: ResourceCache) -> None:
        """Load one resource that came after `start` (a custom resource)."""
        found = await self._backend.range(Range(cache.prefix, prefix_end(cache.prefix)))
        cache.replace([Item(kv.key, kv.mod_revision, kv.value) for kv in found.kvs], found.revision)

    async def start(self) -> None:
        """Load what is there and follow what comes."""
        await self._reload()
        self._pump = asyncio.get_running_loop().create_task(self._follow(), name="watch cache")

    async def stop(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        for cache in self._caches.values():
            cache.close_watchers()

    async def _reload(self) -> None:
        found = await self._backend.range(Range(self._root, prefix_end(self._root)))
        by_cache: dict[bytes, list[Item]] = {}
        for kv in found.kvs:
            cache = self._cache_of(kv.key)
            if cache is not None:
                by_cache.setdefault(cache.prefix, []).append(Item(kv.key, kv.mod_revision, kv.value))
        for prefix, cache in self._caches.items():
            cache.replace(by_cache.get(prefix, ()), found.revision)
        self._advance(found.revision)

    async def _follow(self) -> None:
        while True:
            watch = self._backend.watch(self._root, prefix_end(self._root), self.revision + 1)
            try:
                while True:
                    self._apply(await watch.next())
                    self._advance(max(self.revision, watch.progress_revision))
            except Compacted:
                await self._reload()
            except StoreClosed:
                return
            finally:
                watch.close()

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            kv = event.kv
            cache = self._cache_of(kv.key)
            if cache is None:
                continue
            if event.type is EventType.DELETE:
                cache.apply(kv.key, None, kv.mod_revision)
            else:
                cache.apply(kv.key, self._made(kv.key, kv.mod_revision, kv.value), kv.mod_revision)
        if events:
            self._advance(events[-1].kv.mod_revision)

    def expect(self, key: bytes, item: Item) -> None:
        """A writer's own item: used when its event comes, so that its object need not be decoded again."""
        self._new[key] = item

    def _made(self, key: bytes, revision: int, value: bytes) -> Item:
        item = self._new.pop(key, None)
        if item is not None and item.value is value:
            item.revision = revision
            return item
        return Item(key, revision, value)

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

    async def wait(self, revision: int, timeout_s: float) -> None:
        """Until the cache has seen a revision; TimeoutError."""
        if revision <= self.revision:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((revision, future))
        await asyncio.wait_for(future, timeout_s)

    async def backlog(
        self, prefix: bytes, predicate: Predicate | None, after: int, upto: int
    ) -> list[Change]:
        """Changes after one revision up to another, from the store's history. 410 when it is forgotten."""
        watch = self._backend.watch(prefix, prefix_end(prefix), after + 1, prev=True)
        changes: list[Change] = []
        try:
            while True:
                if watch.progress_revision >= upto:
                    return changes
                for event in await watch.next():
                    if event.kv.mod_revision > upto:
                        return changes
                    change = _past(event).seen_by(predicate)
                    if change is not None:
                        changes.append(change)
        except Compacted as error:
            raise errors.gone(f"too old resource version: {after} ({error.compact_revision})") from None
        finally:
            watch.close()


def _past(event: Event) -> _Happened:
    kv, prev = event.kv, event.prev
    current = Item(kv.key, kv.mod_revision, kv.value) if event.type is EventType.PUT else None
    previous = Item(prev.key, prev.mod_revision, prev.value) if prev is not None else None
    return _Happened(current, previous, kv.mod_revision)
