"""Volumes that are free, found by what a claim asks for and by where they can be used: a cluster of local volumes has
thousands, and a claim waits for one that is on the right node. They stand on a shelf for each kind: class, mode,
attributes class, access modes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pilothouse.api import labels, volumes
from pilothouse.api.types import Obj
from pilothouse.scheduler.shelves import Shelf, Sizes


class _Kind(NamedTuple):
    mode: str
    attributes: str
    access: frozenset[str]


def _kind(volume: Obj) -> _Kind:
    spec = volume["spec"]
    attributes = spec.get("volumeAttributesClassName") or ""
    return _Kind(volumes.volume_mode(volume), attributes, frozenset(spec.get("accessModes") or ()))


class FreeVolumes:
    """`put` and `drop` follow every change."""

    def __init__(self) -> None:
        self._shelves: dict[str, dict[_Kind, Shelf]] = {}
        self._by_name: dict[str, Obj] = {}

    def put(self, volume: Obj) -> None:
        """Counts only when anybody might have it."""
        phase = (volume.get("status") or {}).get("phase")
        if volumes.claim_ref(volume) or phase != "Available" or volume["metadata"].get("deletionTimestamp"):
            return
        kinds = self._shelves.setdefault(volumes.class_of(volume), {})
        kinds.setdefault(_kind(volume), Shelf()).add(volumes.on_nodes(volume), volumes.order(volume))
        self._by_name[volume["metadata"]["name"]] = volume

    def drop(self, name: str) -> None:
        volume = self._by_name.pop(name, None)
        if volume is None:
            return
        kinds = self._shelves[volumes.class_of(volume)]
        shelf = kinds[_kind(volume)]
        shelf.remove(volumes.on_nodes(volume), volumes.order(volume))
        if not shelf:
            del kinds[_kind(volume)]
        if not kinds:
            del self._shelves[volumes.class_of(volume)]

    def shelves(self, claim: Obj) -> list[Shelf]:
        """Those of the kinds that suit a claim."""
        wanted = frozenset(claim["spec"].get("accessModes") or ())
        mode = volumes.volume_mode(claim)
        attributes = claim["spec"].get("volumeAttributesClassName") or ""
        return [
            shelf
            for kind, shelf in self._shelves.get(volumes.class_of(claim), {}).items()
            if kind.mode == mode and kind.attributes == attributes and wanted <= kind.access
        ]

    def finder(self, claim: Obj) -> Finder:
        """For one claim on many nodes; of now, not of later."""
        selector = claim["spec"].get("selector")
        wanted = labels.from_label_selector(selector) if selector else None
        return Finder(volumes.asked(claim), wanted, self.shelves(claim), self._by_name)


@dataclass(frozen=True, slots=True)
class Finder:
    asked: int
    """Bytes."""
    wanted: labels.Selector | None
    shelves: list[Shelf]
    by_name: Mapping[str, Obj]

    def smallest(self, node: Obj, taken: Collection[str] = ()) -> Obj | None:
        """What `volumes.match` finds among all that are free."""
        best: tuple[int, str] | None = None
        for shelf in self.shelves:
            for sizes in shelf.on(node):
                found = self._first(sizes, taken)
                if found is not None and (best is None or found < best):
                    best = found
        return None if best is None else self.by_name[best[1]]

    def _first(self, sizes: Sizes, taken: Collection[str]) -> tuple[int, str] | None:
        for at in range(bisect_left(sizes, (self.asked, "")), len(sizes)):
            name = sizes[at][1]
            if name not in taken and (self.wanted is None or self._is_wanted(self.wanted, name)):
                return sizes[at]
        return None

    def _is_wanted(self, wanted: labels.Selector, name: str) -> bool:
        return wanted.matches(self.by_name[name]["metadata"].get("labels") or {})
