"""Room for new volumes, as CSI drivers report it by class and topology (CSIStorageCapacity, KEP-1472)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from pilothouse.api import volumes
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.scheduler.shelves import Shelf


class Pools:
    """`put` and `remove` follow every change."""

    def __init__(self) -> None:
        self._shelves: dict[str, Shelf] = {}
        self._by_key: dict[str, Obj] = {}

    def put(self, pool: Obj) -> None:
        """One that reaches no node, or does not say how large a volume may be, is of no use."""
        self.remove(key_of(pool))
        limit = volumes.volume_limit(pool)
        if limit is None or pool.get("nodeTopology") is None:
            return
        shelf = self._shelves.setdefault(pool.get("storageClassName", ""), Shelf())
        shelf.add(as_node_selector(pool["nodeTopology"]), (limit, key_of(pool)))
        self._by_key[key_of(pool)] = pool

    def remove(self, key: str) -> None:
        pool = self._by_key.pop(key, None)
        if pool is None:
            return
        name = pool.get("storageClassName", "")
        shelf = self._shelves[name]
        shelf.remove(as_node_selector(pool["nodeTopology"]), (volumes.volume_limit(pool) or 0, key))
        if not shelf:
            del self._shelves[name]

    def of_class(self, name: str) -> Shelf | None:
        return self._shelves.get(name)

    def with_room(self, class_name: str, size: int, node: Obj) -> Obj | None:
        """The smallest one that has room for a volume and that a node reaches; upstream takes any."""
        shelf = self._shelves.get(class_name)
        found = []
        for sizes in shelf.on(node) if shelf is not None else ():
            at = bisect_left(sizes, (size, ""))
            if at < len(sizes):
                found.append(sizes[at])
        return self._by_key[min(found)[1]] if found else None


def as_node_selector(selector: Obj) -> Obj | None:
    """A label selector as a selector of nodes; None for everywhere, which an empty one means."""
    labels = sorted((selector.get("matchLabels") or {}).items())
    expressions: list[Obj] = [{"key": key, "operator": "In", "values": [value]} for key, value in labels]
    more: Iterable[Obj] = selector.get("matchExpressions") or ()
    expressions += [
        {"key": e["key"], "operator": e["operator"], "values": e.get("values") or []} for e in more
    ]
    return {"nodeSelectorTerms": [{"matchExpressions": expressions}]} if expressions else None
