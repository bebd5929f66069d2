"""What is wrong with a request by itself, whatever the store holds (etcd: v3rpc/key.go). That no key changes twice
in a transaction is the store's own rule (`mvcc.once`).

The order of the checks is etcd's, for the first that fails is told.
"""

from __future__ import annotations

from pilothouse.etcd.contract import InvalidRequest
from pilothouse.etcd.wire import etcd_pb2 as pb

_WRAPPING_BYTES = 24
"""What etcd's log entry has beside the request in it: the limit is for the entry."""


def _invalid(text: str) -> InvalidRequest:
    return InvalidRequest(f"etcdserver: {text}")


def check_size(size: int, size_max: int) -> None:
    """Of a request that writes."""
    if size + _WRAPPING_BYTES > size_max:
        raise _invalid("request is too large")


def check_range(r: pb.RangeRequest) -> None:
    if not r.key:
        raise _invalid("key is not provided")
    if not 0 <= r.sort_order <= 2 or not 0 <= r.sort_target <= 4:
        raise _invalid("invalid sort option")


def check_put(r: pb.PutRequest) -> None:
    if not r.key:
        raise _invalid("key is not provided")
    if r.ignore_value and r.value:
        raise _invalid("value is provided")
    if r.ignore_lease and r.lease:
        raise _invalid("lease is provided")


def check_delete(r: pb.DeleteRangeRequest) -> None:
    if not r.key:
        raise _invalid("key is not provided")


def check_txn(r: pb.TxnRequest, ops_max: int) -> None:
    """An inner transaction has what the outer one leaves of the limit."""
    ops = max(len(r.compare), len(r.success), len(r.failure))
    if ops > ops_max:
        raise _invalid("too many operations in txn request")
    for compare in r.compare:
        if not compare.key:
            raise _invalid("key is not provided")
        if not 0 <= compare.result <= 3 or not 0 <= compare.target <= 4:
            raise _invalid("invalid compare option")
    for branch in (r.success, r.failure):
        for op in branch:
            _check_op(op, ops_max - ops)


def _check_op(op: pb.RequestOp, ops_max: int) -> None:
    kind = op.WhichOneof("request")
    if kind == "request_range":
        check_range(op.request_range)
    elif kind == "request_put":
        check_put(op.request_put)
    elif kind == "request_delete_range":
        check_delete(op.request_delete_range)
    elif kind == "request_txn":
        check_txn(op.request_txn, ops_max)
    else:
        raise _invalid("key not found")
