"""`contract.Backend` on a real etcd cluster. Any number of them may run on the same one.

Reads are linearizable unless they ask for `serializable`. `revision` is the newest one that any answer named, so
what this backend wrote is never above it; what others wrote may be.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from google.protobuf.message import Message

from pilothouse.etcd.cluster.client import EtcdClient, Retry
from pilothouse.etcd.cluster.watch import WatchHub
from pilothouse.etcd.cluster.watcher import ClusterWatch
from pilothouse.etcd.contract import (
    Compacted,
    Delete,
    DeleteResult,
    Hash,
    LeaseNotFound,
    LeaseStatus,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Status,
    StoreError,
    Txn,
    TxnResult,
)
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Refused
from pilothouse.etcd.wire.methods import KV, LEASE, MAINTENANCE, Method
from pilothouse.kit.world import World

_HEALTH_KEY = b"health"
"""What etcdctl and kube-apiserver read to see whether a cluster has a quorum."""
_HEALTH_WITHIN_S = 2.0
"""storagebackend.DefaultHealthcheckTimeout."""
_MAINTENANCE_WITHIN_S = 600.0
"""Defragmenting and hashing read a member's whole database."""
_CHECKSUM_BYTES = hashlib.sha256().digest_size


async def open_cluster(world: World, client: EtcdClient) -> ClusterBackend:
    """A backend that has spoken to the cluster; StoreUnavailable if no member answers. It closes the client."""
    backend = ClusterBackend(world, client)
    await backend.range(Range(_HEALTH_KEY, keys_only=True))
    return backend


