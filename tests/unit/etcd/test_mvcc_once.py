"""No key changes twice in a transaction: the quick answer against the obvious one, and how long it takes."""

from __future__ import annotations

import itertools
import time

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.etcd.contract import Delete, Op, Put, Txn
from pilothouse.etcd.mvcc.once import DuplicateKey, require_once

_KEYS = st.binary(min_size=1, max_size=2).map(lambda b: bytes(97 + x % 6 for x in b))
_PUTS = _KEYS.map(lambda key: Put(key, b""))
_DELETES = st.tuples(_KEYS, st.one_of(st.just(b""), st.just(b"\0"), _KEYS)).map(lambda t: Delete(*t))


def _slow(ops: list[Op]) -> bool:
    """Of puts and deletions alone: whether a key changes twice."""
    puts = [op.key for op in ops if isinstance(op, Put)]
    gone = [
        (op.key, op.range_end or op.key + b"\0")
        for op in ops
        if isinstance(op, Delete) and op.range_end != b"\0"
    ]
    return len(set(puts)) < len(puts) or any(first <= key < end for key in puts for first, end in gone)


def _refused(txn: Txn) -> bool:
    try:
        require_once(txn)
    except DuplicateKey:
        return True
    return False


@given(st.lists(st.one_of(_PUTS, _DELETES), max_size=12))
def test_as_the_obvious_one(ops: list[Op]) -> None:
    assert _refused(Txn((), ops)) == (len(ops) > 1 and _slow(ops))
    assert _refused(Txn((), [Txn((), ops)])) == _slow(ops)


def test_what_a_request_can_hold_is_checked_at_once() -> None:
    """Three levels of 42 operations are a hundred thousand, within etcd's limit of 128."""
    number = itertools.count()

    def inner(levels: int) -> list[Op]:
        if levels:
            return [Txn((), inner(levels - 1)) for _ in range(28)]
        return [Put(b"k%d" % next(number), b"") for _ in range(14)] + [
            Delete(b"d%d" % next(number), b"d%d!" % next(number)) for _ in range(14)
        ]

    txn = Txn((), inner(2))
    begun = time.process_time()
    require_once(txn)
    assert time.process_time() - begun < 2
