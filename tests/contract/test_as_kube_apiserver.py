"""The requests of upstream's kube-apiserver, field by field, over raw gRPC: what `pilothouse etcd` answers is what a
real etcd answers.

Sources: k8s.io/apiserver/pkg/storage/etcd3 (store.go, watcher.go, compact.go, lease_manager.go), storage/feature, and
go.etcd.io/etcd/client/v3/kubernetes (OptimisticPut, OptimisticDelete, List).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pilothouse.etcd.contract import prefix_end
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.server.server import EtcdServer
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, LEASE, MAINTENANCE, WATCH, Method
from pilothouse.kit.world import World
from tests.etcds import SpareEtcds

PODS = b"/registry/pods/"
LEADER = (("hasleader", "true"),)
_BOUND_S = 20


class Apiserver:
    """Speaks as kube-apiserver does; every answer is kept, without what differs between stores."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.answers: list[Any] = []

    async def _call(self, method: Method, request: Any) -> Any:
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            answer = await call(request, timeout=_BOUND_S, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            self.answers.append((error.code().name, error.details()))
            return None
        return self.keep(answer)

    def keep(self, answer: Any) -> Any:
        header = answer.header
        assert header.cluster_id
        assert header.member_id
        assert header.raft_term
        plain = type(answer).FromString(answer.SerializeToString())
        plain.header.Clear()
        plain.header.revision = header.revision
        self.answers.append(str(plain))
        return answer

    async def get(self, key: bytes, revision: int = 0) -> Any:
        return await self._call(KV["Range"], pb.RangeRequest(key=key, revision=revision, limit=1))

    async def list(self, prefix: bytes, **more: Any) -> Any:
        start = more.pop("start", prefix)
        return await self._call(KV["Range"], pb.RangeRequest(key=start, range_end=prefix_end(prefix), **more))

    async def put(self, key: bytes, value: bytes, expected: int, *, lease: int = 0, get: bool = True) -> Any:
        """OptimisticPut."""
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))
        return await self._optimistic(key, expected, put, get=get)

    async def delete(self, key: bytes, expected: int) -> Any:
        """OptimisticDelete."""
        delete = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
        return await self._optimistic(key, expected, delete, get=True)

    async def _optimistic(self, key: bytes, expected: int, op: pb.RequestOp, *, get: bool) -> Any:
        unchanged = pb.Compare(target=pb.Compare.MOD, key=key, mod_revision=expected)
        otherwise = [pb.RequestOp(request_range=pb.RangeRequest(key=key))] if get else []
        return await self._call(
            KV["Txn"], pb.TxnRequest(compare=[unchanged], success=[op], failure=otherwise)
        )

    async def compact(self, time: int, revision: int) -> Any:
        key = b"compact_rev_key"
        put = pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"%d" % revision))
        get = pb.RequestOp(request_range=pb.RangeRequest(key=key))
        first = pb.Compare(target=pb.Compare.VERSION, key=key, version=time)
        answer = await self._call(KV["Txn"], pb.TxnRequest(compare=[first], success=[put], failure=[get]))
        if answer.succeeded and revision:
            await self._call(KV["Compact"], pb.CompactionRequest(revision=revision))
        return answer

    async def grant(self, ttl_s: int, lease: int) -> Any:
        return await self._call(LEASE["LeaseGrant"], pb.LeaseGrantRequest(TTL=ttl_s, ID=lease))

    async def status(self) -> Any:
        method = MAINTENANCE["Status"]
        return await self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(pb.StatusRequest(), timeout=_BOUND_S)

    def watches(self) -> Watches:
        method = WATCH["Watch"]
        call = self._channel.stream_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(metadata=LEADER, wait_for_ready=True)
        return Watches(self, call)


