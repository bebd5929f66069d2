"""Snapshots of the embedded store, and stores that are restored from them."""

from __future__ import annotations

import asyncio
import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.etcd.contract import Compacted, Delete, KeyValue, Op, Put, Range, StoreError, Txn
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog, SqliteLog
from pilothouse.etcd.server.auth.accounts import Access, Accounts, Permission, User, decoded
from pilothouse.etcd.server.auth.ranges import KeyRange
from pilothouse.etcd.snapshots import file as snapshot_file
from pilothouse.etcd.snapshots.bump import bump
from pilothouse.etcd.snapshots.errors import DamagedSnapshot
from pilothouse.etcd.snapshots.restore import BUMP, restore
from pilothouse.etcd.snapshots.save import save as save_pieces
from pilothouse.etcd.snapshots.store import in_memory
from pilothouse.kit.world import World

ALL = Range(b"\0", b"\0")
KEYS = [b"k%d" % i for i in range(8)]


async def save(backend: EmbeddedBackend, path: Path) -> None:
    await save_pieces(backend.snapshot(), path)


async def play(backend: EmbeddedBackend, seed: int, count: int) -> None:
    """Transactions over a few keys; now and then a compaction."""
    chance = random.Random(seed)
    for _ in range(count):
        keys = chance.sample(KEYS, chance.randint(1, 4))
        ops: list[Op] = [
            Put(k, b"v" * chance.randint(0, 5)) if chance.random() < 0.7 else Delete(k) for k in keys
        ]
        if chance.random() < 0.1:
            # A deletion to the end of the key space is all that a put may stand beside (`mvcc.once`).
            ops = [Delete(KEYS[4], b"\0"), Put(KEYS[5], b"again"), Put(KEYS[6], b"again")]
        await backend.txn(Txn((), ops))
        if chance.random() < 0.1 and backend.revision > backend.compact_revision + 1:
            await backend.compact(chance.randint(backend.compact_revision + 1, backend.revision))


async def history(backend: EmbeddedBackend) -> dict[int, list[KeyValue]]:
    """The keys at every revision that can still be read."""
    first = max(backend.compact_revision, 1)
    return {
        r: (await backend.range(ALL._replace(revision=r))).kvs for r in range(first, backend.revision + 1)
    }


def restored(path: Path, data_dir: Path, bumped: int = BUMP) -> SqliteLog:
    with snapshot_file.reading(path) as database:
        restore(database, data_dir, bumped)
    return SqliteLog(data_dir / "store")


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.booleans())
def test_a_restored_store_has_the_same_history(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, durable: bool
) -> None:
    async def scenario() -> None:
        home = tmp_path_factory.mktemp("snapshot")
        backend = await open_backend(World(), SqliteLog(home / "old") if durable else NoLog())
        await play(backend, seed, count)
        await save(backend, home / "copy.db")
        copy = await open_backend(World(), restored(home / "copy.db", home / "new", 0))
        try:
            assert (copy.revision, copy.compact_revision) == (backend.revision, backend.compact_revision)
            assert await history(copy) == await history(backend)
            assert await copy.hash_kv() == await backend.hash_kv()
        finally:
            await copy.close()
            await backend.close()

    asyncio.run(scenario())


async def test_what_is_written_meanwhile_is_not_in_it(tmp_path: Path) -> None:
    """Nor is a compaction."""
    backend = await open_backend(World(), SqliteLog(tmp_path / "old"))
    await play(backend, 1, 50)
    expected, revision = await history(backend), backend.revision
    pieces = backend.snapshot()
    await play(backend, 2, 20)
    await backend.compact(backend.revision)
    assert await save_pieces(pieces, tmp_path / "copy.db") == pieces.size
    # What the compaction left on the disk for the copy goes with the next one.
    await backend.put(Put(b"k0", b"last"))
    await backend.compact(backend.revision)
    live = (await backend.range(ALL)).count
    await backend.close()
    log = SqliteLog(tmp_path / "old")
    assert len(list(log.load())) == live
    log.close()
    copy = await open_backend(World(), restored(tmp_path / "copy.db", tmp_path / "new", 0))
    assert copy.revision == revision
    assert await history(copy) == expected
    await copy.close()


