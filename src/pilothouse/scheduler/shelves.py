"""Amounts of storage by where they can be used: free volumes of one kind, or room for new ones of one class.

    place: one value of one label (a node's name, a zone), any other selector of nodes, or everywhere
      └─ (bytes, name), small ones first

Which rows have enough is one comparison: the largest amount of each place is kept as a column by the number of the
label's value. What one node has is a search in the few places that it is in. Local storage, which has a place for
every node, is thereby as quick as a zone's.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from pilothouse.api import node_selector
from pilothouse.api.types import Obj
from pilothouse.scheduler.node_table import Column, Labels

Sizes = list[tuple[int, str]]
"""Bytes and name, in order."""
_NONE = -1
"""Less than anything."""


class Elsewhere(NamedTuple):
    """What has a node selector that is more than one value of a label; None for everywhere."""

    selector: Obj | None
    sizes: Sizes


class Shelf:
    """`selector` is of nodes; None for everywhere."""

    def __init__(self) -> None:
        self.labelled: dict[str, dict[str, Sizes]] = {}
        """By label key and value."""
        self.elsewhere: dict[bytes, Elsewhere] = {}
        self._largest: dict[str, _Largest] = {}

    def __bool__(self) -> bool:
        return bool(self.labelled or self.elsewhere)

    def add(self, selector: Obj | None, entry: tuple[int, str]) -> None:
        only = only_value(selector)
        if only is None:
            found = self.elsewhere.setdefault(msgspec.json.encode(selector), Elsewhere(selector, []))
            insort(found.sizes, entry)
            return
        key, value = only
        insort(self.labelled.setdefault(key, {}).setdefault(value, []), entry)
        self._largest.setdefault(key, _Largest()).changed(value)

    def remove(self, selector: Obj | None, entry: tuple[int, str]) -> None:
        only = only_value(selector)
        if only is None:
            place = msgspec.json.encode(selector)
            _take(self.elsewhere[place].sizes, entry)
            if not self.elsewhere[place].sizes:
                del self.elsewhere[place]
            return
        key, value = only
        by_value = self.labelled[key]
        _take(by_value[value], entry)
        if not by_value[value]:
            del by_value[value]
        self._largest[key].changed(value)
        if not by_value:
            del self.labelled[key], self._largest[key]

    def largest(self, key: str, column: Labels) -> Column:
        """Per row, the largest amount for nodes with its value of a label; -1 for none."""
        return self._largest[key].column(column, self.labelled[key])

    def on(self, node: Obj) -> Iterator[Sizes]:
        """What reaches a node."""
        found = node["metadata"].get("labels") or {}
        for key, by_value in self.labelled.items():
            value = found.get(key)
            if value is not None and value in by_value:
                yield by_value[value]
        for selector, sizes in self.elsewhere.values():
            if selector is None or node_selector.selector_matches(selector, node):
                yield sizes


class _Largest:
    """By the number of a label's value; of one node table at a time."""

    def __init__(self) -> None:
        self._of: Labels | None = None
        self._by_number: Column = np.full(1, _NONE, dtype=np.int64)
        """The last one stands for nodes without the label, whose number is -1."""
        self._stale: set[str] = set()

    def changed(self, value: str) -> None:
        self._stale.add(value)

    def column(self, column: Labels, places: dict[str, Sizes]) -> Column:
        if self._of is not column:
            self._of, self._stale = column, set(places)
            self._by_number = np.full(1, _NONE, dtype=np.int64)
        if len(column.values) >= len(self._by_number):
            more = np.full(len(column.values) + 1, _NONE, dtype=np.int64)
            self._by_number = np.concatenate([self._by_number, more])
        for value in list(self._stale):
            number = column.number(value)
            if number is not None:  # else no node has it yet
                sizes = places.get(value)
                self._by_number[number] = sizes[-1][0] if sizes else _NONE
                self._stale.discard(value)
        found: Column = self._by_number[column.codes]
        return found


def _take(sizes: Sizes, entry: tuple[int, str]) -> None:
    at = bisect_left(sizes, entry)
    if at < len(sizes) and sizes[at] == entry:
        del sizes[at]


def only_value(selector: Obj | None) -> tuple[str, str] | None:
    """The key and value when a label's being just this is all that a selector asks for, as local volumes' do."""
    only = only_requirement((selector or {}).get("nodeSelectorTerms") or ())
    if only is None or len(set(only[1])) != 1:
        return None
    return only[0], next(iter(only[1]))


def only_requirement(terms: Iterable[Obj]) -> tuple[str, Collection[str]] | None:
    """The key and values when a label's being one of some is all that terms ask for."""
    found = list(terms)
    if len(found) != 1 or found[0].get("matchFields"):
        return None
    expressions: list[Obj] = found[0].get("matchExpressions") or []
    if len(expressions) != 1 or expressions[0]["operator"] != "In":
        return None
    return expressions[0]["key"], expressions[0].get("values") or ()
