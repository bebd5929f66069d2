"""The Election service (etcd: v3election, client/v3/concurrency/election.go): the oldest key below a name leads, and
its value is what the leader proclaims."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.etcd.contract import (
    Compare,
    Delete,
    EventType,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Target,
    Txn,
    TxnResult,
    prefix_end,
)
from pilothouse.etcd.server.core import Call, Send, Service, Streaming, Unary
from pilothouse.etcd.server.session import holder, key_of, prefix_of, queued, session, wait_for_turn
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.convert import kv_message
from pilothouse.etcd.wire.errors import Code, Refused


class ElectionService(Service):
    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {
            "Campaign": self.campaign,
            "Proclaim": self.proclaim,
            "Leader": self.leader,
            "Resign": self.resign,
            "Observe": self.observe,
        }

    async def campaign(self, request: pb.CampaignRequest, call: Call) -> pb.CampaignResponse:
        """Answers when the caller leads. Who goes away meanwhile is no candidate any more."""
        backend = self.core.backend
        lease = await session(backend, request.lease)
        key = key_of(request.name, lease)
        stand = Txn((Compare(key, Target.CREATE, "=", 0),), (Put(key, request.value, lease),), (Range(key),))
        async with queued(backend, key):
            entered = await backend.txn(stand)
            created = await self._candidacy(entered, key, lease, request.value)
            await wait_for_turn(backend, prefix_of(request.name), created)
        return pb.CampaignResponse(
            header=self.core.headers.at(entered.revision),
            leader=pb.LeaderKey(name=request.name, key=key, rev=created, lease=lease),
        )

    async def _candidacy(self, entered: TxnResult, key: bytes, lease: int, value: bytes) -> int:
        """When the key was created. A lease that stands already may say something new."""
        own = entered.results[0]
        if not isinstance(own, RangeResult):
            return entered.revision
        kv = own.kvs[0]
        if kv.value != value:
            await self._proclaim(key, kv.create_revision, lease, value)
        return kv.create_revision

    async def proclaim(self, request: pb.ProclaimRequest, call: Call) -> pb.ProclaimResponse:
        leader = _required(request)
        lease = await session(self.core.backend, leader.lease)
        revision = await self._proclaim(leader.key, leader.rev, lease, request.value)
        return pb.ProclaimResponse(header=self.core.headers.at(revision))

    async def _proclaim(self, key: bytes, created: int, lease: int, value: bytes) -> int:
        result = await self.core.backend.txn(Txn(_still(key, created), (Put(key, value, lease),)))
        if not result.succeeded:
            raise _unknown("election: not leader")
        return result.revision

    async def resign(self, request: pb.ResignRequest, call: Call) -> pb.ResignResponse:
        """Who does not lead any more has nothing to give back, and is told nothing."""
        leader = _required(request)
        result = await self.core.backend.txn(Txn(_still(leader.key, leader.rev), (Delete(leader.key),)))
        return pb.ResignResponse(header=self.core.headers.at(result.revision))

    async def leader(self, request: pb.LeaderRequest, call: Call) -> pb.LeaderResponse:
        found = await holder(self.core.backend, prefix_of(request.name))
        if not found.kvs:
            raise _unknown("election: no leader")
        return self._said(found.kvs[0], found.revision)

    async def observe(self, request: pb.LeaderRequest, send: Send, call: Call) -> None:
        """Every leader and what it proclaims, in order; of what happened while nobody led the newest."""
        prefix = prefix_of(request.name)
        while True:
            found = await holder(self.core.backend, prefix)
            if found.kvs:
                kv, revision = found.kvs[0], found.revision
            else:
                kv = await self._first_put(prefix, found.revision)
                revision = kv.mod_revision
            await send(self._said(kv, revision))
            await self._follow(kv.key, revision + 1, send)

    async def _first_put(self, prefix: bytes, revision: int) -> KeyValue:
        watch = self.core.backend.watch(prefix, prefix_end(prefix), revision)
        try:
            while True:
                for event in await watch.next():
                    if event.type is EventType.PUT:
                        return event.kv
        finally:
            watch.close()

    async def _follow(self, key: bytes, revision: int, send: Send) -> None:
        """What one leader says, until its key is gone."""
        watch = self.core.backend.watch(key, start_revision=revision)
        try:
            while True:
                for event in await watch.next():
                    if event.type is EventType.DELETE:
                        return
                    await send(self._said(event.kv, event.kv.mod_revision))
        finally:
            watch.close()

    def _said(self, kv: KeyValue, revision: int) -> pb.LeaderResponse:
        return pb.LeaderResponse(header=self.core.headers.at(revision), kv=kv_message(kv))


def _still(key: bytes, created: int) -> tuple[Compare, ...]:
    return (Compare(key, Target.CREATE, "=", created),)


def _required(request: pb.ProclaimRequest | pb.ResignRequest) -> pb.LeaderKey:
    if not request.HasField("leader"):
        raise _unknown('"leader" field must be provided')
    return request.leader


def _unknown(message: str) -> Refused:
    """These errors are the client library's, which has no codes for them."""
    return Refused(message, Code.UNKNOWN)
