"""The Lock service (etcd: v3lock, client/v3/concurrency/mutex.go)."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.etcd.contract import Compare, Delete, Put, Range, RangeResult, Target, Txn, TxnResult
from pilothouse.etcd.server.core import Call, Service, Streaming, Unary
from pilothouse.etcd.server.session import first_created, key_of, prefix_of, queued, session, wait_for_turn
from pilothouse.etcd.wire import etcd_pb2 as pb
from pilothouse.etcd.wire.errors import Code, Refused


class LockService(Service):
    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {"Lock": self.lock, "Unlock": self.unlock}

    async def lock(self, request: pb.LockRequest, call: Call) -> pb.LockResponse:
        """Answers when the caller has it. Who goes away meanwhile leaves the queue."""
        backend = self.core.backend
        lease = await session(backend, request.lease)
        key = key_of(request.name, lease)
        async with queued(backend, key):
            entered = await backend.txn(_enter(request.name, key, lease))
            created, held = _standing(entered)
            if not held:
                await wait_for_turn(backend, prefix_of(request.name), created)
                if not (await backend.range(Range(key))).kvs:
                    raise Refused("mutex: session is expired", Code.UNKNOWN)
        return pb.LockResponse(header=self.core.headers.now(), key=key)

    async def unlock(self, request: pb.UnlockRequest, call: Call) -> pb.UnlockResponse:
        if not request.key:
            raise Refused("etcdserver: key is not provided")
        result = await self.core.backend.delete(Delete(request.key))
        return pb.UnlockResponse(header=self.core.headers.at(result.revision))


def _enter(name: bytes, key: bytes, lease: int) -> Txn:
    """Queue up, unless this lease is in the queue already; and see who is first."""
    first = first_created(prefix_of(name))
    return Txn((Compare(key, Target.CREATE, "=", 0),), (Put(key, b"", lease), first), (Range(key), first))


def _standing(entered: TxnResult) -> tuple[int, bool]:
    """When the key was created, and whether it is the first."""
    own, first = entered.results
    assert isinstance(first, RangeResult)
    created = own.kvs[0].create_revision if isinstance(own, RangeResult) else entered.revision
    return created, first.kvs[0].create_revision == created