class Watches:
    """One stream of watches."""

    def __init__(self, apiserver: Apiserver, call: Any) -> None:
        self._apiserver = apiserver
        self._call = call

    async def create(self, prefix: bytes, start: int) -> Any:
        create = pb.WatchCreateRequest(
            key=prefix, range_end=prefix_end(prefix), start_revision=start, prev_kv=True, progress_notify=True
        )
        await self._call.write(pb.WatchRequest(create_request=create))
        return await self.next()

    async def cancel(self, watch: int) -> Any:
        await self._call.write(pb.WatchRequest(cancel_request=pb.WatchCancelRequest(watch_id=watch)))
        return await self.next()

    async def progress(self) -> Any:
        await self._call.write(pb.WatchRequest(progress_request=pb.WatchProgressRequest()))
        return await self.next()

    async def next(self) -> Any:
        return self._apiserver.keep(await asyncio.wait_for(self._call.read(), _BOUND_S))

    def end(self) -> None:
        self._call.cancel()


@contextlib.asynccontextmanager
async def _ours(directory: Path) -> AsyncIterator[Apiserver]:
    world = World()
    embedded = await open_backend(world, SqliteLog(directory / "store"))
    path = directory / "etcd.sock"
    server = EtcdServer(embedded, embedded, world, ServerOptions(listen_client_urls=(f"unix://{path}",)))
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            yield Apiserver(channel)
    finally:
        await server.stop()
        await embedded.close()


@contextlib.asynccontextmanager
async def _real(spare: SpareEtcds) -> AsyncIterator[Apiserver]:
    etcd = await asyncio.to_thread(spare.take)
    try:
        async with grpc.aio.insecure_channel(etcd.url.removeprefix("http://")) as channel:
            yield Apiserver(channel)
    finally:
        etcd.remove()


async def _writes(api: Apiserver) -> None:
    a, b = PODS + b"default/a", PODS + b"default/b"
    await api.get(b"/registry/health")
    created = await api.put(a, b"1", 0)
    assert created.succeeded
    assert created.header.revision == created.responses[0].response_put.header.revision == 2
    again = await api.put(a, b"1", 0)
    (found,) = again.responses[0].response_range.kvs
    assert (again.succeeded, found.mod_revision, again.header.revision) == (False, 2, 2)
    await api.put(a, b"1", 0, get=False)  # create: a conflict is all that it wants to know
    # GuaranteedUpdate from a stale copy, then from what the failure told.
    assert (await api.put(a, b"2", 2)).succeeded
    stale = await api.put(a, b"3", 2)
    assert not stale.succeeded
    told = stale.responses[0].response_range.kvs[0].mod_revision
    assert (await api.put(a, b"3", told)).succeeded
    await api.put(b, b"1", 0)
    await api.get(a)
    await api.get(a, revision=2)
    await api.get(PODS + b"default/none")
    await api.get(a, revision=99)
    gone = await api.delete(b, 2)
    assert not gone.succeeded
    gone = await api.delete(b, gone.responses[0].response_range.kvs[0].mod_revision)
    assert (gone.succeeded, gone.responses[0].response_delete_range.deleted) == (True, 1)
    missing = await api.delete(b, 5)
    assert (missing.succeeded, len(missing.responses[0].response_range.kvs)) == (False, 0)


async def _lists(api: Apiserver) -> None:
    for i in range(7):
        await api.put(PODS + b"default/p%d" % i, b"{}" * i, 0)
    await api.put(b"/registry/pods0", b"not below", 0)
    page = await api.list(PODS, limit=3)
    assert (page.count, page.more, len(page.kvs)) == (7, True, 3)
    await api.put(PODS + b"default/p9", b"after the first page", 0)
    await api.delete(PODS + b"default/p6", 8)
    rest = await api.list(PODS, start=page.kvs[-1].key + b"\0", limit=3, revision=page.header.revision)
    assert (rest.count, rest.more, rest.header.revision) == (4, True, page.header.revision + 2)
    last = await api.list(PODS, start=rest.kvs[-1].key + b"\0", limit=3, revision=page.header.revision)
    assert (last.count, last.more, len(last.kvs)) == (1, False, 1)
    await api.list(PODS, limit=1, revision=99)
    await api.list(PODS, count_only=True)
    await api.list(PODS, keys_only=True)
    await api.list(PODS, keys_only=True, limit=2)
    await api.list(PODS, limit=0)
    await api.list(b"/registry/none/", limit=500)


