"""Every option of a range with every other, on a store whose whole history is known. The oracle is the obvious
filter over all versions; etcd's own order of things is etcdserver/apply.go: bounds, then order, then limit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
import pytest_asyncio

from pilothouse.etcd.contract import (
    Backend,
    Bounds,
    Delete,
    KeyValue,
    Put,
    Range,
    RangeResult,
    Sort,
    Target,
    Txn,
)
from tests.contract.conftest import KINDS, opener

pytestmark = pytest.mark.asyncio(loop_scope="module")

_HISTORY: tuple[tuple[str, bytes, bytes], ...] = (
    ("put", b"a", b"9"),  # 2
    ("put", b"b/1", b"8"),  # 3
    ("put", b"b/1", b"7"),
    ("put", b"b/2", b"6"),  # 5
    ("put", b"b/2", b"5"),
    ("put", b"b/2", b"4"),  # 7
    ("put", b"c", b"gone"),
    ("delete", b"c", b""),  # 9
    ("put", b"b/3", b"3"),
    ("put", b"b/3", b"2"),
    ("put", b"b/3", b"1"),
    ("put", b"b/3", b"0"),  # 13
    ("delete", b"a", b""),  # 14
    ("put", b"\xff\xff", b"z"),  # 15
    ("put", b"\xff\xff", b"y"),
    ("put", b"\xff\xff", b"x"),
    ("put", b"\xff\xff", b"w"),
    ("put", b"\xff\xff", b"v"),  # 19
    ("put", b"a", b"again"),  # 20
    ("put", b"b/1", b"last"),  # 21, version 3 as b/2's: told apart below
    ("put", b"b/1", b"very last"),
    ("put", b"b/1", b"the very last"),
    ("put", b"b/1", b"the end"),  # 24, version 6
)
_NEWEST = 1 + len(_HISTORY)


def _state(revision: int) -> list[KeyValue]:
    """All keys as they were at a revision, in order."""
    live: dict[bytes, KeyValue] = {}
    for at, (what, key, value) in enumerate(_HISTORY[: revision - 1], 2):
        if what == "delete":
            del live[key]
            continue
        old = live.get(key)
        live[key] = KeyValue(
            key, value, old.create_revision if old else at, at, old.version + 1 if old else 1, 0
        )
    return [live[key] for key in sorted(live)]


_SORT_KEYS = {
    None: lambda kv: kv.key,
    Target.VERSION: lambda kv: kv.version,
    Target.CREATE: lambda kv: kv.create_revision,
    Target.MOD: lambda kv: kv.mod_revision,
    Target.VALUE: lambda kv: kv.value,
}


def _oracle(op: Range) -> RangeResult:
    inside = [
        kv
        for kv in _state(op.revision or _NEWEST)
        if (
            kv.key == op.key
            if not op.range_end
            else kv.key >= op.key and (op.range_end == b"\0" or kv.key < op.range_end)
        )
    ]
    if op.count_only:
        return RangeResult([], len(inside), _NEWEST)
    bounds = op.bounds or Bounds()
    shown = [
        kv
        for kv in inside
        if kv.mod_revision >= bounds.min_mod
        and kv.create_revision >= bounds.min_create
        and (not bounds.max_mod or kv.mod_revision <= bounds.max_mod)
        and (not bounds.max_create or kv.create_revision <= bounds.max_create)
    ]
    if op.sort is not None:
        shown.sort(key=_SORT_KEYS[op.sort.target], reverse=op.sort.descending)
    more = 0 < op.limit < len(shown)
    shown = shown[: op.limit] if op.limit else shown
    return RangeResult(
        [kv._replace(value=b"") for kv in shown] if op.keys_only else shown, len(inside), _NEWEST, more
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=KINDS)
async def filled(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    async with opener(request.param, request)() as store:
        for what, key, value in _HISTORY:
            if what == "put":
                await store.put(Put(key, value))
            else:
                await store.delete(Delete(key))
        yield store


class _Keys(NamedTuple):
    name: str
    key: bytes
    range_end: bytes


_KEYS = (
    _Keys("one key", b"b/2", b""),
    _Keys("a missing key", b"none", b""),
    _Keys("a prefix", b"b/", b"b0"),
    _Keys("from a key on", b"b/2", b"\0"),
    _Keys("everything", b"\0", b"\0"),
    _Keys("an empty range", b"b/", b"a"),
    _Keys("the last key", b"\xff\xff", b""),
    _Keys("up to a key", b"\0", b"b/2"),
)
_SORTS = (None, *(Sort(target, down) for target in _SORT_KEYS for down in (False, True)))
_BOUNDS = (
    None,
    Bounds(min_mod=8),
    Bounds(max_mod=13),
    Bounds(min_create=5),
    Bounds(max_create=9),
    Bounds(min_mod=7, max_mod=19, min_create=3, max_create=15),
    Bounds(min_mod=19, max_mod=7),
)


def _sort_name(sort: Sort | None) -> str:
    if sort is None:
        return "unsorted"
    return f"{sort.target.name if sort.target else 'KEY'} {'down' if sort.descending else 'up'}"


@pytest.mark.parametrize("sort", _SORTS, ids=_sort_name)
@pytest.mark.parametrize("keys", _KEYS, ids=lambda keys: keys.name)
async def test_every_option_with_every_other(filled: Backend, keys: _Keys, sort: Sort | None) -> None:
    asked = [
        Range(keys.key, keys.range_end, limit, revision, keys_only, count_only, sort, bounds, serializable)
        for limit, revision, (keys_only, count_only), bounds, serializable in itertools.product(
            (0, 1, 2),
            (0, 13),
            ((False, False), (True, False), (False, True)),
            _BOUNDS,
            (False,) if sort else (False, True),
        )
    ]
    # Versions may be equal in the past; then the order among equals is nobody's promise.
    if sort is not None and sort.target is Target.VERSION:
        asked = [op for op in asked if not op.revision]
    answers = await asyncio.gather(*(filled.range(op) for op in asked))
    for op, answer in zip(asked, answers, strict=True):
        assert answer == _oracle(op), op


@pytest.mark.parametrize("keys", _KEYS, ids=lambda keys: keys.name)
async def test_a_range_in_a_transaction_shows_the_same(filled: Backend, keys: _Keys) -> None:
    asked = [
        Range(keys.key, keys.range_end, limit, revision, sort=sort, bounds=bounds)
        for limit, revision, sort, bounds in itertools.product(
            (0, 2), (0, 13), (None, Sort(Target.MOD, True)), _BOUNDS[:3]
        )
    ]
    done = await filled.txn(Txn((), asked))
    assert done.revision == _NEWEST
    assert done.results == [_oracle(op) for op in asked]


async def test_a_negative_limit_or_revision_is_none(filled: Backend) -> None:
    whole = _oracle(Range(b"\0", b"\0"))
    assert await filled.range(Range(b"\0", b"\0", limit=-1)) == whole
    assert await filled.range(Range(b"\0", b"\0", revision=-1)) == whole


async def test_pages_are_a_whole(filled: Backend) -> None:
    """As kube-apiserver reads a list: by limit, each page at the first one's revision."""
    found: list[KeyValue] = []
    key, revision = b"\0", 0
    while True:
        page = await filled.range(Range(key, b"\0", limit=2, revision=revision))
        found += page.kvs
        if not page.more:
            break
        revision = revision or page.revision
        key = found[-1].key + b"\0"
    assert found == _state(_NEWEST)
