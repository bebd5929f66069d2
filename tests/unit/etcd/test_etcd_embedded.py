"""Durability: what was acknowledged survives, what was refused was never there."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pilothouse.etcd.contract import (
    Compacted,
    Compare,
    Delete,
    EventType,
    InvalidRequest,
    KeyValue,
    Put,
    Range,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    Target,
    Txn,
    prefix_end,
)
from pilothouse.etcd.embedded import backend as embedded
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import Batch, NoLog, SqliteLog
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import World, simulated_world


class FaultyLog(NoLog):
    """Refuses to commit while `fault` is set."""

    def __init__(self) -> None:
        self.fault = ""
        self.rows: list[KeyValue] = []
        self._staged: list[KeyValue] = []

    def stage(self, batch: Batch) -> None:
        self._staged = list(batch.puts)

    def commit(self) -> None:
        if self.fault:
            raise StoreUnavailable(self.fault)
        self.rows += self._staged


async def _open(directory: Path) -> EmbeddedBackend:
    return await open_backend(World(), SqliteLog(directory))


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    store = await _open(tmp_path / "s")
    lease = await store.lease_grant(100)
    await store.txn(Txn((), (Put(b"z", b"1"), Put(b"a", b"1"))))
    await store.put(Put(b"a", b"2", lease=lease.id))
    await store.delete(Delete(b"z"))
    before = (await store.range(Range(b"\0", b"\0"))).kvs
    await store.close()

    store = await _open(tmp_path / "s")
    assert store.revision == 4
    assert (await store.range(Range(b"\0", b"\0"))).kvs == before
    assert (await store.range(Range(b"z", revision=3))).count == 1
    assert (await store.lease_status(lease.id)).keys == [b"a"]
    watch = store.watch(b"\0", b"\0", 2)
    events = await watch.next()
    assert [(e.type, e.kv.key) for e in events] == [
        (EventType.PUT, b"z"),
        (EventType.PUT, b"a"),
        (EventType.PUT, b"a"),
        (EventType.DELETE, b"z"),
    ]
    await store.put(Put(b"b", b"1"))
    assert store.revision == 5
    await store.close()


async def test_compaction_frees_rows_and_outlives_a_restart(tmp_path: Path) -> None:
    store = await _open(tmp_path / "s")
    for n in range(20):
        await store.put(Put(b"a%d" % (n % 2), b"%d" % n))
    await store.compact(20)
    assert store.history_bytes == 2
    await store.close()
    with closing(sqlite3.connect(tmp_path / "s" / "store.db")) as db:
        rows = db.execute("SELECT count(*) FROM log").fetchone()[0]
    assert rows == 3
    store = await _open(tmp_path / "s")
    assert (store.revision, store.compact_revision) == (21, 20)
    assert [kv.value for kv in (await store.range(Range(b"a", b"b"))).kvs] == [b"18", b"19"]
    await store.close()


async def test_a_second_process_is_told(tmp_path: Path) -> None:
    store = await _open(tmp_path / "s")
    with pytest.raises(StoreError, match="in use by another process; stop it or choose another"):
        SqliteLog(tmp_path / "s")
    await store.close()
    await (await _open(tmp_path / "s")).close()


async def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    store = await _open(tmp_path / "s")
    await store.put(Put(b"a", b"secret"))
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    assert {stat.S_IMODE(f.stat().st_mode) for f in (tmp_path / "s").iterdir()} == {0o600}
    await store.close()


def test_another_format_is_refused(tmp_path: Path) -> None:
    SqliteLog(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as db, db:
        db.execute("UPDATE meta SET number = 99 WHERE name = 'format'")
    for _ in range(2):  # the refusal gives the lock back
        with pytest.raises(StoreError, match="has format 99, this version reads 1: upgrade Pilothouse"):
            SqliteLog(tmp_path)


@pytest.mark.parametrize("page", range(1, 9))
async def test_a_damaged_file_is_told(tmp_path: Path, page: int) -> None:
    store = await _open(tmp_path)
    await store.lease_grant(100)
    for n in range(40):
        await store.put(Put(b"k%d" % n, b"v" * 500))
    await store.close()
    with (tmp_path / "store.db").open("r+b") as file:
        file.seek(page * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match=r"cannot read the store at .*malformed; bring back a copy"):
        await _open(tmp_path)


@pytest.mark.parametrize("cut", [1, 5000, 100_000])
async def test_of_a_torn_log_what_was_whole_is_there(tmp_path: Path, cut: int) -> None:
    """The end of the write-ahead log is missing, or is garbage, as after a power cut in the middle of a write."""
    for _ in _killed_writer(tmp_path, lines=60):
        pass
    wal = tmp_path / "s" / "store.db-wal"
    os.truncate(wal, max(wal.stat().st_size - cut, 4200))
    with wal.open("ab") as file:
        file.write(os.urandom(cut))
    store = await _open(tmp_path / "s")
    found = (await store.range(Range(b"\0", b"\0"))).kvs
    assert store.revision == 1 + len(found), "no revision is missing in the middle"
    before = store.revision
    await store.put(Put(b"more", b"1"))
    assert store.revision == before + 1
    await store.close()


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="cannot read the store at"):
        SqliteLog(tmp_path)


async def test_a_refused_commit_never_happened_and_the_next_one_tries_again() -> None:
    log = FaultyLog()
    store = await open_backend(World(), log)
    await store.put(Put(b"a", b"1"))
    watch = store.watch(b"\0", b"\0", 2)
    log.fault = "database or disk is full"
    results = await asyncio.gather(
        store.put(Put(b"a", b"2")),
        store.txn(Txn((Compare(b"a", Target.VERSION, "=", 2),), (Put(b"b", b"built on it"),))),
        store.lease_grant(10, 5),
        return_exceptions=True,
    )
    assert all(isinstance(r, StoreUnavailable) for r in results)
    assert store.revision == 2
    assert [kv.value for kv in (await store.range(Range(b"\0", b"\0"))).kvs] == [b"1"]
    assert await store.health() == "database or disk is full"
    assert await store.leases() == []
    log.fault = ""
    assert (await store.put(Put(b"c", b"1"))).revision == 3
    assert await store.health() == ""
    assert [e.kv.key for e in await watch.next()] == [b"a", b"c"]
    assert [kv.mod_revision for kv in log.rows] == [2, 3]
    await store.close()


async def test_a_lease_whose_end_was_refused_ends_later() -> None:
    log = FaultyLog()
    store = await open_backend(World(), log)
    await store.lease_grant(10, 5)
    await store.put(Put(b"a", b"1", lease=5))
    log.fault = "I/O error"
    with pytest.raises(StoreUnavailable):
        await store.lease_revoke(5)
    assert await store.leases() == [5]
    log.fault = ""
    await store.lease_revoke(5)
    assert (await store.range(Range(b"a"))).count == 0
    await store.close()


async def test_a_full_disk_refuses_writes_until_there_is_room(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "s")
    store = await open_backend(World(), log)
    pages = log._db.execute("PRAGMA page_count").fetchone()[0]
    log._db.execute(f"PRAGMA max_page_count = {pages + 20}")
    written = 0
    with pytest.raises(StoreUnavailable, match=r"^etcdserver: mvcc: database space exceeded$"):
        for n in range(1000):
            await store.put(Put(b"k%03d" % n, b"x" * 3000))
            written += 1
    assert 0 < written < 40
    assert (await store.range(Range(b"k", b"l"))).count == written
    log._db.execute("PRAGMA max_page_count = 100000")
    await store.put(Put(b"more", b"x" * 9000))
    await store.close()
    store = await _open(tmp_path / "s")
    assert (await store.range(Range(b"k", b"l"))).count == written
    assert (await store.range(Range(b"more"))).count == 1
    await store.close()


async def test_a_busy_loop_does_not_starve_the_writer(tmp_path: Path) -> None:
    store = await _open(tmp_path / "s")
    stopped = False

    async def busy() -> None:
        while not stopped:
            until_s = time.perf_counter() + 150e-6
            while time.perf_counter() < until_s:
                pass
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(busy()) for _ in range(4)]
    began_s = time.perf_counter()
    for n in range(30):
        await store.put(Put(b"k%d" % n, b"v"))
    assert time.perf_counter() - began_s < 3
    stopped = True
    await asyncio.gather(*tasks)
    await store.close()


def test_leases_run_out_in_virtual_time() -> None:
    async def main() -> None:
        store = await open_backend(simulated_world(1), NoLog())
        lease = await store.lease_grant(3600)
        await store.put(Put(b"event", b"1", lease=lease.id))
        await asyncio.sleep(3000)
        await store.lease_keep_alive(lease.id)
        await asyncio.sleep(3590)
        assert (await store.range(Range(b"event"))).count == 1
        assert (await store.lease_status(lease.id)).ttl_s == 10
        await asyncio.sleep(12)
        assert (await store.range(Range(b"event"))).count == 0
        assert await store.leases() == []
        await store.close()

    run_virtual(main())


_WRITER = """
import asyncio, sys
from pathlib import Path
from pilothouse.etcd.contract import Put
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.kit.world import World