async def test_two_snapshots_at_a_time_and_one_that_is_forgotten(tmp_path: Path) -> None:
    backend = await open_backend(World(), SqliteLog(tmp_path / "old"))
    await play(backend, 1, 50)
    expected = (await backend.range(ALL)).kvs
    backend.snapshot()  # and never read
    await asyncio.gather(
        save(backend, tmp_path / "a.db"), save(backend, tmp_path / "b.db"), play(backend, 2, 20)
    )
    await backend.close()
    assert (tmp_path / "a.db").read_bytes() == (tmp_path / "b.db").read_bytes()
    copy = await open_backend(World(), restored(tmp_path / "a.db", tmp_path / "new"))
    assert (await copy.range(ALL)).kvs == expected
    await copy.close()


async def test_writes_go_on_while_a_snapshot_is_made(tmp_path: Path) -> None:
    backend = await open_backend(World(), SqliteLog(tmp_path / "old"))
    for begin in range(0, 50_000, 1000):
        await backend.txn(Txn((), [Put(b"key%d" % i, b"v" * 200) for i in range(begin, begin + 1000)]))
    writes = 0
    saving = asyncio.create_task(save(backend, tmp_path / "copy.db"))
    while not saving.done():
        await backend.put(Put(b"beside", b"%d" % writes))
        writes += 1
    await saving
    await backend.close()
    assert writes > 10, "as many as there are slices of the log at least"
    assert snapshot_file.status(tmp_path / "copy.db").revision == 51


async def test_restoring_moves_revisions_up_and_forgets_what_was(tmp_path: Path) -> None:
    backend = await open_backend(World(), SqliteLog(tmp_path / "old"))
    await play(backend, 3, 40)
    await backend.lease_grant(60, 77)
    await backend.put(Put(b"leased", b"x", 77))
    kvs, revision = (await backend.range(ALL)).kvs, backend.revision
    await save(backend, tmp_path / "copy.db")
    await backend.close()
    copy = await open_backend(World(), restored(tmp_path / "copy.db", tmp_path / "new"))
    assert copy.revision == copy.compact_revision == revision + 1_000_000_000
    assert (await copy.range(ALL)).kvs == kvs
    lease = await copy.lease_status(77)
    assert (lease.granted_ttl_s, lease.keys) == (60, [b"leased"])
    with pytest.raises(Compacted):
        await copy.watch(b"\0", b"\0", revision).next()
    assert (await copy.put(Put(b"a", b"1"))).revision == revision + BUMP + 1
    await copy.close()


async def test_users_and_roles_come_back(tmp_path: Path) -> None:
    accounts = Accounts(
        True,
        9,
        {"root": User(b"$2a$hash", ("root",)), "tls": User(b"", (), True)},
        {"root": (), "reader": (Permission(Access.READ, KeyRange(b"a", b"\0")),)},
    )
    backend = await open_backend(World(), NoLog())
    await backend.keep_record("auth", accounts.encoded())
    await save(backend, tmp_path / "copy.db")
    await backend.close()
    copy = await open_backend(World(), restored(tmp_path / "copy.db", tmp_path / "new"))
    assert decoded(await copy.record("auth")) == accounts
    await copy.close()


async def test_a_store_is_restored_into_an_empty_directory_only(tmp_path: Path) -> None:
    backend = await open_backend(World(), NoLog())
    await backend.put(Put(b"a", b"1"))
    path = tmp_path / "copy.db"
    await save(backend, path)
    await backend.close()
    (tmp_path / "new" / "pki").mkdir(parents=True)
    restored(path, tmp_path / "new").close()
    with pytest.raises(StoreError, match="not empty"):
        restored(path, tmp_path / "new")


