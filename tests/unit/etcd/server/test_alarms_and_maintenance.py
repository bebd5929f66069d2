"""The space quota and its alarm, and the Maintenance service."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pilothouse.etcd.contract import NoSpace, StoreError, Txn
from pilothouse.etcd.embedded.backend import open_backend
from pilothouse.etcd.embedded.log import SqliteLog
from pilothouse.etcd.server.alarms import CORRUPT, NOSPACE
from pilothouse.etcd.server.options import QUOTA_BYTES_DEFAULT, ServerOptions
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.methods import KV, LEASE, MAINTENANCE
from pilothouse.kit.world import World
from tests.unit.etcd.server.etcd_api import Api, open_api

_BIG = pb.PutRequest(key=b"big", value=b"x" * 100_000)
_SMALL = pb.PutRequest(key=b"small", value=b"x")


def _put(request: pb.PutRequest) -> pb.RequestOp:
    return pb.RequestOp(request_put=request)


async def _fill(api: Api) -> None:
    """Until the quota is used up."""
    with pytest.raises(NoSpace):
        for _ in range(100):
            await api(KV["Put"], _BIG)


async def test_the_alarm_stays_until_it_is_disarmed_even_over_a_restart(tmp_path: Path) -> None:
    options = ServerOptions(quota_bytes=1_000_000)
    store = await open_backend(World(), SqliteLog(tmp_path))
    api = await open_api(backend=store, options=options)
    await _fill(api)
    assert (await store.status()).db_size < 1_000_000
    await store.close()

    store = await open_backend(World(), SqliteLog(tmp_path))
    api = await open_api(backend=store, options=options)
    member = api.core.headers.member_id
    status = await api(MAINTENANCE["Status"], pb.StatusRequest())
    assert list(status.errors) == [f"memberID:{member} alarm:NOSPACE "]
    assert status.dbSizeQuota == 1_000_000
    for method, request in (
        (KV["Put"], _SMALL),
        (KV["Txn"], pb.TxnRequest(success=[_put(_SMALL)])),
        (KV["Txn"], pb.TxnRequest(success=[pb.RequestOp(request_txn=pb.TxnRequest(failure=[_put(_SMALL)]))])),
        (LEASE["LeaseGrant"], pb.LeaseGrantRequest(TTL=10)),
    ):
        with pytest.raises(NoSpace, match="etcdserver: mvcc: database space exceeded"):
            await api(method, request)

    # What makes room, and what reads, goes on.
    reads = pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=b"big"))])
    assert (await api(KV["Txn"], reads)).succeeded
    assert (await api(KV["DeleteRange"], pb.DeleteRangeRequest(key=b"big"))).deleted == 1
    await api(KV["Compact"], pb.CompactionRequest(revision=store.revision))
    await api(MAINTENANCE["Defragment"], pb.DefragmentRequest())
    with pytest.raises(NoSpace):
        await api(KV["Put"], _SMALL)

    disarm = pb.AlarmRequest(action=pb.AlarmRequest.DEACTIVATE, memberID=member, alarm=pb.NOSPACE)
    assert len((await api(MAINTENANCE["Alarm"], disarm)).alarms) == 1
    assert len((await api(MAINTENANCE["Alarm"], disarm)).alarms) == 0
    await api(KV["Put"], _SMALL)
    await store.close()


async def test_without_room_made_the_alarm_comes_back() -> None:
    api = await open_api(options=ServerOptions(quota_bytes=500_000))
    await _fill(api)
    await api.core.alarms.deactivate(api.core.headers.member_id, NOSPACE)
    with pytest.raises(NoSpace):
        await api(KV["Put"], _BIG)
    assert api.core.alarms.active(NOSPACE)


async def test_the_quota_is_etcds_unless_another_is_given() -> None:
    assert (await open_api()).core.quota.limit_bytes == QUOTA_BYTES_DEFAULT == 2 * 1024**3
    api = await open_api(options=ServerOptions(quota_bytes=-1))
    assert await api.core.quota.fits(1 << 60)


async def test_a_corrupt_store_is_only_read() -> None:
    api = await open_api()
    await api(KV["Put"], _SMALL)
    activate = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=1, alarm=pb.CORRUPT)
    await api(MAINTENANCE["Alarm"], activate)
    listed = await api(MAINTENANCE["Alarm"], pb.AlarmRequest())
    assert [(a.memberID, a.alarm) for a in listed.alarms] == [(1, CORRUPT)]
    for method, request in (
        (KV["Put"], _SMALL),
        (KV["DeleteRange"], pb.DeleteRangeRequest(key=b"small")),
        (KV["Compact"], pb.CompactionRequest(revision=2)),
    ):
        with pytest.raises(StoreError, match="etcdserver: corrupt cluster"):
            await api(method, request)
    assert (await api(KV["Range"], pb.RangeRequest(key=b"small"))).count == 1


async def test_a_snapshot_comes_in_blobs_and_ends_with_its_checksum(tmp_path: Path) -> None:
    store = await open_backend(World(), SqliteLog(tmp_path))
    api = await open_api(backend=store)
    await api(KV["Put"], _BIG)
    answers = await api.stream(MAINTENANCE["Snapshot"], pb.SnapshotRequest())
    *blobs, checksum = answers
    database = b"".join(answer.blob for answer in blobs)
    assert checksum.blob == hashlib.sha256(database).digest()
    assert len(database) > 100_000
    assert max(len(answer.blob) for answer in blobs) <= 32 * 1024
    assert [a.remaining_bytes for a in blobs[-2:]] == [len(blobs[-1].blob), 0]
    assert blobs[0].remaining_bytes == len(database) - len(blobs[0].blob)
    await store.close()


async def test_the_one_member_leads_and_only_it_can() -> None:
    api = await open_api()
    member = api.core.headers.member_id
    assert (await api(MAINTENANCE["Status"], pb.StatusRequest())).leader == member
    await api(MAINTENANCE["MoveLeader"], pb.MoveLeaderRequest(targetID=member))
    with pytest.raises(StoreError, match="etcdserver: bad leader transferee"):
        await api(MAINTENANCE["MoveLeader"], pb.MoveLeaderRequest(targetID=1))


@pytest.mark.parametrize(
    ("action", "version", "message"),
    [
        (pb.DowngradeRequest.VALIDATE, "3.5.0", ""),
        (pb.DowngradeRequest.VALIDATE, "3.5", ""),
        (pb.DowngradeRequest.VALIDATE, "3.4.0", "etcdserver: invalid downgrade target version"),
        (pb.DowngradeRequest.VALIDATE, "3.6.0", "etcdserver: invalid downgrade target version"),
        (pb.DowngradeRequest.VALIDATE, "old", "etcdserver: wrong downgrade target version format"),
        (pb.DowngradeRequest.ENABLE, "3.5.0", "no older format"),
        (pb.DowngradeRequest.CANCEL, "", "etcdserver: no inflight downgrade job"),
    ],
)
async def test_downgrades_are_judged_as_etcd_does_and_not_done(
    action: int, version: str, message: str
) -> None:
    api = await open_api()
    request = pb.DowngradeRequest(action=action, version=version)  # type: ignore[arg-type]
    if message:
        with pytest.raises(StoreError, match=message):
            await api(MAINTENANCE["Downgrade"], request)
    else:
        assert (await api(MAINTENANCE["Downgrade"], request)).version == "3.6.0"


async def test_hash_kv_of_a_store_that_was_never_compacted_says_so() -> None:
    api = await open_api()
    await api.backend.txn(Txn((), ()))
    await api(KV["Put"], _SMALL)
    answer = await api(MAINTENANCE["HashKV"], pb.HashKVRequest())
    assert (answer.compact_revision, answer.hash_revision, answer.header.revision) == (-1, 2, 2)
    assert (await api(MAINTENANCE["Hash"], pb.HashRequest())).hash == answer.hash
