r"""Key ranges as permissions: is what is asked for inside what is granted (etcd server/auth/range_perm_cache.go).

A range is (key, range_end): range_end b"" is the one key, b"\0" everything from the key on. Granted ranges that
touch or overlap count as one:

    granted [a, c) and [c, f)      asked [b, e)      inside
    granted [a, c) and [d, f)      asked [b, e)      not: nobody granted c
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

OPEN_END = b"\0"
"""Everything from the key on."""


class KeyRange(NamedTuple):
    key: bytes
    range_end: bytes = b""

    def valid(self) -> bool:
        """Whether it holds any key at all."""
        return bool(self.key) and (self.range_end in (b"", OPEN_END) or self.key < self.range_end)


class _Span(NamedTuple):
    """From `first` on, below `end`; no end is None."""

    first: bytes
    end: bytes | None


class Coverage:
    """The union of ranges."""

    def __init__(self, ranges: Iterable[KeyRange]) -> None:
        self._spans = _merged(sorted(map(_span, ranges), key=lambda span: span.first))
        self._firsts = [span.first for span in self._spans]

    def covers(self, asked: KeyRange) -> bool:
        first, end = _span(asked)
        place = bisect_right(self._firsts, first) - 1
        if place < 0:
            return False
        limit = self._spans[place].end
        return limit is None or (first < limit and end is not None and end <= limit)


def _span(of: KeyRange) -> _Span:
    if not of.range_end:
        return _Span(of.key, of.key + b"\0")
    return _Span(of.key, None if of.range_end == OPEN_END else of.range_end)


def _merged(ordered: Iterable[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for span in ordered:
        last = merged[-1] if merged else None
        if last is None or (last.end is not None and last.end < span.first):
            merged.append(span)
        elif last.end is not None and (span.end is None or span.end > last.end):
            merged[-1] = _Span(last.first, span.end)
    return merged
