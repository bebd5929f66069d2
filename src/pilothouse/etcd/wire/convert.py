"""Between the contract's types and the messages on the wire, both ways."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.etcd.contract import (
    Bounds,
    Compare,
    Delete,
    DeleteResult,
    Event,
    EventType,
    InvalidRequest,
    KeyValue,
    Op,
    Put,
    PutResult,
    Range,
    RangeResult,
    Sort,
    Target,
    Txn,
    TxnResult,
)
from pilothouse.etcd.wire import etcd_pb2 as pb

_TARGET_FIELD = {
    Target.VERSION: "version",
    Target.CREATE: "create_revision",
    Target.MOD: "mod_revision",
    Target.VALUE: "value",
    Target.LEASE: "lease",
}
_OPS = ("=", ">", "<", "!=")
_SORT_TARGETS = (None, Target.VERSION, Target.CREATE, Target.MOD, Target.VALUE)

# -- messages to the contract ---------------------------------------------------------------------------------


def kv_of(m: pb.KeyValue) -> KeyValue:
    return KeyValue(m.key, m.value, m.create_revision, m.mod_revision, m.version, m.lease)


def range_of(m: pb.RangeRequest) -> Range:
    sort = None
    if m.sort_target or m.sort_order == pb.RangeRequest.DESCEND:
        if not 0 <= m.sort_target < len(_SORT_TARGETS) or not 0 <= m.sort_order <= 2:
            raise InvalidRequest("etcdserver: invalid sort option")
        sort = Sort(_SORT_TARGETS[m.sort_target], m.sort_order == pb.RangeRequest.DESCEND)
    bounds = Bounds(m.min_mod_revision, m.max_mod_revision, m.min_create_revision, m.max_create_revision)
    return Range(
        m.key,
        m.range_end,
        m.limit,
        m.revision,
        m.keys_only,
        m.count_only,
        sort,
        bounds if any(bounds) else None,
        m.serializable,
    )


def put_of(m: pb.PutRequest) -> Put:
    return Put(m.key, m.value, m.lease, m.prev_kv, m.ignore_value, m.ignore_lease)


def delete_of(m: pb.DeleteRangeRequest) -> Delete:
    return Delete(m.key, m.range_end, m.prev_kv)


def compare_of(m: pb.Compare) -> Compare:
    target = Target(m.target)
    return Compare(m.key, target, _OPS[m.result], getattr(m, _TARGET_FIELD[target]), m.range_end)


def op_of(m: pb.RequestOp) -> Op:
    kind = m.WhichOneof("request")
    if kind == "request_put":
        return put_of(m.request_put)
    if kind == "request_range":
        return range_of(m.request_range)
    if kind == "request_delete_range":
        return delete_of(m.request_delete_range)
    return txn_of(m.request_txn)


def txn_of(m: pb.TxnRequest) -> Txn:
    return Txn(
        [compare_of(c) for c in m.compare], [op_of(o) for o in m.success], [op_of(o) for o in m.failure]
    )


def range_result_of(m: pb.RangeResponse) -> RangeResult:
    return RangeResult([kv_of(kv) for kv in m.kvs], m.count, m.header.revision, m.more)


def put_result_of(m: pb.PutResponse) -> PutResult:
    return PutResult(m.header.revision, kv_of(m.prev_kv) if m.HasField("prev_kv") else None)


def delete_result_of(m: pb.DeleteRangeResponse) -> DeleteResult:
    return DeleteResult(m.header.revision, m.deleted, [kv_of(kv) for kv in m.prev_kvs])


def txn_result_of(m: pb.TxnResponse) -> TxnResult:
    return TxnResult(m.succeeded, m.header.revision, [_result_of(r) for r in m.responses])


def _result_of(m: pb.ResponseOp) -> PutResult | DeleteResult | RangeResult | TxnResult:
    kind = m.WhichOneof("response")
    if kind == "response_put":
        return put_result_of(m.response_put)
    if kind == "response_range":
        return range_result_of(m.response_range)
    if kind == "response_delete_range":
        return delete_result_of(m.response_delete_range)
    return txn_result_of(m.response_txn)


def event_of(m: pb.Event) -> Event:
    return Event(EventType(m.type), kv_of(m.kv), kv_of(m.prev_kv) if m.HasField("prev_kv") else None)


# -- the contract to messages ---------------------------------------------------------------------------------


def kv_message(kv: KeyValue) -> pb.KeyValue:
    key, value, created, modified, version, lease = kv
    return pb.KeyValue(
        key=key,
        value=value,
        create_revision=created,
        mod_revision=modified,
        version=version,
        lease=lease,
    )


def range_message(op: Range) -> pb.RangeRequest:
    m = pb.RangeRequest(
        key=op.key,
        range_end=op.range_end,
        limit=op.limit,
        revision=op.revision,
        keys_only=op.keys_only,
        count_only=op.count_only,
        serializable=op.serializable,
    )
    if op.sort is not None:
        order = pb.RangeRequest.DESCEND if op.sort.descending else pb.RangeRequest.ASCEND
        m.sort_order = order
        m.sort_target = pb.RangeRequest.SortTarget.Name(_SORT_TARGETS.index(op.sort.target))  # type: ignore[assignment]
    if op.bounds is not None:
        m.min_mod_revision, m.max_mod_revision, m.min_create_revision, m.max_create_revision = op.bounds
    return m


def put_message(op: Put) -> pb.PutRequest:
    return pb.PutRequest(
        key=op.key,
        value=op.value,
        lease=op.lease,
        prev_kv=op.prev,
        ignore_value=op.ignore_value,
        ignore_lease=op.ignore_lease,
    )


def delete_message(op: Delete) -> pb.DeleteRangeRequest:
    return pb.DeleteRangeRequest(key=op.key, range_end=op.range_end, prev_kv=op.prev)


def compare_message(compare: Compare) -> pb.Compare:
    m = pb.Compare(
        key=compare.key,
        range_end=compare.range_end,
        result=_OPS.index(compare.op),  # type: ignore[arg-type]
        target=compare.target.value,  # type: ignore[arg-type]
    )
    setattr(m, _TARGET_FIELD[compare.target], compare.operand)
    return m


def op_message(op: Op) -> pb.RequestOp:
    if isinstance(op, Put):
        return pb.RequestOp(request_put=put_message(op))
    if isinstance(op, Range):
        return pb.RequestOp(request_range=range_message(op))
    if isinstance(op, Delete):
        return pb.RequestOp(request_delete_range=delete_message(op))
    return pb.RequestOp(request_txn=txn_message(op))


def txn_message(txn: Txn) -> pb.TxnRequest:
    return pb.TxnRequest(
        compare=[compare_message(c) for c in txn.compare],
        success=[op_message(o) for o in txn.then],
        failure=[op_message(o) for o in txn.otherwise],
    )


def range_response(result: RangeResult, header: pb.ResponseHeader) -> pb.RangeResponse:
    return pb.RangeResponse(
        header=header, kvs=[kv_message(kv) for kv in result.kvs], more=result.more, count=result.count
    )


def put_response(result: PutResult, header: pb.ResponseHeader) -> pb.PutResponse:
    prev = kv_message(result.prev) if result.prev is not None else None
    return pb.PutResponse(header=header, prev_kv=prev)


def delete_response(result: DeleteResult, header: pb.ResponseHeader) -> pb.DeleteRangeResponse:
    prev = [kv_message(kv) for kv in result.prev]
    return pb.DeleteRangeResponse(header=header, deleted=result.deleted, prev_kvs=prev)


def txn_response(result: TxnResult, header: pb.ResponseHeader) -> pb.TxnResponse:
    """Inner headers carry a revision alone, as etcd's do, and those of inner transactions not even that."""
    responses = [_response(r) for r in result.results]
    return pb.TxnResponse(header=header, succeeded=result.succeeded, responses=responses)


def _response(result: PutResult | DeleteResult | RangeResult | TxnResult) -> pb.ResponseOp:
    header = pb.ResponseHeader(revision=result.revision)
    if isinstance(result, PutResult):
        return pb.ResponseOp(response_put=put_response(result, header))
    if isinstance(result, RangeResult):
        return pb.ResponseOp(response_range=range_response(result, header))
    if isinstance(result, DeleteResult):
        return pb.ResponseOp(response_delete_range=delete_response(result, header))
    return pb.ResponseOp(response_txn=txn_response(result, pb.ResponseHeader()))


def event_messages(events: Iterable[Event], *, prev: bool) -> list[pb.Event]:
    return [
        pb.Event(
            type=event.type.value,  # type: ignore[arg-type]
            kv=kv_message(event.kv),
            prev_kv=kv_message(event.prev) if prev and event.prev is not None else None,
        )
        for event in events
    ]
