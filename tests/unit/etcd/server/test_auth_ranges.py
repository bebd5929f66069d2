"""Permitted ranges against the obvious way: key by key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.etcd.server.auth.ranges import OPEN_END, Coverage, KeyRange

_LETTERS = b"abcd"
_keys = st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=2).map(bytes)
_ranges = st.builds(KeyRange, _keys, st.one_of(st.just(b""), st.just(OPEN_END), _keys)).filter(KeyRange.valid)


def _holds(of: KeyRange, key: bytes) -> bool:
    if not of.range_end:
        return key == of.key
    return key >= of.key and (of.range_end == OPEN_END or key < of.range_end)


def _candidates() -> list[bytes]:
    """Enough keys to tell ranges with such ends apart: each end, and just after it."""
    short = [bytes([a]) for a in _LETTERS] + [bytes([a, b]) for a in _LETTERS for b in _LETTERS]
    return sorted({key + after for key in short for after in (b"", b"\0", b"\0\0")} | {b"zzz"})


@given(st.lists(_ranges, max_size=5), _ranges)
def test_a_range_is_covered_when_every_key_of_it_is(granted: list[KeyRange], asked: KeyRange) -> None:
    expected = all(any(_holds(g, key) for g in granted) for key in _candidates() if _holds(asked, key))
    assert Coverage(granted).covers(asked) == expected


def test_neighbours_count_as_one() -> None:
    granted = Coverage([KeyRange(b"a", b"c"), KeyRange(b"c", b"f")])
    assert granted.covers(KeyRange(b"b", b"e"))
    assert not Coverage([KeyRange(b"a", b"c"), KeyRange(b"d", b"f")]).covers(KeyRange(b"b", b"e"))


def test_an_open_end_needs_an_open_end() -> None:
    assert not Coverage([KeyRange(b"a", b"\xff" * 9)]).covers(KeyRange(b"a", OPEN_END))
    assert Coverage([KeyRange(b"a", OPEN_END)]).covers(KeyRange(b"b", OPEN_END))
    assert not Coverage([KeyRange(b"b", OPEN_END)]).covers(KeyRange(OPEN_END, OPEN_END))
    assert Coverage([KeyRange(OPEN_END, OPEN_END)]).covers(KeyRange(OPEN_END, OPEN_END))


def test_what_holds_no_key_is_no_range() -> None:
    assert not KeyRange(b"").valid()
    assert not KeyRange(b"b", b"a").valid()
    assert not KeyRange(b"b", b"b").valid()
    assert KeyRange(b"b", OPEN_END).valid()
