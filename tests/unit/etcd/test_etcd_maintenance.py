"""What an operator does with an embedded store: records, sizes, defragmentation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pilothouse.etcd.contract import Put, Range, StoreClosed, StoreUnavailable
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog, SqliteLog
from pilothouse.kit.world import World


async def _open(directory: Path) -> EmbeddedBackend:
    return await open_backend(World(), SqliteLog(directory))


async def test_a_record_is_there_after_a_restart_and_has_no_revision(tmp_path: Path) -> None:
    store = await _open(tmp_path)
    assert await store.record("auth") == b""
    await store.keep_record("auth", b"users")
    await store.keep_record("alarms", b"1")
    await store.keep_record("alarms", b"")
    assert store.revision == 1
    await store.close()
    store = await _open(tmp_path)
    assert await store.record("auth") == b"users"
    assert await store.record("alarms") == b""
    await store.close()
    with pytest.raises(StoreClosed):
        await store.keep_record("auth", b"more")


async def test_a_record_that_the_disk_refused_was_never_there() -> None:
    class Full(NoLog):
        def commit(self) -> None:
            raise StoreUnavailable("no")

    store = await open_backend(World(), Full())
    with pytest.raises(StoreUnavailable):
        await store.keep_record("auth", b"users")
    assert await store.record("auth") == b""


async def test_defragment_gives_space_back_while_writes_wait(tmp_path: Path) -> None:
    store = await _open(tmp_path)
    for _ in range(40):
        await store.put(Put(b"a", b"x" * 50_000))
    grown = await store.status()
    assert grown.db_size > 2_000_000
    await store.compact(store.revision)
    compacted = await store.status()
    assert compacted.db_size == grown.db_size
    assert compacted.db_size_in_use < 200_000
    results = await asyncio.gather(
        store.put(Put(b"b", b"before")), store.defragment(), store.put(Put(b"c", b"after"))
    )
    assert results[2] is not None
    assert (await store.status()).db_size < 200_000
    assert (tmp_path / "store.db").stat().st_size < 300_000
    assert (await store.range(Range(b"\0", b"\0"))).count == 3
    await store.close()
    store = await _open(tmp_path)
    assert (await store.range(Range(b"\0", b"\0"))).count == 3
    await store.close()


async def test_defragment_that_the_disk_refuses_changes_nothing(tmp_path: Path) -> None:
    class Refusing(SqliteLog):
        def defragment(self) -> None:
            raise StoreUnavailable("no room for a copy")

    store = await open_backend(World(), Refusing(tmp_path))
    await store.put(Put(b"a", b"1"))
    with pytest.raises(StoreUnavailable, match="no room"):
        await store.defragment()
    await store.put(Put(b"a", b"2"))
    await store.close()
    store = await _open(tmp_path)
    assert (await store.range(Range(b"a"))).kvs[0].value == b"2"
    await store.close()


async def test_an_ephemeral_store_has_a_size_too() -> None:
    store = await open_backend(World(), NoLog())
    await store.put(Put(b"a", b"x" * 1000))
    assert (await store.status()).db_size > 1000
    await store.defragment()
