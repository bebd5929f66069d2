"""Snapshots between us and a real etcd: `etcdctl` checks and restores ours, we read and restore etcd's."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from pilothouse.etcd.contract import Delete, KeyValue, Put, Range, Txn
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.etcd.server.auth.accounts import Access, Accounts, Permission, User, decoded
from pilothouse.etcd.server.auth.ranges import KeyRange
from pilothouse.etcd.snapshots import file as snapshot_file
from pilothouse.etcd.snapshots.bump import bump
from pilothouse.etcd.snapshots.restore import restore
from pilothouse.etcd.snapshots.save import save as save_pieces
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, LEASE, MAINTENANCE, Method
from pilothouse.kit.world import World
from tests.etcds import free_port
from tests.programs import required
from tests.real_etcd import real_etcd

ALL = Range(b"\0", b"\0")
FLAGS = ("--listen-metrics-urls=",)


def etcdctl(*arguments: str, ok: bool = True) -> str:
    done = subprocess.run(
        [required("etcdctl"), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "ETCDCTL_API": "3"},
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout


@contextmanager
def restored_etcd(snapshot: Path, directory: Path) -> Iterator[str]:
    """A real etcd that goes on from a snapshot."""
    peer = free_port()
    url = f"http://127.0.0.1:{peer}"
    etcdctl(
        "snapshot", "restore", str(snapshot), f"--data-dir={directory / 'data'}", "--name=default",
        f"--initial-cluster=default={url}", f"--initial-advertise-peer-urls={url}",
    )  # fmt: skip
    with real_etcd(directory) as address:
        yield address


async def call(address: str, method: Method, request: Any) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        return await channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request)


async def keys_at(address: str, revision: int) -> list[KeyValue]:
    request = convert.range_message(ALL._replace(revision=revision))
    answer = await call(address, KV["Range"], request)
    return [
        KeyValue(k.key, k.value, k.create_revision, k.mod_revision, k.version, k.lease) for k in answer.kvs
    ]


async def save(backend: EmbeddedBackend, path: Path) -> None:
    await save_pieces(backend.snapshot(), path)


async def fill(backend: EmbeddedBackend) -> None:
    """Every kind of row: several of a revision, deletions, leases, big values, a compaction in the middle."""
    await backend.lease_grant(3600, 0x7587)
    for i in range(300):
        await backend.txn(Txn((), [Put(b"/many/%04d" % (7 * i + k), b"v" * (i * k)) for k in range(5)]))
    await backend.put(Put(b"/big", os.urandom(1_400_000)))
    await backend.put(Put(b"/leased", b"x", 0x7587))
    for i in range(50):
        await backend.put(Put(b"/changed", b"%d" % i))
        await backend.delete(Delete(b"/many/%04d" % i, b"/many/%04d" % (i + 2)))
    await backend.compact(backend.revision - 30)
    await backend.put(Put(b"/deleted", b"1"))
    await backend.delete(Delete(b"/deleted"))


@pytest.fixture
async def ours(tmp_path: Path) -> tuple[EmbeddedBackend, Path]:
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    await fill(backend)
    await save(backend, tmp_path / "ours.db")
    yield backend, tmp_path / "ours.db"  # type: ignore[misc]
    await backend.close()


async def test_etcdctl_finds_our_snapshot_whole_and_says_what_we_say(
    ours: tuple[EmbeddedBackend, Path],
) -> None:
    """`snapshot status` has bbolt check every page."""
    told = json.loads(etcdctl("snapshot", "status", str(ours[1]), "-w", "json"))
    mine = snapshot_file.status(ours[1])
    assert told == {
        "hash": mine.hash,
        "revision": mine.revision,
        "totalKey": mine.total_keys,
        "totalSize": mine.total_size,
    }
    assert mine.revision == ours[0].revision


async def test_a_real_etcd_goes_on_from_our_snapshot(
    ours: tuple[EmbeddedBackend, Path], tmp_path: Path
) -> None:
    """The very same keys, revisions, versions and leases, at every revision; then it is written to."""
    backend, path = ours
    with restored_etcd(path, tmp_path / "etcd") as address:
        for revision in range(backend.compact_revision, backend.revision + 1, 7):
            expected = (await backend.range(ALL._replace(revision=revision))).kvs
            assert await keys_at(address, revision) == expected
        theirs = await call(address, MAINTENANCE["HashKV"], pb.HashKVRequest())
        mine = await backend.hash_kv()
        assert (theirs.hash, theirs.compact_revision) == (mine.hash, mine.compact_revision)
        lease = await call(address, LEASE["LeaseTimeToLive"], pb.LeaseTimeToLiveRequest(ID=0x7587, keys=True))
        assert (lease.grantedTTL, list(lease.keys)) == (3600, [b"/leased"])
        # Deletions make bbolt merge pages, new rows make it split them.
        for i in range(0, 1500, 3):
            await call(address, KV["Put"], pb.PutRequest(key=b"/new/%04d" % i, value=b"n" * 500))
        header = (await call(address, KV["Range"], pb.RangeRequest(key=b"x"))).header
        assert header.revision == backend.revision + 500
        await call(address, KV["Compact"], pb.CompactionRequest(revision=header.revision, physical=True))
        await call(address, MAINTENANCE["Defragment"], pb.DefragmentRequest())
        assert len(await keys_at(address, 0)) == (await backend.range(ALL)).count + 500


async def test_a_real_etcd_goes_on_from_raised_revisions(
    ours: tuple[EmbeddedBackend, Path], tmp_path: Path
) -> None:
    backend, path = ours
    revision = bump(path, tmp_path / "bumped.db", 1_000_000)
    assert (
        json.loads(etcdctl("snapshot", "status", str(tmp_path / "bumped.db"), "-w", "json"))["revision"]
        == revision
    )
    with restored_etcd(tmp_path / "bumped.db", tmp_path / "etcd") as address:
        assert await keys_at(address, 0) == (await backend.range(ALL)).kvs
        put = await call(address, KV["Put"], pb.PutRequest(key=b"a"))
        assert put.header.revision == backend.revision + 1_000_001
        with pytest.raises(grpc.aio.AioRpcError, match="compacted"):
            await keys_at(address, backend.revision)
        etcdctl("--endpoints", address, "snapshot", "save", str(tmp_path / "again.db"))
    with snapshot_file.reading(tmp_path / "again.db") as database:
        restored = restore(database, tmp_path / "ours", 0)
    assert restored.revision == backend.revision + 1_000_001


async def test_users_and_roles_go_along(tmp_path: Path) -> None:
    hashed = b"$2b$04$CrIBXfWTqr6xTsQ1mFO83u1hE9B0y0hJeGFkvy2U4A7FNhKnVXHCi"
    accounts = Accounts(
        False,
        9,
        {"root": User(hashed, ("root",)), "ann": User(hashed, ("reader",)), "tls": User(b"", (), True)},
        {"root": (), "reader": (Permission(Access.READ, KeyRange(b"a", b"\0")),)},
    )
    backend = await open_backend(World(), SqliteLog(tmp_path / "store"))
    await backend.keep_record("auth", accounts.encoded())
    await save(backend, tmp_path / "ours.db")
    await backend.close()
    with restored_etcd(tmp_path / "ours.db", tmp_path / "etcd") as address:
        assert etcdctl("--endpoints", address, "user", "list").split() == ["ann", "root", "tls"]
        assert "Roles: reader" in etcdctl("--endpoints", address, "user", "get", "ann")
        assert "\t[a, <open ended>" in etcdctl("--endpoints", address, "role", "get", "reader")
        etcdctl("--endpoints", address, "snapshot", "save", str(tmp_path / "theirs.db"))
    with snapshot_file.reading(tmp_path / "theirs.db") as database:
        restore(database, tmp_path / "ours", 0)
    copy = await open_backend(World(), SqliteLog(tmp_path / "ours" / "store"))
    found = decoded(await copy.record("auth"))
    await copy.close()
    assert (found.users, found.roles) == (accounts.users, accounts.roles)


async def test_we_go_on_from_etcds_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with real_etcd(tmp_path / "etcd") as address:
        await call(address, LEASE["LeaseGrant"], pb.LeaseGrantRequest(ID=77, TTL=3600))
        for i in range(400):
            key = b"/many/%03d" % (i * 37 % 250)
            await call(address, KV["Put"], pb.PutRequest(key=key, value=b"v" * i, lease=77 * (i % 2)))
            if i % 9 == 0:
                await call(
                    address,
                    KV["DeleteRange"],
                    pb.DeleteRangeRequest(key=key[:-1] + b"0", range_end=key[:-1] + b"5"),
                )
        txn = convert.txn_message(Txn((), [Put(b"c", b"1"), Put(b"a", b"1"), Put(b"b", b"1" * 1_000_000)]))
        await call(address, KV["Txn"], txn)
        await call(address, KV["Compact"], pb.CompactionRequest(revision=300, physical=True))
        etcdctl("--endpoints", address, "snapshot", "save", str(path))
        told = json.loads(etcdctl("snapshot", "status", str(path), "-w", "json"))
        mine = snapshot_file.status(path)
        assert list(told.values()) == list(mine[:4])
        with snapshot_file.reading(path) as database:
            restore(database, tmp_path / "ours", 0)
        backend = await open_backend(World(), SqliteLog(tmp_path / "ours" / "store"))
        try:
            for revision in (*range(300, backend.revision + 1, 5), 0):
                assert (await backend.range(ALL._replace(revision=revision))).kvs == await keys_at(
                    address, revision
                )
            theirs = await call(address, MAINTENANCE["HashKV"], pb.HashKVRequest())
            assert (theirs.hash, theirs.compact_revision) == ((await backend.hash_kv()).hash, 300)
            lease = await backend.lease_status(77)
            kvs = (await backend.range(ALL)).kvs
            assert lease.keys == [kv.key for kv in kvs if kv.lease] != []
        finally:
            await backend.close()
