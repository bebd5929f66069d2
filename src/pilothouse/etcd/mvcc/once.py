"""No key is put twice in one transaction, nor put beside a deletion of it (etcd: v3rpc/key.go, checkIntervals).

What may run together is compared, whatever the comparisons will say. Two of etcd's liberties are kept, for clients
find them: an inner transaction may delete what one before it put, and a deletion to the end of the key space
(range_end b"\\0") hinders nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.etcd.contract import Delete, InvalidRequest, Op, Put, Txn


class DuplicateKey(InvalidRequest):
    def __init__(self) -> None:
        super().__init__("etcdserver: duplicate key given in txn request")


def require_once(txn: Txn) -> None:
    """Raises DuplicateKey."""
    for branch in (txn.then, txn.otherwise):
        if len(branch) > 1 or (branch and isinstance(branch[0], Txn)):
            _changes(branch)


_Interval = tuple[bytes, bytes]


def _changes(ops: Sequence[Op]) -> tuple[set[bytes], list[_Interval]]:
    """The keys that are put, and the intervals that are deleted."""
    deletes = [(op.key, op.range_end) for op in ops if isinstance(op, Delete)]
    puts: set[bytes] = set()
    for op in ops:
        if isinstance(op, Txn):
            then_puts, then_deletes = _changes(op.then)
            else_puts, else_deletes = _changes(op.otherwise)
            inner = then_puts | else_puts  # one of the branches runs: they may share keys
            for key in inner:
                _refuse_second(key, puts, deletes)
            puts |= inner
            deletes += then_deletes + else_deletes
    for op in ops:
        if isinstance(op, Put):
            _refuse_second(op.key, puts, deletes)
            puts.add(op.key)
    return puts, deletes


def _refuse_second(key: bytes, puts: set[bytes], deletes: list[_Interval]) -> None:
    if key in puts or any(key == first if not end else first <= key < end for first, end in deletes):
        raise DuplicateKey