async def test_a_snapshot_is_its_owners_and_whole_or_not_there(tmp_path: Path) -> None:
    backend = await open_backend(World(), NoLog())
    await save(backend, tmp_path / "copy.db")
    await backend.close()
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    with pytest.raises(RuntimeError), snapshot_file.writing(tmp_path / "other.db") as out:
        out.write(b"half")
        raise RuntimeError
    assert os.listdir(tmp_path) == ["copy.db"]


@pytest.fixture
async def snapshot(tmp_path: Path) -> Path:
    backend = await open_backend(World(), NoLog())
    await play(backend, 4, 50)
    await save(backend, tmp_path / "copy.db")
    await backend.close()
    return tmp_path / "copy.db"


def test_a_damaged_snapshot_is_refused_and_leaves_nothing(snapshot: Path, tmp_path: Path) -> None:
    whole = snapshot.read_bytes()
    chance = random.Random(5)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        snapshot.write_bytes(damaged)
        with pytest.raises(DamagedSnapshot, match="damaged"):
            restored(snapshot, tmp_path / "new")
    for size in (0, 31, 32, 4096, len(whole) - 1, len(whole) - 512, len(whole) - 4096):
        snapshot.write_bytes(whole[:size])
        with pytest.raises(DamagedSnapshot, match=str(snapshot)):
            restored(snapshot, tmp_path / "new")
    assert not (tmp_path / "new" / "store").exists()


def test_a_copied_database_is_read_without_its_checksum_if_one_says_so(
    snapshot: Path, tmp_path: Path
) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:-32])
    with pytest.raises(DamagedSnapshot, match="--skip-hash-check"), snapshot_file.reading(snapshot):
        pass
    with snapshot_file.reading(snapshot, check_hash=False) as database:
        assert restore(database, tmp_path / "new").rows > 0


async def test_a_snapshot_with_higher_revisions_restores_like_a_bumped_one(
    snapshot: Path, tmp_path: Path
) -> None:
    revision = bump(snapshot, tmp_path / "bumped.db", 5000)
    assert snapshot_file.status(tmp_path / "bumped.db").revision == revision
    raised = await open_backend(World(), restored(tmp_path / "bumped.db", tmp_path / "a", 0))
    plain = await open_backend(World(), restored(snapshot, tmp_path / "b", 5000))
    assert raised.revision == raised.compact_revision == plain.revision == revision
    assert (await raised.range(ALL)).kvs == (await plain.range(ALL)).kvs
    await raised.close()
    await plain.close()


async def test_a_snapshot_that_nobody_reads_is_given_up(tmp_path: Path) -> None:
    backend = await open_backend(World(), SqliteLog(tmp_path / "old"))
    await backend.put(Put(b"a", b"1" * 1_000_000))
    pieces = backend.snapshot()
    assert await anext(pieces)
    await pieces.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    await backend.close()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_left_of_a_damaged_snapshot_is_read_or_refused(
    damaging: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """With --skip-hash-check nothing stands between the damage and the reader."""
    home = tmp_path_factory.mktemp("damaged")
    damaged = bytearray(damaging)
    for _ in range(data.draw(st.integers(1, 12))):
        # Anywhere, also in the rows.
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    (home / "copy.db").write_bytes(damaged)
    try:
        with snapshot_file.reading(home / "copy.db", check_hash=False) as database:
            restore(database, home / "new")
            in_memory(database, World())
    except StoreError as error:
        assert str(error)


@pytest.fixture(scope="module")
def damaging(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "copy.db"

    async def make() -> None:
        backend = await open_backend(World(), NoLog())
        await backend.lease_grant(60, 5)
        await backend.put(Put(b"leased", b"", 5))
        await play(backend, 6, 60)
        await save(backend, path)
        await backend.close()

    asyncio.run(make())
    return path.read_bytes()