async def main():
    store = await open_backend(World(), SqliteLog(Path(sys.argv[1])))
    async def write(writer):
        n = 0
        while True:
            await store.put(Put(b"%d/%06d" % (writer, n), b"v" * 500))
            sys.stdout.write(f"{writer} {n}\\n")
            sys.stdout.flush()
            n += 1
    await asyncio.gather(*(write(w) for w in range(8)))

asyncio.run(main())
"""


async def test_kill_minus_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: dict[int, int] = {}
    for round_ in range(3):
        for line in _killed_writer(tmp_path, lines=200 + 130 * round_):
            writer, n = map(int, line.split())
            acknowledged[writer] = max(acknowledged.get(writer, -1), n)
        store = await _open(tmp_path / "s")
        for writer, n in acknowledged.items():
            prefix = b"%d/" % writer
            found = (await store.range(Range(prefix, prefix_end(prefix)))).kvs
            assert len(found) > n
            assert [kv.key for kv in found] == [b"%d/%06d" % (writer, i) for i in range(len(found))]
        await store.close()


def _killed_writer(tmp_path: Path, lines: int) -> Iterator[str]:
    """What a writer said before it was killed in the middle of its work."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "s")],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    assert process.stdout is not None
    for _ in range(lines):
        line = process.stdout.readline()
        assert line, "the writer ended by itself"
        yield line
    process.send_signal(signal.SIGKILL)
    rest = process.stdout.read()
    process.wait()
    yield from rest.splitlines()[: rest.count("\n")]


