"""The KV service: etcd's answers and refusals (v3rpc/key.go), as a real etcd 3.4 gave them to the same requests."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from pilothouse.etcd.contract import Put, Txn
from pilothouse.etcd.server.kv import KvService
from pilothouse.etcd.server.options import ServerOptions
from pilothouse.etcd.wire import etcd_pb2 as pb

from .serving import served

_COMPACTED = ("OUT_OF_RANGE", "etcdserver: mvcc: required revision has been compacted")
_FUTURE = ("OUT_OF_RANGE", "etcdserver: mvcc: required revision is a future revision")
_DUPLICATE = "duplicate key given in txn request"


def _put(key: bytes, value: bytes = b"v", **more: object) -> pb.RequestOp:
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, **more))  # type: ignore[arg-type]


def _range(key: bytes, range_end: bytes = b"", **more: object) -> pb.RequestOp:
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end, **more))  # type: ignore[arg-type]


def _delete(key: bytes, range_end: bytes = b"") -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key, range_end=range_end))


def _inner(success: list[pb.RequestOp], failure: list[pb.RequestOp] | None = None) -> pb.RequestOp:
    return pb.RequestOp(request_txn=pb.TxnRequest(success=success, failure=failure or []))


async def test_every_answer_says_who_answers_and_at_which_revision() -> None:
    async with served() as (client, _, server):
        headers = [
            (await client.put(b"a")).header,
            (await client.call("Range", pb.RangeRequest(key=b"a"))).header,
        ]
        ids = server.service.core.headers
        assert [h.revision for h in headers] == [2, 2]
        assert {(h.cluster_id, h.member_id, h.raft_term) for h in headers} == {
            (ids.cluster_id, ids.member_id, 2)
        }


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("Range", pb.RangeRequest(), "key is not provided"),
        ("Range", pb.RangeRequest(key=b"a", sort_order=9), "invalid sort option"),  # type: ignore[arg-type]
        ("Range", pb.RangeRequest(key=b"a", sort_target=9), "invalid sort option"),  # type: ignore[arg-type]
        ("Put", pb.PutRequest(value=b"a"), "key is not provided"),
        ("Put", pb.PutRequest(key=b"a", value=b"a", ignore_value=True), "value is provided"),
        ("Put", pb.PutRequest(key=b"a", lease=1, ignore_lease=True), "lease is provided"),
        ("Put", pb.PutRequest(key=b"a", ignore_value=True), "key not found"),
        ("Put", pb.PutRequest(key=b"a", value=b"x" * 1_572_864), "request is too large"),
        ("DeleteRange", pb.DeleteRangeRequest(), "key is not provided"),
        ("Txn", pb.TxnRequest(success=[_put(b"")]), "key is not provided"),
        ("Txn", pb.TxnRequest(success=[pb.RequestOp()]), "key not found"),
        ("Txn", pb.TxnRequest(compare=[pb.Compare()]), "key is not provided"),
        ("Txn", pb.TxnRequest(success=[_range(b"a")] * 129), "too many operations in txn request"),
        (
            "Txn",
            pb.TxnRequest(success=[_inner([_range(b"a")] * 128)]),
            "too many operations in txn request",
        ),
        ("Txn", pb.TxnRequest(success=[_put(b"a"), _put(b"a")]), _DUPLICATE),
        ("Txn", pb.TxnRequest(success=[_put(b"a"), _delete(b"a")]), _DUPLICATE),
        ("Txn", pb.TxnRequest(success=[_delete(b"a", b"c"), _put(b"b")]), _DUPLICATE),
        ("Txn", pb.TxnRequest(success=[_put(b"a"), _inner([_put(b"a")])]), _DUPLICATE),
        ("Txn", pb.TxnRequest(success=[_inner([_put(b"a")]), _delete(b"a")]), _DUPLICATE),
        ("Txn", pb.TxnRequest(failure=[_put(b"a"), _put(b"a")]), _DUPLICATE),
    ],
)
async def test_refused_for_itself(name: str, request_: object, message: str) -> None:
    async with served() as (client, backend, _):
        assert await client.refusal(name, request_) == ("INVALID_ARGUMENT", f"etcdserver: {message}")
        assert backend.revision == 1


async def test_keys_that_may_change_twice() -> None:
    """Either branch of an inner transaction may put the same key, and what the outer one deletes "from here to the
    end" hinders nothing."""
    async with served() as (client, backend, _):
        await client.put(b"k", b"old")
        both = pb.TxnRequest(success=[_inner([_put(b"a")], [_put(b"a")])])
        assert (await client.call("Txn", both)).succeeded
        anew = pb.TxnRequest(success=[_delete(b"k", b"\0"), _put(b"k", b"new")])
        await client.call("Txn", anew)
        (kv,) = (await client.call("Range", pb.RangeRequest(key=b"k"))).kvs
        assert (kv.value, kv.create_revision, kv.version) == (b"new", backend.revision, 1)


