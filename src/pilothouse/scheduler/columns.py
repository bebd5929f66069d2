"""Columns that grow together: one number per row, by name, made when they are first asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Columns:
    """`absent` is what a row has that was never set."""

    __slots__ = ("_absent", "_by_name", "_dtype", "_size")

    def __init__(self, dtype: type[np.generic], absent: int = 0) -> None:
        self._dtype = dtype
        self._absent = absent
        self._size = 0
        self._by_name: dict[object, NDArray[Any]] = {}

    def __getitem__(self, name: object) -> NDArray[Any]:
        found = self._by_name.get(name)
        if found is None:
            found = self._by_name[name] = np.full(self._size, self._absent, dtype=self._dtype)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def names(self) -> list[object]:
        return list(self._by_name)

    def grow(self, size: int) -> None:
        """Room for `size` rows."""
        more = np.full(size - self._size, self._absent, dtype=self._dtype)
        self._size = size
        for name, column in self._by_name.items():
            self._by_name[name] = np.concatenate([column, more])

    def clear(self, row: int) -> None:
        """A row as if it had never been set."""
        for column in self._by_name.values():
            column[row] = self._absent