# -- beside the keys, and slow watches ------------------------------------------------------------------------


async def test_records_are_durable_and_no_keys(tmp_path: Path) -> None:
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    assert await backend.record("users") == b""
    await backend.keep_record("users", b"\0root")
    await backend.keep_record("alarms", b"x")
    await backend.keep_record("alarms", b"")
    assert backend.revision == 1
    await backend.close()
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    assert (await backend.record("users"), await backend.record("alarms")) == (b"\0root", b"")
    await backend.close()
    with pytest.raises(StoreClosed):
        await backend.keep_record("users", b"")


async def test_status_tells_the_size(tmp_path: Path) -> None:
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    empty = await backend.status()
    assert 0 < empty.db_size_in_use <= empty.db_size
    for n in range(200):
        await backend.put(Put(b"a", b"%d" % n * 5000))
    full = await backend.status()
    assert full.db_size > empty.db_size + 1_000_000
    await backend.compact(backend.revision)
    compacted = await backend.status()
    assert compacted.db_size == full.db_size
    assert compacted.db_size_in_use < full.db_size_in_use / 10
    await backend.close()


async def test_asking_for_the_size_says_nothing_of_a_full_disk(tmp_path: Path) -> None:
    """What commits nothing always fits."""
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    backend._fault = "full"
    assert (await backend.status()).errors == ("full",)
    assert await backend.health() == "full"
    await backend.put(Put(b"a", b""))
    assert await backend.health() == ""
    await backend.close()


async def test_a_key_deleted_and_put_in_one_revision_outlives_compaction(tmp_path: Path) -> None:
    """Both rows have one revision and one key: forgetting the tombstone must spare the other."""
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    await backend.put(Put(b"a", b"old"))
    await backend.txn(Txn((), (Delete(b"a", b"\0"), Put(b"a", b"new"))))
    await backend.put(Put(b"b", b""))
    await backend.compact(backend.revision)
    await backend.close()
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    (kv,) = (await backend.range(Range(b"a"))).kvs
    assert (kv.value, kv.create_revision, kv.version) == (b"new", 3, 1)
    await backend.close()