async def test_an_unknown_lease_matters_only_in_the_branch_that_runs() -> None:
    async with served() as (client, _, _):
        refused = await client.refusal("Txn", pb.TxnRequest(success=[_put(b"a", lease=5)]))
        assert refused == ("NOT_FOUND", "etcdserver: requested lease not found")
        assert (await client.call("Txn", pb.TxnRequest(failure=[_put(b"a", lease=5)]))).succeeded


async def test_a_read_of_the_past_that_cannot_be_fails_the_whole_transaction() -> None:
    async with served() as (client, backend, _):
        for _i in range(4):
            await client.put(b"a")
        await client.call("Compact", pb.CompactionRequest(revision=4))
        for revision, refusal in ((3, _COMPACTED), (-1, _COMPACTED), (99, _FUTURE)):
            txn = pb.TxnRequest(success=[_put(b"b"), _range(b"a", revision=revision)])
            assert await client.refusal("Txn", txn) == refusal
        assert backend.revision == 5


async def test_revisions_in_the_headers_of_a_transaction() -> None:
    async with served() as (client, _, _):
        await client.put(b"a")
        reads = await client.call("Txn", pb.TxnRequest(success=[_range(b"a"), _delete(b"none")]))
        assert reads.header.revision == 2
        assert [r.response_range.header.revision for r in reads.responses[:1]] == [2]
        assert reads.responses[1].response_delete_range.header.revision == 2
        writes = await client.call(
            "Txn", pb.TxnRequest(success=[_put(b"b"), _range(b"b"), _delete(b"none"), _inner([_range(b"a")])])
        )
        first, second, third, inner = writes.responses
        assert first.response_put.header.revision == 3
        assert second.response_range.header.revision == 3
        assert third.response_delete_range.header.revision == 3
        assert inner.response_txn.header.revision == 0
        assert inner.response_txn.responses[0].response_range.header.revision == 3


async def test_the_size_limit_is_for_what_writes() -> None:
    async with served(ServerOptions(request_bytes_max=1000)) as (client, _, _):
        big = b"k" * 1200
        assert (await client.call("Range", pb.RangeRequest(key=big))).count == 0
        assert (await client.call("Txn", pb.TxnRequest(success=[_range(big)]))).succeeded
        for name, request in (
            ("Txn", pb.TxnRequest(success=[_put(big)])),
            ("DeleteRange", pb.DeleteRangeRequest(key=big)),
        ):
            assert await client.refusal(name, request) == (
                "INVALID_ARGUMENT",
                "etcdserver: request is too large",
            )


async def test_compaction_out_of_bounds() -> None:
    async with served() as (client, _, _):
        await client.put(b"a")
        await client.put(b"a")
        assert await client.refusal("Compact", pb.CompactionRequest(revision=9)) == _FUTURE
        await client.call("Compact", pb.CompactionRequest(revision=3, physical=True))
        assert await client.refusal("Compact", pb.CompactionRequest(revision=3)) == _COMPACTED
        assert await client.refusal("Range", pb.RangeRequest(key=b"a", revision=2)) == _COMPACTED


async def test_a_range_over_all_keys_gives_way_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million keys take seconds to put into messages."""
    monkeypatch.setattr("pilothouse.etcd.server.kv._KEYS_AT_ONCE", 100)
    options = ServerOptions(listen_client_urls=("http://127.0.0.1:0",))
    async with served(options) as (client, backend, server), aiohttp.ClientSession() as session:
        keys = [b"k%04d" % i for i in range(1001)]
        await backend.txn(Txn((), [Put(key, b"v") for key in keys]))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        core = server.service.core
        request = pb.RangeRequest(key=b"\0", range_end=b"\0", limit=1000)
        task = asyncio.create_task(others())
        await KvService(core).range(request, None)  # type: ignore[arg-type]
        assert turns >= 9
        task.cancel()
        answer = await client.call("Range", request)
        assert [kv.key for kv in answer.kvs] == keys[:1000]
        assert (answer.count, answer.more, answer.header.revision) == (1001, True, 2)
        body = {"key": "AA==", "range_end": "AA=="}
        async with session.post(f"{server.urls[0]}/v3/kv/range", json=body) as response:
            assert len((await response.json())["kvs"]) == 1001
