"""What is wrong with a request by itself, whatever the store holds (etcd: v3rpc/key.go).

The order of the checks is etcd's, for the first that fails is told.
"""

from __future__ import annotations

from collections.abc import Iterable

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
    _check_branches(r, ops_max)
    for branch in (r.success, r.failure):
        _check_keys_once(branch)


def _check_branches(r: pb.TxnRequest, ops_max: int) -> None:
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
        _check_branches(op.request_txn, ops_max)
    else:
        raise _invalid("key not found")


_Intervals = list[tuple[bytes, bytes]]
"""First key and the end, b"" for a single key and b"\\0" for all that follow."""


def _check_keys_once(ops: Iterable[pb.RequestOp]) -> tuple[set[bytes], _Intervals]:
    """No key is put twice in what may run together, nor put and deleted; the keys put and intervals deleted."""
    ops = list(ops)
    deletes: _Intervals = [
        (op.request_delete_range.key, op.request_delete_range.range_end)
        for op in ops
        if op.WhichOneof("request") == "request_delete_range"
    ]
    puts: set[bytes] = set()
    for op in ops:
        if op.WhichOneof("request") != "request_txn":
            continue
        then_puts, then_deletes = _check_keys_once(op.request_txn.success)
        else_puts, else_deletes = _check_keys_once(op.request_txn.failure)
        for key in then_puts | else_puts:
            _refuse_second(key, puts, deletes)
        puts |= then_puts | else_puts  # one of the branches runs: they may share keys
        deletes += then_deletes + else_deletes
    for op in ops:
        if op.WhichOneof("request") == "request_put":
            _refuse_second(op.request_put.key, puts, deletes)
            puts.add(op.request_put.key)
    return puts, deletes


def _refuse_second(key: bytes, puts: set[bytes], deletes: _Intervals) -> None:
    if key in puts or any(_contains(first, end, key) for first, end in deletes):
        raise _invalid("duplicate key given in txn request")


def _contains(first: bytes, end: bytes, key: bytes) -> bool:
    if not end:
        return key == first
    return key >= first and (end == b"\0" or key < end)
