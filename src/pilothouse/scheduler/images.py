"""Which nodes have which container images, as columns (pkg/scheduler/backend/cache, imageStates).

Nodes report dozens of images each, and few of them are ever asked for: an image has a column from the first question
on, and the least recently asked for go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pilothouse.api.types import Obj

_IMAGES_MAX = 256


@dataclass(eq=False, slots=True)
class Image:
    """`size` in bytes, as the first of the nodes that have it says; `at` masks their rows."""

    at: NDArray[np.bool_]
    size: int = 0
    nodes: int = 0

    def put(self, row: int, size: int | None) -> None:
        """What a node says now; None when it does not have the image."""
        if bool(self.at[row]) == (size is not None):
            return
        self.at[row] = size is not None
        self.nodes += 1 if size is not None else -1
        if self.nodes == 1 and size is not None:
            self.size = size


class Images:
    def __init__(self) -> None:
        self._by_name: OrderedDict[str, Image] = OrderedDict()
        self.reporting = 0
        """Nodes that report any image."""

    def of(self, name: str, nodes: Sequence[Obj | None]) -> Image:
        """An image by a name that nodes report; `nodes` by row."""
        found = self._by_name.get(name)
        if found is not None:
            self._by_name.move_to_end(name)
            return found
        found = self._by_name[name] = Image(np.zeros(len(nodes), dtype=bool))
        for row, node in enumerate(nodes):
            if node is not None:
                found.put(row, sizes(node).get(name))
        if len(self._by_name) > _IMAGES_MAX:
            self._by_name.popitem(last=False)
        return found

    def put(self, row: int, before: Obj | None, node: Obj) -> None:
        """A new node, or a new state of one."""
        self.reporting += bool(_reported(node)) - bool(before is not None and _reported(before))
        if not self._by_name or (before is not None and _reported(before) == _reported(node)):
            return
        has = sizes(node)
        for name, image in self._by_name.items():
            image.put(row, has.get(name))

    def remove(self, row: int, node: Obj) -> None:
        self.reporting -= bool(_reported(node))
        for image in self._by_name.values():
            image.put(row, None)

    def grow(self, size: int) -> None:
        for image in self._by_name.values():
            image.at = np.concatenate([image.at, np.zeros(size - len(image.at), dtype=bool)])


def _reported(node: Obj) -> list[Obj]:
    return (node.get("status") or {}).get("images") or []


def sizes(node: Obj) -> dict[str, int]:
    """Bytes by name; an image has several names."""
    return {name: image.get("sizeBytes", 0) for image in _reported(node) for name in image.get("names") or ()}