class ClusterBackend:
    """See `contract.Backend` and `contract.Maintenance`. Made by `open_cluster`; use from one event loop."""

    def __init__(self, world: World, client: EtcdClient) -> None:
        self.client = client
        self._revision = 1
        self._compact_revision = 0
        self._hub = WatchHub(world, client, self._heard)

    def _heard(self, revision: int, compact_revision: int = 0) -> None:
        self._revision = max(self._revision, revision)
        self._compact_revision = max(self._compact_revision, compact_revision)

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def shared(self) -> bool:
        return True

    @property
    def compact_revision(self) -> int:
        """The newest that is known here; other clients compact too."""
        return self._compact_revision

    async def _call(self, method: Method, request: Message, **options: Any) -> Any:
        try:
            response = await self.client.call(method, request, **options)
        except Compacted as error:
            raise Compacted(await self._compacted_at()) from error
        self._heard(response.header.revision)
        return response

    async def _compacted_at(self) -> int:
        """etcd's error does not say which revision it was: a watch from the beginning is told."""
        self._heard(0, await self._hub.compacted_at())
        return self._compact_revision

    # -- keys -------------------------------------------------------------------------------------------

    async def range(self, op: Range) -> RangeResult:
        request = convert.range_message(op)
        return convert.range_result_of(
            await self._call(KV["Range"], request, require_leader=not op.serializable)
        )

    async def put(self, op: Put) -> PutResult:
        return convert.put_result_of(await self._call(KV["Put"], convert.put_message(op)))

    async def delete(self, op: Delete) -> DeleteResult:
        return convert.delete_result_of(await self._call(KV["DeleteRange"], convert.delete_message(op)))

    async def txn(self, txn: Txn) -> TxnResult:
        retry = Retry.NEVER if _writes(txn.then) or _writes(txn.otherwise) else Retry.SAFE
        return convert.txn_result_of(await self._call(KV["Txn"], convert.txn_message(txn), retry=retry))

    def watch(
        self, key: bytes, range_end: bytes = b"", start_revision: int = 0, *, prev: bool = False
    ) -> ClusterWatch:
        """From now on means: from the newest revision on that this backend has heard of, for a watch that began
        when etcd had made it would miss what is written meanwhile."""
        first = start_revision or self._revision + 1
        return self._hub.watch(key, range_end, first, min(first - 1, self._revision), prev=prev)

    async def compact(self, revision: int) -> None:
        await self._call(KV["Compact"], pb.CompactionRequest(revision=revision))
        self._heard(0, revision)

    # -- leases -----------------------------------------------------------------------------------------

    async def lease_grant(self, ttl_s: int, lease_id: int = 0) -> LeaseStatus:
        """A grant whose answer was lost is repeated if etcd chooses the id: the lost lease runs out by itself."""
        retry = Retry.NEVER if lease_id else Retry.SAFE
        granted = await self._call(
            LEASE["LeaseGrant"], pb.LeaseGrantRequest(TTL=ttl_s, ID=lease_id), retry=retry
        )
        return LeaseStatus(granted.ID, granted.TTL, granted.TTL, [])

    async def lease_revoke(self, lease_id: int) -> None:
        await self._call(LEASE["LeaseRevoke"], pb.LeaseRevokeRequest(ID=lease_id))

    async def lease_keep_alive(self, lease_id: int) -> LeaseStatus:
        kept = await self._call(LEASE["LeaseKeepAlive"], pb.LeaseKeepAliveRequest(ID=lease_id))
        if kept.TTL <= 0:
            raise LeaseNotFound
        return LeaseStatus(lease_id, kept.TTL, kept.TTL, [])

    async def lease_status(self, lease_id: int) -> LeaseStatus:
        found = await self._call(LEASE["LeaseTimeToLive"], pb.LeaseTimeToLiveRequest(ID=lease_id, keys=True))
        return LeaseStatus(lease_id, found.grantedTTL, found.TTL, sorted(found.keys))

    async def leases(self) -> list[int]:
        found = await self._call(LEASE["LeaseLeases"], pb.LeaseLeasesRequest())
        return sorted(lease.ID for lease in found.leases)

    # -- operation --------------------------------------------------------------------------------------

    async def health(self) -> str:
        """A read that needs a quorum, as kube-apiserver's check does; being refused it shows that there is one."""
        request = pb.RangeRequest(key=_HEALTH_KEY)
        try:
            self._heard(
                (await self.client.call(KV["Range"], request, timeout_s=_HEALTH_WITHIN_S)).header.revision
            )
        except Refused:
            return ""
        except StoreError as error:
            return f"error getting data from etcd: {error}"
        return ""

    async def status(self) -> Status:
        """Of the member that is being asked; so are the other methods below."""
        found = await self._call(MAINTENANCE["Status"], pb.StatusRequest())
        return Status(found.version, found.dbSize, found.dbSizeInUse or found.dbSize, tuple(found.errors))

    async def hash_kv(self, revision: int = 0) -> Hash:
        found = await self._call(
            MAINTENANCE["HashKV"], pb.HashKVRequest(revision=revision), timeout_s=_MAINTENANCE_WITHIN_S
        )
        self._heard(0, found.compact_revision)
        return Hash(found.hash, revision or found.header.revision, found.compact_revision)

    async def defragment(self) -> None:
        await self.client.call(
            MAINTENANCE["Defragment"],
            pb.DefragmentRequest(),
            timeout_s=_MAINTENANCE_WITHIN_S,
            endpoint=self.client.current,
        )

    async def snapshot(self) -> AsyncIterator[bytes]:
        """etcd sends the database and then its checksum, which is compared here."""
        digest, held = hashlib.sha256(), b""
        async for part in self.client.responses(MAINTENANCE["Snapshot"], pb.SnapshotRequest()):
            held += part.blob
            blob, held = held[:-_CHECKSUM_BYTES], held[-_CHECKSUM_BYTES:]
            digest.update(blob)
            if blob:
                yield blob
        if held != digest.digest():
            raise StoreError("the snapshot that etcd sent is damaged: its checksum differs; take another one")

    async def record(self, name: str) -> bytes:
        raise _no_records(name)

    async def keep_record(self, name: str, value: bytes) -> None:
        raise _no_records(name)

    async def close(self) -> None:
        await self._hub.close()
        await self.client.close()


def _writes(ops: Iterable[Op]) -> bool:
    return any(
        isinstance(op, Put | Delete) or (isinstance(op, Txn) and (_writes(op.then) or _writes(op.otherwise)))
        for op in ops
    )


def _no_records(name: str) -> StoreError:
    return StoreError(
        f"{name!r} cannot be kept beside the keys of an etcd cluster: it has its own users, alarms and members; "
        "speak to them with etcdctl or `pilothouse etcd --endpoints …`"
    )
