"""Alarms and the space quota (etcd: v3alarm, quota.go, the capped and corrupt appliers).

    the database grows over the quota ──▶ NOSPACE ──(until somebody disarms it)──▶ puts and grants are refused
    an operator activates CORRUPT     ──▶ CORRUPT ──(until somebody disarms it)──▶ every write is refused

Reads go on, and with NOSPACE so do deletions, compaction and defragmentation, which make room. An alarm is durable,
and making room does not end it: the operator says when it is over.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from pilothouse.etcd.contract import Maintenance, NoSpace
from pilothouse.etcd.server.options import QUOTA_BYTES_DEFAULT
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Refused
from pilothouse.etcd.wire.methods import KV, LEASE

log = logging.getLogger(__name__)

RECORD = "alarms"
NONE, NOSPACE, CORRUPT = 0, 1, 2
NAMES = ("NONE", "NOSPACE", "CORRUPT")

_LEASE_BYTES = 64
_KEY_BYTES = 256
"""What a key costs beside itself and its value, as etcd reckons."""

_PUT, _TXN, _GRANT = KV["Put"].path, KV["Txn"].path, LEASE["LeaseGrant"].path
_WRITES = {_PUT, _TXN, _GRANT, KV["DeleteRange"].path, KV["Compact"].path, LEASE["LeaseRevoke"].path}


class Alarms:
    """What is wrong, by member. Changes are durable when they return."""

    def __init__(self, kept: Maintenance) -> None:
        self._kept = kept
        self._active: set[tuple[int, int]] = set()

    async def start(self) -> None:
        record = await self._kept.record(RECORD)
        self._active = {(member, alarm) for member, alarm in json.loads(record or b"[]")}

    def active(self, alarm: int = NONE) -> list[tuple[int, int]]:
        """Member and alarm; NONE is all of them."""
        return sorted(found for found in self._active if alarm in (NONE, found[1]))

    async def activate(self, member: int, alarm: int) -> None:
        if alarm != NONE and (member, alarm) not in self._active:
            await self._keep(self._active | {(member, alarm)})
            log.warning("alarm %s: etcdctl alarm disarm ends it", NAMES[alarm])

    async def deactivate(self, member: int, alarm: int) -> bool:
        """Whether it was active."""
        if (member, alarm) not in self._active:
            return False
        await self._keep(self._active - {(member, alarm)})
        log.info("alarm %s was disarmed", NAMES[alarm])
        return True

    async def _keep(self, active: set[tuple[int, int]]) -> None:
        await self._kept.keep_record(RECORD, json.dumps(sorted(active)).encode() if active else b"")
        self._active = active

    def errors(self) -> list[str]:
        """As `etcdctl endpoint status` shows them."""
        return [f"memberID:{member} alarm:{NAMES[alarm]} " for member, alarm in self.active()]


class Quota:
    """How much the database may hold. `limit_bytes` 0 is etcd's default, below 0 there is no limit."""

    def __init__(self, kept: Maintenance, limit_bytes: int) -> None:
        self._kept = kept
        self.limit_bytes = limit_bytes or QUOTA_BYTES_DEFAULT
        self._bound: int | None = None
        """The size is not above it. Measuring takes a turn of the writer, so it is done when this bound is not
        enough to say yes."""

    async def fits(self, cost: int) -> bool:
        """Whether this much more is allowed."""
        if not cost or self.limit_bytes < 0:
            return True
        if self._bound is None or self._bound + cost >= self.limit_bytes:
            self._bound = (await self._kept.status()).db_size
        self._bound += cost
        return self._bound < self.limit_bytes


class _Called(Protocol):
    @property
    def method(self) -> str: ...


class SpaceGuard:
    """Refuses what the alarms forbid, and raises one when the quota is used up."""

    def __init__(self, alarms: Alarms, quota: Quota, member: int) -> None:
        self._alarms = alarms
        self._quota = quota
        self._member = member

    async def check(self, call: _Called, request: Any) -> None:
        path = call.method
        if path not in _WRITES:
            return
        if self._alarms.active(CORRUPT) and not (path == _TXN and _only_reads(request)):
            raise Refused("etcdserver: corrupt cluster")
        cost = cost_of(path, request)
        if not cost:
            return
        if self._alarms.active(NOSPACE):
            raise NoSpace
        if not await self._quota.fits(cost):
            await self._alarms.activate(self._member, NOSPACE)
            raise NoSpace


def cost_of(path: str, request: Any) -> int:
    """Bytes that a request may add, by etcd's reckoning."""
    if path == _PUT:
        return _put_cost(request)
    if path == _TXN:
        return txn_cost(request)
    return _LEASE_BYTES if path == _GRANT else 0


def txn_cost(request: pb.TxnRequest) -> int:
    """Of the dearer branch."""
    return max(_branch_cost(request.success), _branch_cost(request.failure))


def _branch_cost(ops: Iterable[pb.RequestOp]) -> int:
    cost = 0
    for op in ops:
        kind = op.WhichOneof("request")
        if kind == "request_put":
            cost += _put_cost(op.request_put)
        elif kind == "request_txn":
            cost += txn_cost(op.request_txn)
    return cost


def _put_cost(request: pb.PutRequest) -> int:
    return _KEY_BYTES + len(request.key) + len(request.value)


def _only_reads(request: pb.TxnRequest) -> bool:
    return all(
        op.WhichOneof("request") == "request_range"
        or (op.WhichOneof("request") == "request_txn" and _only_reads(op.request_txn))
        for branch in (request.success, request.failure)
        for op in branch
    )
