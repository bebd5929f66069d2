"""Moving a control plane's data between stores: what arrives, and what is noticed."""

from __future__ import annotations

import pytest

from pilothouse.etcd.contract import Backend, Delete, Put, Range
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.etcd.migration import Migration, MigrationFailed, Span
from pilothouse.kit.world import World

ALL = Range(b"\0", b"\0")


async def store(*keys: str, value: bytes = b"v") -> EmbeddedBackend:
    backend = await open_backend(World(), NoLog())
    for key in keys:
        await backend.put(Put(key.encode(), value))
    return backend


def quiet(done: int) -> None:
    """No bar."""


async def migrate(migration: Migration) -> None:
    await migration.prepare()
    await migration.copy(quiet)
    await migration.verify(quiet)


async def contents(backend: Backend) -> dict[bytes, bytes]:
    return {kv.key: kv.value for kv in (await backend.range(ALL)).kvs}


async def test_the_keys_below_the_prefix_arrive_with_their_values() -> None:
    source = await store(*(f"/registry/pods/{i:04d}" for i in range(1000)), "/other/x")
    await source.put(Put(b"/registry/big", b"x" * 1_400_000))
    target = await store("/mine")
    told: list[int] = []
    migration = Migration(source, target)
    await migration.prepare()
    await migration.copy(told.append)
    await migration.verify(quiet)
    expected = await contents(source)
    del expected[b"/other/x"]
    assert await contents(target) == {**expected, b"/mine": b"v"}
    assert told[-1] == migration.total == 1001
    assert told == sorted(told)


async def test_the_whole_store_without_a_prefix() -> None:
    source, target = await store("a", "z", "\x7f"), await store()
    await migrate(Migration(source, target, Span.of_prefix(b"")))
    assert await contents(target) == await contents(source)


async def test_leases_come_with_the_time_that_remains() -> None:
    source, target = await store(), await store()
    await source.lease_grant(600, 7)
    await source.put(Put(b"/registry/a", b"", 7))
    await source.put(Put(b"/registry/b", b"", 7))
    await target.lease_grant(50, 7)
    migration = Migration(source, target)
    await migrate(migration)
    kvs = (await target.range(ALL)).kvs
    assert len({kv.lease for kv in kvs}) == migration.leases == 1
    lease = await target.lease_status(kvs[0].lease)
    assert lease.id != 7
    assert 590 <= lease.granted_ttl_s <= 600
    assert lease.keys == [b"/registry/a", b"/registry/b"]


async def test_a_target_that_has_keys_is_refused_or_emptied() -> None:
    source, target = await store("/registry/a"), await store("/registry/b", "/mine")
    with pytest.raises(MigrationFailed, match="1 keys below /registry/: give --overwrite"):
        await Migration(source, target).prepare()
    assert await contents(target) == {b"/registry/b": b"v", b"/mine": b"v"}
    await migrate(Migration(source, target, overwrite=True))
    assert await contents(target) == {b"/registry/a": b"v", b"/mine": b"v"}


async def test_an_empty_source_is_a_mistake() -> None:
    with pytest.raises(MigrationFailed, match="no keys below /registry/"):
        await Migration(await store("/other"), await store()).prepare()


@pytest.mark.parametrize(
    "change",
    [
        Put(b"/registry/new", b""),
        Put(b"/registry/a", b"other"),
        Delete(b"/registry/a"),
        Delete(b"/registry/b"),
    ],
)
async def test_a_source_that_is_written_to_is_noticed(change: Put | Delete) -> None:
    source, target = await store("/registry/a", "/registry/b"), await store()
    migration = Migration(source, target)
    await migration.prepare()
    await migration.copy(quiet)
    await (source.put(change) if isinstance(change, Put) else source.delete(change))
    with pytest.raises(MigrationFailed, match="written to meanwhile"):
        await migration.verify(quiet)


async def test_writes_to_the_source_beside_the_prefix_do_not_matter() -> None:
    source, target = await store("/registry/a"), await store()
    migration = Migration(source, target)
    await migration.prepare()
    await migration.copy(quiet)
    await source.put(Put(b"/elsewhere", b""))
    await migration.verify(quiet)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Put(b"/registry/a0", b""), "/registry/a0 is in the target alone"),
        (Put(b"/registry/z", b""), "/registry/z is in the target alone"),
        (Put(b"/registry/a", b"other"), "/registry/a has another value"),
        (Delete(b"/registry/b"), "/registry/b is missing"),
    ],
)
async def test_a_copy_that_differs_is_noticed(change: Put | Delete, text: str) -> None:
    source, target = await store("/registry/a", "/registry/b"), await store()
    migration = Migration(source, target)
    await migration.prepare()
    await migration.copy(quiet)
    await (target.put(change) if isinstance(change, Put) else target.delete(change))
    with pytest.raises(MigrationFailed, match=text):
        await migration.verify(quiet)
