"""The KV service: range, put, delete range, txn, compact."""

from __future__ import annotations

from collections.abc import Mapping

from pilothouse.etcd.contract import RangeResult
from pilothouse.etcd.server import checks
from pilothouse.etcd.server.core import Call, Core, Service, Streaming, Unary
from pilothouse.etcd.wire import convert
from pilothouse.etcd.wire import etcd_pb2 as pb

_KEYS_AT_ONCE = 5_000


class KvService(Service):
    def __init__(self, core: Core) -> None:
        super().__init__(core)
        self._backend = core.backend
        self._header = core.headers.at
        self._metrics = core.metrics
        self._size_max = core.options.request_bytes_max
        self._ops_max = core.options.txn_ops_max

    def handlers(self) -> Mapping[str, Unary | Streaming]:
        return {
            "Range": self.range,
            "Put": self.put,
            "DeleteRange": self.delete_range,
            "Txn": self.txn,
            "Compact": self.compact,
        }

    async def range(self, request: pb.RangeRequest, call: Call) -> pb.RangeResponse | bytes:
        checks.check_range(request)
        result = await self._backend.range(convert.range_of(request))
        self._metrics.ranges.inc()
        header = self._header(result.revision)
        if len(result.kvs) > _KEYS_AT_ONCE:
            return await self._in_pieces(result, header)
        return convert.range_response(result, header)

    async def _in_pieces(self, result: RangeResult, header: pb.ResponseHeader) -> bytes:
        """The answer's bytes, while others have their turns: a million keys take seconds. What was found does not
        change, and the parts of a message's repeated field may come one after the other."""
        pieces = [convert.range_response(result._replace(kvs=[]), header).SerializeToString()]
        for begin in range(0, len(result.kvs), _KEYS_AT_ONCE):
            kvs = [convert.kv_message(kv) for kv in result.kvs[begin : begin + _KEYS_AT_ONCE]]
            pieces.append(pb.RangeResponse(kvs=kvs).SerializeToString())
            await self.core.world.clock.sleep(0)
        return b"".join(pieces)

    async def put(self, request: pb.PutRequest, call: Call) -> pb.PutResponse:
        checks.check_put(request)
        checks.check_size(call.size, self._size_max)
        result = await self._backend.put(convert.put_of(request))
        self._metrics.puts.inc()
        return convert.put_response(result, self._header(result.revision))

    async def delete_range(self, request: pb.DeleteRangeRequest, call: Call) -> pb.DeleteRangeResponse:
        checks.check_delete(request)
        checks.check_size(call.size, self._size_max)
        result = await self._backend.delete(convert.delete_of(request))
        self._metrics.deletes.inc()
        return convert.delete_response(result, self._header(result.revision))

    async def txn(self, request: pb.TxnRequest, call: Call) -> pb.TxnResponse:
        checks.check_txn(request, self._ops_max)
        if not _only_reads(request):
            checks.check_size(call.size, self._size_max)
        result = await self._backend.txn(convert.txn_of(request))
        self._metrics.txns.inc()
        return convert.txn_response(result, self._header(result.revision))

    async def compact(self, request: pb.CompactionRequest, call: Call) -> pb.CompactionResponse:
        """Physical or not, it is answered when the space is free: nothing is gained by answering before."""
        await self._backend.compact(request.revision)
        return pb.CompactionResponse(header=self.core.headers.now())


def _only_reads(request: pb.TxnRequest) -> bool:
    return all(
        op.WhichOneof("request") == "request_range"
        for branch in (request.success, request.failure)
        for op in branch
    )
