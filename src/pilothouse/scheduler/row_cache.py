"""Columns that are worked out again only where something changed.

A deployment's pods are alike: what a rule says of a node for one of them it says for the next, unless a pod or the
node's object changed there meanwhile. Since the last decision that is one row or a few, not thousands.

    asked for key K  ──▶ nothing known, or too much changed ──▶ all rows
                     ──▶ known as of note 812, note 815 is the last ──▶ rows of 813, 814, 815

(What KEP-5598, opportunistic batching, does for upstream with pods of one signature.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Values = NDArray[Any]
Compute = Callable[[Rows], Values]
"""One value for each of some rows; may depend on nothing but the row and the key."""
ComputeOne = Callable[[int], int]
"""The same for one row."""

_KEYS_MAX = 64
_NOTES_MAX = 20_000
_FEW = 4
"""So many rows are quicker done one by one than in arrays."""
_PART_MAX = 4
"""With more than this part of the rows changed it is as quick to do all of them."""


class Remembered:
    """A value for every row, of rows that are free any: not to be changed, and right until the next change of a row."""

    __slots__ = ("_where", "since", "values")

    def __init__(self, since: int, values: Values) -> None:
        self.since = since
        self.values = values
        self._where: Rows | None = None

    @property
    def where(self) -> Rows:
        """The rows that are not zero. Not to be changed."""
        if self._where is None:
            self._where = self.values.nonzero()[0]
        return self._where

    def refresh(self, rows: set[int], compute: Compute, one: ComputeOne) -> None:
        values = self.values
        if len(rows) > _FEW:
            at = np.fromiter(rows, dtype=np.intp, count=len(rows))
            values[at] = compute(at)
            self._where = None
            return
        for row in rows:
            value = one(row)
            if value != values[row]:
                values[row] = value
                self._where = None


class RowCache:
    """`changed` and `resized` are told of every change; `column` gives what is right now."""

    __slots__ = ("_known", "_noted", "_notes", "_size")

    def __init__(self, size: int = 0) -> None:
        self._size = size
        self._notes: list[int] = []
        self._noted = 0
        """The number of the first note."""
        self._known: OrderedDict[Hashable, Remembered] = OrderedDict()

    def changed(self, row: int) -> None:
        self._notes.append(row)
        if len(self._notes) > _NOTES_MAX:
            self._noted += len(self._notes)
            self._notes.clear()

    def resized(self, size: int) -> None:
        self._size = size
        self._known.clear()

    def column(self, key: Hashable, compute: Compute, one: ComputeOne) -> Remembered:
        now = self._noted + len(self._notes)
        known = self._known.get(key)
        if known is None:
            known = self._anew(key, now, compute)
            if len(self._known) > _KEYS_MAX:
                self._known.popitem(last=False)
            return known
        self._known.move_to_end(key)
        if known.since == now:
            return known
        rows = self._since(known.since)
        if rows is None:
            return self._anew(key, now, compute)
        known.refresh(rows, compute, one)
        known.since = now
        return known

    def _anew(self, key: Hashable, now: int, compute: Compute) -> Remembered:
        known = self._known[key] = Remembered(now, compute(np.arange(self._size)))
        return known

    def _since(self, note: int) -> set[int] | None:
        """The rows that changed; None for too many, or too long ago."""
        if note < self._noted:
            return None
        rows = set(self._notes[note - self._noted :])
        return rows if len(rows) * _PART_MAX <= self._size else None
