"""One resource's store on a real (memory) backend, in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.apiserver.storage import watch_cache
from pilothouse.apiserver.storage.compactor import Compactor
from pilothouse.apiserver.storage.item import Item
from pilothouse.apiserver.storage.leases import LeaseManager
from pilothouse.apiserver.storage.store import ContinueExpired, ResourceStore
from pilothouse.apiserver.storage.watch_cache import Change, WatchCache, Watcher
from pilothouse.etcd.contract import Delete, NoSpace, Put, StoreUnavailable
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world

PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("", "v1", "events", "Event")


class RefusingLog(NoLog):
    refuse = False
    refusal: StoreUnavailable = NoSpace()

    def commit(self) -> None:
        if self.refuse:
            raise self.refusal


class Room:
    """The storage room with pods and events."""

    world: World
    backend: EmbeddedBackend
    cache: WatchCache
    pods: ResourceStore
    events: ResourceStore

    async def open(self) -> None:
        self.world = simulated_world(1)
        self.log = RefusingLog()
        self.backend = await open_backend(self.world, self.log)
        self.cache = WatchCache(self.backend, b"/registry/", self.world)
        self.pods = ResourceStore(self.backend, self.cache, PODS)
        leases = LeaseManager(self.backend, self.world)
        self.events = ResourceStore(self.backend, self.cache, EVENTS, leases=leases, ttl_s=lambda obj: 3600)
        await self.cache.start()

    async def close(self) -> None:
        await self.cache.stop()
        await self.backend.close()

    async def create(self, name: str, namespace: str = "default", **labels: str) -> Item:
        return await self.pods.create(self.pods.key(namespace, name), pod(name, namespace, **labels))

    async def change(self, name: str, namespace: str = "default", **labels: str) -> Item:
        key = self.pods.key(namespace, name)
        current = self.pods.get(key)
        assert current is not None
        item = await self.pods.replace(key, current, pod(name, namespace, **labels))
        assert item is not None
        return item

    async def delete(self, name: str, namespace: str = "default") -> Item:
        key = self.pods.key(namespace, name)
        current = self.pods.get(key)
        assert current is not None
        item = await self.pods.delete(key, current)
        assert item is not None
        return item


def pod(name: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
    }


def in_room(test: Callable[[Room], Awaitable[None]]) -> Callable[[], None]:
    """Run a test in virtual time, with a fresh room."""

    async def main() -> None:
        room = Room()
        await room.open()
        try:
            await test(room)
        finally:
            await room.close()

    def run() -> None:
        run_virtual(main())

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


def labelled(item: Item) -> bool:
    return item.labels.get("in") == "1"


async def take(watcher: Watcher, count: int) -> list[Change]:
    changes: list[Change] = []
    while len(changes) < count:
        batch = await watcher.next(5)
        assert batch, f"{len(changes)} of {count} came"
        changes += batch
    assert not await watcher.next(0.1), "more came"
    return changes


def told(changes: list[Change]) -> list[tuple[str, str]]:
    return [(c.type, c.item.key.decode().rsplit("/", 1)[1] if c.item else "") for c in changes]


@in_room
async def test_a_write_is_read_at_once(room: Room) -> None:
    made = await room.create("a")
    assert made.obj["metadata"]["resourceVersion"] == str(made.revision) == "2"
    assert room.pods.get("/registry/pods/default/a") is made
    assert room.cache.revision == 2
    changed = await room.change("a", x="1")
    assert room.pods.get("/registry/pods/default/a") is changed
    gone = await room.delete("a")
    assert gone.revision == 4
    assert gone.obj["metadata"]["labels"] == {"x": "1"}
    assert room.pods.get("/registry/pods/default/a") is None


@in_room
async def test_a_name_is_taken_once(room: Room) -> None:
    results = await asyncio.gather(*(room.create("a") for _ in range(9)), return_exceptions=True)
    refusals = [r for r in results if isinstance(r, ApiError)]
    assert len(refusals) == 8
    assert {(e.code, e.reason, e.message) for e in refusals} == {
        (409, "AlreadyExists", 'pods "a" already exists')
    }


@in_room
async def test_of_two_writers_the_slower_is_told_and_finds_the_new_state(room: Room) -> None:
    current = await room.create("a")
    key = room.pods.key("default", "a")
    first, second = await asyncio.gather(
        room.pods.replace(key, current, pod("a", x="1")), room.pods.replace(key, current, pod("a", x="2"))
    )
    assert first is not None
    assert second is None
    assert room.pods.get(key) is first
    assert await room.pods.delete(key, current) is None


@in_room
async def test_the_same_state_is_not_written(room: Room) -> None:
    made = await room.create("a", x="1")
    same = await room.change("a", x="1")
    assert same is made
    assert room.backend.revision == made.revision


@in_room
async def test_a_full_disk_refuses_as_etcd_does_and_leaves_nothing(room: Room) -> None:
    watcher = await room.pods.watch()
    room.log.refuse = True
    with pytest.raises(ApiError, match=r"^etcdserver: mvcc: database space exceeded$") as refused:
        await room.create("a")
    assert (refused.value.code, refused.value.reason) == (500, "")
    assert (await room.pods.list()).items == []
    room.log.refusal = StoreUnavailable("the store's disk refused a write: disk I/O error")
    with pytest.raises(ApiError, match="disk I/O error") as refused:
        await room.create("a")
    assert (refused.value.code, refused.value.reason) == (503, "ServiceUnavailable")
    room.log.refuse = False
    assert (await room.create("a")).revision == 2
    assert told(await take(watcher, 1)) == [("ADDED", "a")]


@in_room
async def test_a_writer_who_is_cancelled_learns_first_what_became_of_his_write(room: Room) -> None:
    writing = asyncio.ensure_future(room.create("a"))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert room.backend.revision == 2
    assert await room.pods.holds(room.pods.key("default", "a"), pod("a"))
    assert not await room.pods.holds(room.pods.key("default", "a"), pod("a", x="other"))
    assert not await room.pods.holds(room.pods.key("default", "b"), pod("b"))
    assert not room.cache._new, "nothing is kept for an event that will not come"


@in_room
async def test_lists_are_sorted_selected_and_paged(room: Room) -> None:
    for name in ("c", "a", "b", "d"):
        await room.create(name, **{"in": "1"} if name in "bd" else {})
    await room.create("z", "other")
    page = await room.pods.list("default")
    assert [i.obj["metadata"]["name"] for i in page.items] == ["a", "b", "c", "d"]
    assert page.revision == 6
    assert len((await room.pods.list()).items) == 5
    first = await room.pods.list("default", limit=3)
    assert ([i.key[-1:] for i in first.items], first.remaining) == ([b"a", b"b", b"c"], 1)
    rest = await room.pods.list("default", start=first.next_start, limit=3)
    assert ([i.key[-1:] for i in rest.items], rest.next_start, rest.remaining) == ([b"d"], "", None)
    chosen = await room.pods.list("default", predicate=labelled, limit=1)
    assert ([i.key[-1:] for i in chosen.items], chosen.remaining) == ([b"b"], None)
    assert chosen.next_start


@in_room
async def test_pages_show_one_moment(room: Room) -> None:
    for n in range(6):
        await room.create(f"p{n}")
    first = await room.pods.list(limit=2)
    await room.delete("p3")
    await room.change("p4", x="new")
    await room.create("p31")
    for limit, remaining in ((2, 2), (0, None)):
        page = await room.pods.list(revision=first.revision, start=first.next_start, limit=limit)
        assert [i.key[-2:].decode() for i in page.items] == ["p2", "p3", "p4", "p5"][: limit or 4]
        assert page.remaining == remaining
        assert page.revision == first.revision
        assert all(not i.labels for i in page.items)


@in_room
async def test_what_was_compacted_is_gone_for_lists(room: Room) -> None:
    for n in range(4):
        await room.create(f"p{n}")
    await room.backend.compact(4)
    with pytest.raises(
        ApiError, match=r"^The resourceVersion for the provided list is too old\.$"
    ) as refused:
        await room.pods.list(revision=3)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")
    with pytest.raises(ContinueExpired) as expired:
        await room.pods.list(revision=3, start="default/p1\0")
    assert expired.value.start == "default/p1\0"


@in_room
async def test_a_revision_not_in_sight_times_out(room: Room) -> None:
    with pytest.raises(ApiError, match="Timeout: Too large resource version: 99, current: 1") as refused:
        await room.pods.wait_revision(99)
    assert refused.value.code == 504
    watcher = await room.pods.watch("", 99, initial_events=True)
    with pytest.raises(ApiError, match="Too large resource version"):
        await watcher.next(1)


@in_room
async def test_a_watch_from_a_revision_to_come_waits_for_it(room: Room) -> None:
    watcher = await room.pods.watch("", 4)
    for name in "abcde":
        await room.create(name)
        assert watcher.revision >= 4
    assert told(await take(watcher, 2)) == [("ADDED", "d"), ("ADDED", "e")]


@in_room
async def test_a_selection_that_fails_ends_its_own_watch_alone(room: Room) -> None:
    def broken(item: Item) -> bool:
        raise KeyError("spec")

    bad, good = await room.pods.watch(predicate=broken), await room.pods.watch(predicate=labelled)
    await room.create("a", **{"in": "1"})
    assert told(await take(good, 1)) == [("ADDED", "a")]
    with pytest.raises(ApiError, match="the selection failed"):
        await bad.next(1)
    bad.close()
    await room.create("b", **{"in": "1"})
    assert told(await take(good, 1)) == [("ADDED", "b")]


@in_room
async def test_a_client_that_lags_by_too_many_bytes_is_ended(room: Room) -> None:
    limit, watch_cache.BUFFER_BYTES_MAX = watch_cache.BUFFER_BYTES_MAX, 2_000
    try:
        slow, quick = await room.pods.watch(), await room.pods.watch(predicate=labelled)
        for n in range(10):
            await room.create(f"p{n}", pad="x" * 300, **{"in": "1"})
            assert len(await take(quick, 1)) == 1
        assert await slow.next(1) is None
        assert room.pods.cached.watcher_count == 1
    finally:
        watch_cache.BUFFER_BYTES_MAX = limit


@in_room
async def test_watchers_see_what_they_select(room: Room) -> None:
    everything = await room.pods.watch()
    selected = await room.pods.watch(predicate=labelled)
    elsewhere = await room.pods.watch("other")
    await room.create("a", **{"in": "1"})
    await room.change("a", **{"in": "1", "step": "2"})
    await room.change("a", **{"in": "0"})
    await room.change("a", **{"in": "1"})
    await room.delete("a")
    await room.create("b", "other")
    assert told(await take(everything, 6)) == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "b"),
    ]
    seen = await take(selected, 5)
    assert told(seen) == [
        ("ADDED", "a"),
        ("MODIFIED", "a"),
        ("DELETED", "a"),
        ("ADDED", "a"),
        ("DELETED", "a"),
    ]
    left = json.loads(seen[2].line)["object"]
    assert left["metadata"]["labels"] == {"in": "1", "step": "2"}, "its last selected state"
    assert left["metadata"]["resourceVersion"] == "4", "at the revision of the event"
    assert told(await take(elsewhere, 1)) == [("ADDED", "b")]


@in_room
async def test_an_event_is_encoded_once_for_all(room: Room) -> None:
    watchers = [await room.pods.watch() for _ in range(3)] + [await room.pods.watch(predicate=labelled)]
    await room.create("a", **{"in": "1"})
    lines = [(await take(w, 1))[0].line for w in watchers]
    assert all(line is lines[0] for line in lines)
    assert json.loads(lines[0])["type"] == "ADDED"


@in_room
async def test_a_watch_from_a_revision_has_no_gap_and_no_repeat(room: Room) -> None:
    for n in range(5):
        await room.create(f"p{n}")
    watcher = await room.pods.watch("default", 3)
    await room.create("p5")
    assert told(await take(watcher, 4)) == [("ADDED", f"p{n}") for n in (2, 3, 4, 5)]


@in_room
async def test_a_watch_from_before_the_ring_uses_the_stores_history(room: Room) -> None:
    await room.create("a")
    for n in range(watch_cache.RING_MAX + 50):
        await room.change("a", n=str(n))
    watcher = await room.pods.watch("", 2)
    changes = await take(watcher, watch_cache.RING_MAX + 50)
    assert [c.revision for c in changes] == list(range(3, watch_cache.RING_MAX + 53))
    assert {c.type for c in changes} == {"MODIFIED"}
    assert watcher.revision == room.cache.revision


@in_room
async def test_a_watch_from_a_forgotten_revision_is_refused(room: Room) -> None:
    await room.create("a")
    for n in range(watch_cache.RING_MAX + 50):
        await room.change("a", n=str(n))
    await room.backend.compact(40)
    watcher = await room.pods.watch("", 5)
    with pytest.raises(ApiError, match=r"^too old resource version: 5 \(40\)$") as refused:
        await watcher.next(5)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


@in_room
async def test_the_present_comes_first_then_a_mark_then_the_future(room: Room) -> None:
    for name in "ba":
        await room.create(name)
    watcher = await room.pods.watch(initial_events=True)
    await room.delete("a")
    changes = await take(watcher, 4)
    assert told(changes) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", ""), ("DELETED", "a")]
    assert changes[2].initial_end
    assert changes[2].revision == 3


@in_room
async def test_bookmarks_follow_the_whole_store(room: Room) -> None:
    watcher = await room.pods.watch()
    await room.events.create("/registry/events/default/e", {**pod("e"), "kind": "Event"})
    assert watcher.revision == room.cache.revision == 2
    await room.create("a")
    assert watcher.revision < 3
    await take(watcher, 1)
    assert watcher.revision == 3


@in_room
async def test_a_slow_client_is_ended_but_a_long_beginning_is_no_fault(room: Room) -> None:
    for n in range(30):
        await room.create(f"p{n:02}")
    limit, watch_cache.BUFFER_MAX = watch_cache.BUFFER_MAX, 10
    try:
        fresh = await room.pods.watch(initial_events=True)
        slow = await room.pods.watch()
        for n in range(9):
            await room.change("p00", n=str(n))
        assert len(await take(fresh, 40)) == 40
        assert slow.waiting == 9
        for n in range(9, 12):
            await room.change("p00", n=str(n))
        assert await slow.next(1) is None
        assert room.pods.cached.watcher_count == 1
    finally:
        watch_cache.BUFFER_MAX = limit


@in_room
async def test_events_expire_and_share_leases(room: Room) -> None:
    watcher = await room.events.watch()
    await asyncio.gather(
        *(
            room.events.create(f"/registry/events/default/e{n}", {**pod(f"e{n}"), "kind": "Event"})
            for n in range(1500)
        )
    )
    assert len(await room.backend.leases()) == 2
    await asyncio.sleep(3590)
    assert len((await room.events.list()).items) == 1500
    await asyncio.sleep(100)
    assert len((await room.events.list()).items) == 0
    await asyncio.sleep(1)
    assert {t for t, _ in told(await take(watcher, 3000))} == {"ADDED", "DELETED"}


@in_room
async def test_the_cache_sees_what_others_write(room: Room) -> None:
    watcher = await room.pods.watch()
    value = b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"default"}}'
    await room.backend.put(Put(b"/registry/pods/default/x", value))
    await room.backend.delete(Delete(b"/registry/pods/default/x"))
    assert told(await take(watcher, 2)) == [("ADDED", "x"), ("DELETED", "x")]


@in_room
async def test_a_resource_that_comes_later_is_filled(room: Room) -> None:
    value = b'{"kind":"Widget","apiVersion":"example.com/v1","metadata":{"name":"w","namespace":"default"}}'
    await room.backend.put(Put(b"/registry/example.com/widgets/default/w", value))
    widgets = ResourceStore(
        room.backend, room.cache, Resource("example.com", "v1", "widgets", "Widget"), custom=True
    )
    await asyncio.gather(
        room.backend.put(Put(b"/registry/example.com/widgets/default/w2", value)),
        room.cache.fill(widgets.cached),
    )
    page = await widgets.list()
    assert [i.key.rsplit(b"/", 1)[1] for i in page.items] == [b"w", b"w2"]
    with pytest.raises(ApiError):
        await widgets.create("/registry/example.com/widgets/default/w", json.loads(value))


@in_room
async def test_a_revision_that_moved_outside_the_objects_holds_up_no_read(room: Room) -> None:
    """As a compaction does, and whoever uses the store for something else."""
    await room.create("a")
    await room.backend.put(Put(b"compact_rev_key", b"7"))
    began = room.world.clock.monotonic()
    await room.pods.fresh()
    assert room.world.clock.monotonic() - began < 0.01
    assert (await room.pods.list()).revision == room.backend.revision


@in_room
async def test_compaction_keeps_one_interval(room: Room) -> None:
    compactor = Compactor(room.backend, room.world, 300)
    compactor.start()
    await asyncio.sleep(290)
    await room.create("a")
    await asyncio.sleep(300)
    marked = room.backend.revision
    await room.create("b")
    assert room.backend.compact_revision <= 1
    await asyncio.sleep(310)
    assert room.backend.compact_revision == marked
    await compactor.stop()


@in_room
async def test_a_list_and_a_watch_from_it_never_miss_a_change(room: Room) -> None:
    """Whatever the interleaving: replaying the watch on the list gives the present state."""
    random = Random(4)

    async def churn() -> None:
        for _ in range(300):
            name = f"p{random.randrange(8)}"
            present = room.pods.get(room.pods.key("default", name))
            if present is None:
                await room.create(name, **{"in": str(random.randrange(2))})
            elif random.random() < 0.3:
                await room.delete(name)
            else:
                await room.change(name, **{"in": str(random.randrange(2)), "n": str(random.random())})
            await asyncio.sleep(random.random() * 0.01)

    async def follow(selected: bool) -> None:
        predicate = labelled if selected else None
        await asyncio.sleep(random.random())
        page = await room.pods.list("default", predicate=predicate)
        state = {i.key: i.raw for i in page.items}
        await asyncio.sleep(random.random() * 0.1)
        watcher = await room.pods.watch("default", page.revision, predicate=predicate)
        while batch := await watcher.next(2):
            for change in batch:
                assert change.item is not None
                assert (change.item.key in state) is (change.type != "ADDED")
                if change.type == "DELETED":
                    del state[change.item.key]
                else:
                    state[change.item.key] = change.item.raw
        watcher.close()
        now = await room.pods.list("default", predicate=predicate)
        assert state == {i.key: i.raw for i in now.items}

    await asyncio.gather(churn(), *(follow(n % 2 == 0) for n in range(12)))


@in_room
async def test_a_damaged_object_is_named_and_harms_no_other(room: Room) -> None:
    await room.create("good")
    watcher = await room.pods.watch(predicate=labelled)
    for n, value in enumerate((b"\xff\x00", b"5", b"{}", b'{"metadata":{}}', b"[" * 3000)):
        await room.backend.put(Put(b"/registry/pods/default/bad%d" % n, value))
    for n in range(5):
        item = room.pods.get(f"/registry/pods/default/bad{n}")
        assert item is not None
        with pytest.raises(ApiError, match=f"/registry/pods/default/bad{n} holds no object") as refused:
            _ = item.obj
        assert refused.value.code == 500
    with pytest.raises(ApiError, match="the selection failed"):
        await watcher.next(1)
    assert (await room.change("good", x="1")).revision == room.cache.revision
