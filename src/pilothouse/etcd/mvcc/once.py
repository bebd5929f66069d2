"""No key is put twice in one transaction, nor put beside a deletion of it (etcd: v3rpc/key.go, checkIntervals).

What may run together is compared, whatever the comparisons will say. Two of etcd's liberties are kept, for clients
find them: an inner transaction may delete what one before it put, and a deletion to the end of the key space
(range_end b"\\0") hinders nothing.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
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


class _Deletions:
    """Keys and intervals that are deleted; overlapping intervals become one. A request may hold tens of thousands, so
    asking must not take longer for each."""

    def __init__(self) -> None:
        self._keys: set[bytes] = set()
        self._starts: list[bytes] = []
        self._ends: list[bytes] = []

    def add(self, key: bytes, end: bytes) -> None:
        if not end:
            self._keys.add(key)
        elif key < end:  # not b"\0"
            first, behind = bisect_left(self._ends, key), bisect_right(self._starts, end)
            if first < behind:
                key, end = min(key, self._starts[first]), max(end, self._ends[behind - 1])
            self._starts[first:behind] = [key]
            self._ends[first:behind] = [end]

    def update(self, other: _Deletions) -> None:
        self._keys |= other._keys
        for key, end in zip(other._starts, other._ends, strict=True):
            self.add(key, end)

    def __contains__(self, key: bytes) -> bool:
        if key in self._keys:
            return True
        at = bisect_right(self._starts, key) - 1
        return at >= 0 and key < self._ends[at]


def _changes(ops: Sequence[Op]) -> tuple[set[bytes], _Deletions]:
    """The keys that are put, and what is deleted."""
    deletes = _Deletions()
    for op in ops:
        if isinstance(op, Delete):
            deletes.add(op.key, op.range_end)
    puts: set[bytes] = set()
    for op in ops:
        if isinstance(op, Txn):
            then_puts, then_deletes = _changes(op.then)
            else_puts, else_deletes = _changes(op.otherwise)
            inner = then_puts | else_puts  # one of the branches runs: they may share keys
            for key in inner:
                _refuse_second(key, puts, deletes)
            puts |= inner
            deletes.update(then_deletes)
            deletes.update(else_deletes)
    for op in ops:
        if isinstance(op, Put):
            _refuse_second(op.key, puts, deletes)
            puts.add(op.key)
    return puts, deletes


def _refuse_second(key: bytes, puts: set[bytes], deletes: _Deletions) -> None:
    if key in puts or key in deletes:
        raise DuplicateKey