async def test_a_watch_that_nobody_reads_goes_on_from_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_EVENTS_WAITING_MAX", 5)
    monkeypatch.setattr(embedded, "_PAGE_EVENTS", 3)
    backend = await open_backend(World(), NoLog())
    watch = backend.watch(b"a", b"b")
    for n in range(30):
        await backend.txn(Txn((), (Put(b"a%d" % n, b""), Put(b"b", b""), Put(b"aa", b""))))
        assert len(watch._events) <= 6
    found: list[tuple[int, bytes]] = []
    while len(found) < 60:
        assert watch.progress_revision == 1 + len(found) // 2
        batch = await watch.next()
        found += [(e.kv.mod_revision, e.kv.key) for e in batch]
        assert batch[-1].kv.key == b"aa"  # whole revisions
    assert found == [(n + 2, key) for n in range(30) for key in (b"a%d" % n, b"aa")]
    await backend.put(Put(b"a", b"live"))
    assert [e.kv.value for e in await watch.next()] == [b"live"]
    await backend.close()


async def test_a_watch_that_is_too_slow_for_history_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_EVENTS_WAITING_MAX", 5)
    backend = await open_backend(World(), NoLog())
    watch = backend.watch(b"a")
    for _i in range(20):
        await backend.put(Put(b"a", b""))
    await backend.compact(15)
    for _again in range(2):
        with pytest.raises(Compacted):
            await watch.next()
    assert not backend._watches
    await backend.close()


async def test_the_history_of_a_deleted_range_is_dropped_row_by_row(tmp_path: Path) -> None:
    """All tombstones are of one revision: looking for each among all of them took minutes."""
    store = await _open(tmp_path)
    keys = [b"k%06d" % i for i in range(20_000)]
    for i in range(0, len(keys), 1000):
        await store.txn(Txn((), [Put(key, b"v") for key in keys[i : i + 1000]]))
    await store.delete(Delete(b"k", b"l"))
    await store.put(Put(b"other", b"v"))
    begun = time.process_time()
    await store.compact(store.revision)
    assert time.process_time() - begun < 5
    await store.close()
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        assert db.execute("SELECT key FROM log").fetchall() == [(b"other",)]


async def test_more_keys_than_a_revision_has_places_are_not_changed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would have taken the places of the next revision, and its writes would have failed for ever."""
    monkeypatch.setattr("pilothouse.etcd.mvcc.store.PLACE_MASK", 3)
    store = await _open(tmp_path)
    await store.txn(Txn((), [Put(b"k%d" % i, b"v") for i in range(4)]))
    await store.put(Put(b"k4", b"v"))
    with pytest.raises(InvalidRequest, match="delete the range in parts"):
        await store.delete(Delete(b"k", b"l"))
    assert (await store.delete(Delete(b"k", b"k3"))).deleted == 3
    assert (await store.delete(Delete(b"k", b"l"))).deleted == 2
    await store.close()


@pytest.mark.parametrize("turns", range(5))
async def test_a_writer_cancelled_at_any_moment_of_a_commit_ends_when_it_is_over(turns: int) -> None:
    """Cancelled before, between and after a commit: never for good."""
    store = await open_backend(World(), NoLog())
    writer = asyncio.create_task(store.put(Put(b"a", b"1")))
    for _ in range(turns):
        await asyncio.sleep(0)
    writer.cancel()
    async with asyncio.timeout(5):
        await asyncio.wait((writer,))
    kept = await store.range(Range(b"a"))
    assert [kv.value for kv in kept.kvs] == ([b"1"] if turns else [])
    await store.close()


async def test_a_cancelled_writer_hears_of_a_commit_in_the_same_turn() -> None:
    """The commit comes between his cancellation and his waking up."""
    store = await open_backend(World(), NoLog())
    writer = asyncio.create_task(store.put(Put(b"a", b"1")))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(writer.cancel)
    store._start_writing()
    writer.cancel()
    store._write_waiting()
    async with asyncio.timeout(5):
        await asyncio.wait((writer,))
    assert writer.cancelled()
    await store.close()
