"""What several servers on one store agree on by keys of their own: compaction, who is alive, which numbers are taken.
In virtual time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from functools import wraps

import msgspec
import pytest

from pilothouse.api.errors import ApiError
from pilothouse.apiserver.storage import keys
from pilothouse.apiserver.storage.compactor import COMPACT_REV_KEY, Compactor
from pilothouse.apiserver.storage.master_leases import MasterLeases
from pilothouse.apiserver.storage.range_allocation import RangeAllocation
from pilothouse.etcd.contract import Compacted, Put, Range
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world
from tests.shared_store import Client

Test = Callable[[EmbeddedBackend, World], Awaitable[None]]


def on_a_store(test: Test) -> Callable[[], None]:
    async def run() -> None:
        world = simulated_world(1)
        store = await open_backend(world, NoLog())
        try:
            await test(store, world)
        finally:
            await store.close()

    @wraps(test)
    def wrapper() -> None:
        run_virtual(run())

    del wrapper.__wrapped__  # type: ignore[attr-defined]
    return wrapper


@on_a_store
async def test_of_two_servers_one_compacts_in_an_interval(store: EmbeddedBackend, world: World) -> None:
    compactors = [Compactor(store, world, 300) for _ in range(2)]
    for compactor in compactors:
        compactor.start()
    for n in range(11):
        await store.put(Put(b"a", str(n).encode()))
        await asyncio.sleep(100)
    for compactor in compactors:
        await compactor.stop()
    [kv] = (await store.range(Range(COMPACT_REV_KEY))).kvs
    assert kv.version == 3, "each interval has one compaction, whoever does it"
    assert int(kv.value) == store.compact_revision
    newest = (await store.range(Range(b"a"))).kvs[0]
    with pytest.raises(Compacted):
        await store.range(Range(b"a", revision=store.compact_revision - 1))
    assert (await store.range(Range(b"a", revision=newest.mod_revision))).kvs == [newest]


@on_a_store
async def test_a_server_that_comes_later_goes_on_where_another_ended(
    store: EmbeddedBackend, world: World
) -> None:
    for _ in range(2):
        compactor = Compactor(store, world, 300)
        compactor.start()
        await store.put(Put(b"a", b"1"))
        await asyncio.sleep(1000)
        await compactor.stop()
    [kv] = (await store.range(Range(COMPACT_REV_KEY))).kvs
    assert kv.version >= 4
    assert int(kv.value) == store.compact_revision > 1


@on_a_store
async def test_compaction_goes_on_after_the_store_was_away(store: EmbeddedBackend, world: World) -> None:
    client = Client(store)
    compactor = Compactor(client, world, 300)  # type: ignore[arg-type]
    compactor.start()
    client.away = True
    await asyncio.sleep(400)
    client.away = False
    await asyncio.sleep(1000)
    await compactor.stop()
    assert store.compact_revision > 0
    assert (await store.range(Range(COMPACT_REV_KEY))).kvs


@on_a_store
async def test_a_server_is_alive_as_long_as_it_says_so(store: EmbeddedBackend, world: World) -> None:
    a, b = (MasterLeases(store, keys.ROOT) for _ in range(2))
    await a.refresh("10.0.0.1")
    await b.refresh("10.0.0.2")
    for _ in range(4):
        assert await a.addresses() == ["10.0.0.1", "10.0.0.2"]
        await asyncio.sleep(10)
        await a.refresh("10.0.0.1")
        await b.refresh("10.0.0.2")
    await asyncio.sleep(10)
    await a.refresh("10.0.0.1")
    await asyncio.sleep(8)
    assert await a.addresses() == ["10.0.0.1"]
    await b.refresh("10.0.0.2")
    assert await a.addresses() == ["10.0.0.1", "10.0.0.2"]
    await a.remove("10.0.0.1")
    assert await b.addresses() == ["10.0.0.2"]


@on_a_store
async def test_a_server_that_takes_over_an_address_keeps_it(store: EmbeddedBackend, world: World) -> None:
    old, new = (MasterLeases(store, keys.ROOT) for _ in range(2))
    await old.refresh("10.0.0.1")
    await new.refresh("10.0.0.1")
    await old.remove("10.0.0.1")
    assert await new.addresses() == ["10.0.0.1"]


def _range(store: EmbeddedBackend) -> RangeAllocation:
    return RangeAllocation(store, "/registry/ranges/servicenodeports", 30000, 32767)


@on_a_store
async def test_numbers_are_taken_once_whoever_takes_them(store: EmbeddedBackend, world: World) -> None:
    a, b = _range(store), _range(store)

    async def take(book: RangeAllocation, number: int) -> bool:
        return not await book.take([number])

    taken = await asyncio.gather(*(take(book, 30000 + n) for n in range(50) for book in (a, b)))
    assert sum(taken) == 50
    assert await a.taken() == set(range(30000, 30050))
    assert await b.take([30050, 30007]) == {30007}, "all or none"
    assert 30050 not in await a.taken()
    await b.give_back([30007])
    assert await a.take([30050, 30007]) == set()
    assert await a.add([30007, 30099, 80]) == 1


@on_a_store
async def test_numbers_are_kept_as_upstream_keeps_them(store: EmbeddedBackend, world: World) -> None:
    """Bit n of a big-endian number is the range's nth (allocator.AllocationBitmap.Snapshot: big.Int.Bytes)."""
    await _range(store).take([30000, 30009])
    value = msgspec.json.decode((await store.range(Range(b"/registry/ranges/servicenodeports"))).kvs[0].value)
    assert (value["kind"], value["apiVersion"], value["range"]) == ("RangeAllocation", "v1", "30000-32767")
    assert base64.b64decode(value["data"]) == b"\x02\x01"


@on_a_store
async def test_a_range_says_so_when_the_store_is_away(store: EmbeddedBackend, world: World) -> None:
    client = Client(store)
    client.away = True
    with pytest.raises(ApiError, match="etcdserver: request timed out"):
        await _range(client).take([30000])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flag", "root"),
    [("/registry", "/registry/"), ("mine", "/mine/"), ("/a/b/", "/a/b/"), ("/", "/"), ("", "/")],
)
def test_the_root_of_all_keys(flag: str, root: str) -> None:
    assert keys.root(flag) == root
