"""Whether the informers have seen what a controller wrote for an object (KEP-5647, the StaleControllerConsistency*
features, on since 1.36).

A controller that decides on an old copy does things twice: it makes the pods of a job that has already ended. So it
passes an object over until its own last writes have come back:

    wrote(db, pods, 17), wrote(db, statefulsets, 18) ──▶ pods at 17? statefulsets at 18? ──yes──▶ ready
                                                              └──no──▶ passed over: the event wakes it

Revisions are of one store, so an informer at 17 or later has seen everything up to 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer
from pilothouse.kit.world import World

TIMEOUT_S = 300.0
"""A write that was not seen for so long never will be: the store has another history (it was restored)."""


@dataclass(slots=True)
class _Written:
    since_s: float
    revisions: dict[Resource, int] = field(default_factory=dict)


class Consistency:
    """By the key of the object that the writes were for. Resources that `informers` lack are not waited for."""

    def __init__(self, world: World, informers: Mapping[Resource, Informer]) -> None:
        self._world = world
        self._informers = informers
        self._written: dict[str, _Written] = {}

    def wrote(self, key: str, resource: Resource, answer: Obj) -> None:
        """`answer` is what the API server said to a write of the resource."""
        informer = self._informers.get(resource)
        revision = int((answer.get("metadata") or {}).get("resourceVersion") or 0)
        if informer is None or revision <= _seen(informer):
            return
        now_s = self._world.clock.monotonic()
        written = self._written.setdefault(key, _Written(now_s))
        written.since_s = now_s
        written.revisions[resource] = max(revision, written.revisions.get(resource, 0))

    def ready(self, key: str) -> bool:
        """Whether all of the object's writes were seen; they are forgotten then."""
        written = self._written.get(key)
        if written is None:
            return True
        late = self._world.clock.monotonic() - written.since_s > TIMEOUT_S
        if not late and any(_seen(self._informers[r]) < at for r, at in written.revisions.items()):
            return False
        del self._written[key]
        return True

    def forget(self, key: str) -> None:
        self._written.pop(key, None)


def _seen(informer: Informer) -> int:
    return int(informer.last_revision or 0)
