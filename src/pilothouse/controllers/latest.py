"""An informer's objects with what the controller itself wrote since (the volume controller's own cache upstream): a
decision must not rest on what it has changed a moment ago."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer, key_of


class Latest:
    """Only objects that the informer knows; what was written is forgotten as soon as the informer is as new."""

    def __init__(self, informer: Informer) -> None:
        self.informer = informer
        self._written: dict[str, Obj] = {}

    def note(self, obj: Obj) -> Obj:
        """What the server answered to a write."""
        self._written[key_of(obj)] = obj
        return obj

    def get(self, key: str) -> Obj | None:
        known = self.informer.get(key)
        return self._newest(key, known)

    def by_index(self, name: str, value: str) -> list[Obj]:
        """The index is the informer's: check again what depends on it."""
        found = (self._newest(key_of(obj), obj) for obj in self.informer.by_index(name, value))
        return [obj for obj in found if obj is not None]

    def _newest(self, key: str, known: Obj | None) -> Obj | None:
        written = self._written.get(key)
        if written is None:
            return known
        if known is not None and _same(known, written) and _revision(known) < _revision(written):
            return written
        del self._written[key]
        return known


def _same(a: Obj, b: Obj) -> bool:
    return bool(a["metadata"]["uid"] == b["metadata"]["uid"])


def _revision(obj: Obj) -> int:
    return int(obj["metadata"]["resourceVersion"])
