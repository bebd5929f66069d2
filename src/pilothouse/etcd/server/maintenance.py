"""The Maintenance service (etcd: v3rpc/maintenance.go). The one member is its own leader."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from pilothouse.etcd.contract import API_VERSION
from pilothouse.etcd.server.alarms import NONE
from pilothouse.etcd.server.core import Call, Send, Service, Streaming, Unary
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Code, Refused

_BLOB_BYTES = 32 * 1024
_STORAGE_VERSION = API_VERSION


class MaintenanceService(Service):
    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {
            "Alarm": self.alarm,
            "Status": self.status,
            "Defragment": self.defragment,
            "Hash": self.hash,
            "HashKV": self.hash_kv,
            "Snapshot": self.snapshot,
            "MoveLeader": self.move_leader,
            "Downgrade": self.downgrade,
        }

    async def status(self, request: pb.StatusRequest, call: Call) -> pb.StatusResponse:
        """There is no Raft log: its index is the revision, which grows as one does."""
        core = self.core
        status = await core.maintenance.status()
        return pb.StatusResponse(
            header=core.headers.now(),
            version=API_VERSION,
            dbSize=status.db_size,
            dbSizeInUse=status.db_size_in_use,
            leader=core.headers.member_id,
            raftIndex=core.backend.revision,
            raftAppliedIndex=core.backend.revision,
            raftTerm=core.headers.term,
            errors=[*core.alarms.errors(), *status.errors],
            storageVersion=_STORAGE_VERSION,
            dbSizeQuota=core.quota.limit_bytes,
            downgradeInfo=pb.DowngradeInfo(),
        )

    async def alarm(self, request: pb.AlarmRequest, call: Call) -> pb.AlarmResponse:
        alarms = self.core.alarms
        found: list[tuple[int, int]] = []
        if request.action == pb.AlarmRequest.GET:
            found = alarms.active(request.alarm)
        elif request.action == pb.AlarmRequest.ACTIVATE and request.alarm != NONE:
            await alarms.activate(request.memberID, request.alarm)
            found = [(request.memberID, request.alarm)]
        elif request.action == pb.AlarmRequest.DEACTIVATE and await alarms.deactivate(
            request.memberID, request.alarm
        ):
            found = [(request.memberID, request.alarm)]
        members = [
            pb.AlarmMember(memberID=member, alarm=alarm)  # type: ignore[arg-type]
            for member, alarm in found
        ]
        return pb.AlarmResponse(header=self.core.headers.now(), alarms=members)

    async def defragment(self, request: pb.DefragmentRequest, call: Call) -> pb.DefragmentResponse:
        await self.core.maintenance.defragment()
        return pb.DefragmentResponse()

    async def hash(self, request: pb.HashRequest, call: Call) -> pb.HashResponse:
        """etcd hashes its whole file here, which nobody can compare with another make of store: this is of the
        keys."""
        found = await self.core.maintenance.hash_kv()
        return pb.HashResponse(header=self.core.headers.at(found.revision), hash=found.hash)

    async def hash_kv(self, request: pb.HashKVRequest, call: Call) -> pb.HashKVResponse:
        found = await self.core.maintenance.hash_kv(request.revision)
        return pb.HashKVResponse(
            header=self.core.headers.now(),
            hash=found.hash,
            compact_revision=found.compact_revision or -1,
            hash_revision=found.revision,
        )

    async def snapshot(self, request: pb.SnapshotRequest, send: Send, call: Call) -> None:
        """The database in blobs, then its SHA-256 in one of its own."""
        pieces = self.core.maintenance.snapshot()
        digest, sent = hashlib.sha256(), 0
        try:
            async for blob in _blobs(pieces):
                digest.update(blob)
                sent += len(blob)
                # A copy that knows how much it is says so from its first piece on.
                remaining = max(getattr(pieces, "size", 0) - sent, 0)
                await send(_snapshot(blob, remaining))
        finally:
            close: Any = getattr(pieces, "aclose", None)
            if close is not None:
                await close()
        await send(_snapshot(digest.digest(), 0))

    async def move_leader(self, request: pb.MoveLeaderRequest, call: Call) -> pb.MoveLeaderResponse:
        """The one member leads already."""
        if request.targetID != self.core.headers.member_id:
            raise Refused("etcdserver: bad leader transferee")
        return pb.MoveLeaderResponse()

    async def downgrade(self, request: pb.DowngradeRequest, call: Call) -> pb.DowngradeResponse:
        """A target is judged as etcd does; there is nothing that could be downgraded to it."""
        if request.action == pb.DowngradeRequest.CANCEL:
            raise _precondition("etcdserver: no inflight downgrade job")
        check_downgrade_target(request.version)
        if request.action == pb.DowngradeRequest.ENABLE:
            raise _precondition(
                "etcdserver: this store has no older format to be downgraded to; move the data with `pilothouse "
                "migrate`, or with a snapshot"
            )
        return pb.DowngradeResponse(header=self.core.headers.now(), version=API_VERSION)


def check_downgrade_target(version: str) -> None:
    """One minor version back, and no other (etcd: version/downgrade.go)."""
    parsed = re.fullmatch(r"(\d+)\.(\d+)(?:\.\d+)?", version)
    if parsed is None:
        raise Refused("etcdserver: wrong downgrade target version format", Code.INVALID_ARGUMENT)
    major, minor = API_VERSION.split(".")[:2]
    if (int(parsed[1]), int(parsed[2])) != (int(major), int(minor) - 1):
        raise Refused("etcdserver: invalid downgrade target version", Code.INVALID_ARGUMENT)


def _precondition(message: str) -> Refused:
    return Refused(message, Code.FAILED_PRECONDITION)


def _snapshot(blob: bytes, remaining: int) -> pb.SnapshotResponse:
    return pb.SnapshotResponse(remaining_bytes=remaining, blob=blob, version=_STORAGE_VERSION)


async def _blobs(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, none longer than a blob may be."""
    async for piece in pieces:
        for start in range(0, len(piece), _BLOB_BYTES):
            yield piece[start : start + _BLOB_BYTES]
