"""Sorted keys that are put in order only when somebody looks.

Writes come by the thousand between two range reads of the raw store (lists are served from the watch cache
above it), so an insertion is a set operation, and the next range pays one merge for all of them.
"""

from __future__ import annotations

from bisect import bisect_left, insort

_FEW = 8
"""Up to here single insertions are cheaper than one pass over all keys."""


class KeyIndex:
    """A set of keys with ordered slices."""

    def __init__(self) -> None:
        self._keys: list[bytes] = []
        self._added: set[bytes] = set()
        self._removed: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._keys) + len(self._added) - len(self._removed)

    def add(self, key: bytes) -> None:
        """`key` must not be in the index."""
        if key in self._removed:
            self._removed.remove(key)
        else:
            self._added.add(key)

    def remove(self, key: bytes) -> None:
        """`key` must be in the index."""
        if key in self._added:
            self._added.remove(key)
        else:
            self._removed.add(key)

    def slice(self, key: bytes, end: bytes) -> list[bytes]:
        r"""The keys from `key` on below `end`, in order; `end` b"\0" means all the rest."""
        if self._removed:
            self._settle_removed()
        if self._added:
            self._settle_added()
        keys = self._keys
        first = bisect_left(keys, key)
        return keys[first:] if end == b"\0" else keys[first : bisect_left(keys, end, first)]

    def _settle_removed(self) -> None:
        removed, self._removed = self._removed, set()
        if len(removed) <= _FEW:
            for key in removed:
                del self._keys[bisect_left(self._keys, key)]
        else:
            self._keys = [k for k in self._keys if k not in removed]

    def _settle_added(self) -> None:
        added, self._added = self._added, set()
        if len(added) <= _FEW:
            for key in added:
                insort(self._keys, key)
        else:
            self._keys += sorted(added)
            self._keys.sort()  # two ordered runs: a merge