async def _watching(api: Apiserver) -> None:
    a = PODS + b"default/a"
    await api.put(a, b"1", 0)
    await api.put(a, b"2", 2)
    stream = api.watches()
    created = await stream.create(PODS, 2)
    assert (created.created, created.canceled, created.watch_id) == (True, False, 0)
    history = await stream.next()
    assert [(e.type, e.kv.mod_revision, e.prev_kv.value) for e in history.events] == [
        (0, 2, b""),
        (0, 3, b"1"),
    ]
    await api.delete(a, 3)
    deleted = await stream.next()
    (event,) = deleted.events
    assert (event.type, event.kv.mod_revision, event.kv.value) == (1, 4, b"")
    assert (event.prev_kv.value, event.prev_kv.mod_revision) == (b"2", 3)
    await api.put(b"/registry/configmaps/default/c", b"elsewhere", 0)
    await api.get(a)
    second = await stream.create(b"/registry/none/", 0)
    assert second.watch_id == 1
    cancelled = await stream.cancel(1)
    assert (cancelled.canceled, cancelled.watch_id, cancelled.created) == (True, 1, False)
    told = await stream.progress()
    assert (told.watch_id, told.header.revision, len(told.events)) == (-1, 5, 0)
    await api.put(a, b"3", 0)
    assert (await stream.next()).header.revision == 6
    stream.end()


async def _leases(api: Apiserver) -> None:
    granted = await api.grant(3660, 7)
    assert (granted.ID, granted.TTL, granted.error) == (7, 3660, "")
    await api.grant(3660, 7)
    event = b"/registry/events/default/e"
    await api.put(event, b"1", 0, lease=7)
    await api.put(event, b"1", 2, lease=99)
    assert (await api.get(event)).kvs[0].lease == 7


async def _compacts(api: Apiserver) -> None:
    a = PODS + b"default/a"
    assert (await api.compact(0, 0)).succeeded
    other = await api.compact(0, 0)
    assert not other.succeeded
    assert other.responses[0].response_range.kvs[0].version == 1
    for i in range(5):
        await api.put(a, b"%d" % i, 2 + i if i else 0)
    await api.compact(1, 5)
    stream = api.watches()
    created = await stream.create(PODS, 4)
    assert created.created
    late = await stream.next()
    assert (late.canceled, late.compact_revision, late.created) == (True, 5, False)
    assert not late.events
    stream.end()
    await api.list(PODS, revision=4)
    await api.list(PODS, revision=5)
    await api.compact(2, 5)
    await api.compact(3, 99)


STORIES = {
    "writes": _writes, "lists": _lists, "watching": _watching, "leases": _leases, "compacts": _compacts,
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
async def test_answers_are_those_of_a_real_etcd(story: str, tmp_path: Path, spare_etcds: SpareEtcds) -> None:
    async with _ours(tmp_path) as ours, _real(spare_etcds) as real:
        await STORIES[story](real)
        await STORIES[story](ours)
        assert ours.answers == real.answers


async def test_the_version_lets_it_ask_for_progress(tmp_path: Path) -> None:
    """From 3.5.13 on, by each endpoint's status; metrics read the size there."""
    async with _ours(tmp_path) as api:
        await api.put(PODS + b"default/a", b"1" * 100_000, 0)
        status = await api.status()
        assert tuple(int(part) for part in status.version.split(".")) >= (3, 5, 13)
        assert status.dbSize >= 0
        assert status.leader == status.header.member_id
        assert not status.errors


async def test_progress_notices_come_by_themselves(tmp_path: Path) -> None:
    world = World()
    embedded = await open_backend(world, SqliteLog(tmp_path / "store"))
    path = tmp_path / "etcd.sock"
    options = ServerOptions(listen_client_urls=(f"unix://{path}",), progress_interval_s=0.1)
    server = EtcdServer(embedded, embedded, world, options)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            api = Apiserver(channel)
            await api.put(b"/registry/other/a", b"1", 0)
            stream = api.watches()
            await stream.create(PODS, 1)
            told = await stream.next()
            assert (told.watch_id, told.header.revision, len(told.events)) == (0, 2, 0)
            stream.end()
    finally:
        await server.stop()
        await embedded.close()
