"""The same operations give the same HashKV as on a real etcd, compacted or not, after a restart too."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from pilothouse.etcd.contract import Compacted, Delete, FutureRevision, Op, Put, Range, Txn
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog, SqliteLog
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, LEASE, MAINTENANCE, Method
from pilothouse.kit.world import World
from tests.real_etcd import real_etcd

Call = Callable[[Method, Any], Awaitable[Any]]


def _caller(channel: grpc.aio.Channel) -> Call:
    async def call(method: Method, request: Any) -> Any:
        stub = channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        return await stub(request)

    return call


def _operations(chance: random.Random, count: int) -> list[Txn]:
    """Transactions over a few keys, so that they are changed, deleted, and come again."""
    keys = [b"k%d" % i for i in range(12)]

    def operation(key: bytes) -> Op:
        if chance.random() < 0.3:
            return Delete(key)
        return Put(key, chance.randbytes(chance.randrange(40)))

    txns = []
    for _ in range(count):
        chosen = chance.sample(keys, chance.choice((1, 1, 2, 4)))
        txns.append(Txn((), [operation(key) for key in chosen]))
    # In transactions of one transaction a key may be put, and deleted after it.
    twice = Txn((), (Txn((), (Put(b"twice", b"1"),)), Txn((), (Delete(b"twice"),))))
    again = Txn((), (Put(b"twice", b"2"), Put(b"other", b"3")))
    middle = len(txns) // 2
    txns = [*txns[:middle], twice, again, twice, *txns[middle:], twice]
    return [*txns, Txn((), (Delete(b"k1", b"k4"), Put(b"z", b"")))]


@pytest.mark.parametrize("seed", range(3))
async def test_hash_kv_is_that_of_a_real_etcd(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    txns = _operations(chance, 60)
    with real_etcd(tmp_path / "etcd") as address:
        async with grpc.aio.insecure_channel(address) as channel:
            call = _caller(channel)
            stores = [
                await open_backend(World(), NoLog()),
                await open_backend(World(), SqliteLog(tmp_path / "store")),
            ]
            await call(LEASE["LeaseGrant"], pb.LeaseGrantRequest(ID=7, TTL=1000))
            for store in stores:
                await store.lease_grant(1000, 7)
            txns.insert(0, Txn((), [Put(b"l%d" % i, b"", lease=7) for i in range(3)]))
            for txn in txns:
                await call(KV["Txn"], convert.txn_message(txn))
                for store in stores:
                    await store.txn(txn)
            await _compare(call, stores, 1)
            await call(LEASE["LeaseRevoke"], pb.LeaseRevokeRequest(ID=7))
            for store in stores:
                await store.lease_revoke(7)
            compacted = stores[0].revision // 2
            await call(KV["Compact"], pb.CompactionRequest(revision=compacted, physical=True))
            for store in stores:
                await store.compact(compacted)
            await _compare(call, stores, compacted + 1)
            await stores[1].defragment()
            await stores[1].close()
            stores[1] = await open_backend(World(), SqliteLog(tmp_path / "store"))
            await _compare(call, stores, compacted + 1)
            for store in stores:
                await store.close()


async def _compare(call: Call, stores: list[EmbeddedBackend], first: int) -> None:
    for revision in (0, first, (first + stores[0].revision) // 2, stores[0].revision):
        theirs = await call(MAINTENANCE["HashKV"], pb.HashKVRequest(revision=revision))
        for store in stores:
            ours = await store.hash_kv(revision)
            assert ours.hash == theirs.hash, revision
            assert ours.revision == revision or store.revision == theirs.header.revision
            assert max(theirs.compact_revision, 0) == ours.compact_revision


async def test_hash_kv_knows_its_bounds() -> None:
    store = await open_backend(World(), NoLog())
    for value in (b"1", b"2", b"3"):
        await store.put(Put(b"a", value))
    await store.compact(3)
    with pytest.raises(Compacted):
        await store.hash_kv(2)
    with pytest.raises(FutureRevision):
        await store.hash_kv(5)
    assert (await store.hash_kv(3)).hash != (await store.hash_kv()).hash
    assert (await store.range(Range(b"a"))).kvs[0].value == b"3"
