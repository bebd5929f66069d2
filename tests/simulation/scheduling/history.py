"""Every event of the store, decoded, and what a resource looked like at any revision."""

from __future__ import annotations

import bisect
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.etcd.contract import Backend, Event, EventType

_PREFIX = b"/registry/"
_CHECKPOINT = 64
_CERTIFICATE = "extension-apiserver-authentication"
"""It holds a certificate of a new authority, and keys are never drawn from a seed."""
KINDS = {
    "minions": "nodes",
    "pods": "pods",
    "persistentvolumes": "persistentvolumes",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "storageclasses": "storageclasses",
    "podgroups": "podgroups",
    "poddisruptionbudgets": "poddisruptionbudgets",
}
"""What the judges look at: the store's names and the API's."""

State = dict[str, Obj]
"""Objects of one resource by NAMESPACE/NAME, or NAME."""


class Change(NamedTuple):
    """`new` None: deleted. `at_s` is virtual time."""

    revision: int
    at_s: float
    kind: str
    key: str
    old: Obj | None
    new: Obj | None


class History:
    """Fed by a watch on the store itself; complete up to `revision`."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.changes: list[Change] = []
        self.digest: list[tuple[int, str, bytes]] = []
        """Everything, as it was stored: two runs of one seed have the same."""
        self._now: dict[str, State] = defaultdict(dict)
        self._of: dict[str, list[Change]] = defaultdict(list)
        self._checkpoints: dict[str, list[State]] = defaultdict(lambda: [{}])
        self.listeners: list[Callable[[Change], None]] = []

    async def follow(self, backend: Backend) -> None:
        """Until cancelled."""
        watch = backend.watch(_PREFIX, b"/registry0", 1)
        while True:
            for event in await watch.next():
                self._take(event)

    def _take(self, event: Event) -> None:
        parts = event.kv.key.decode().removeprefix("/registry/").split("/")
        value = b"" if parts[-1] == _CERTIFICATE else event.kv.value
        self.digest.append((event.kv.mod_revision, "/".join(parts), value))
        at = next((i for i, part in enumerate(parts[:2]) if part in KINDS), None)
        if at is None:
            return
        kind, key = KINDS[parts[at]], "/".join(parts[at + 1 :])
        old = self._now[kind].get(key)
        new = None if event.type is EventType.DELETE else _decoded(event)
        if new is None:
            self._now[kind].pop(key, None)
        else:
            self._now[kind][key] = new
        change = Change(event.kv.mod_revision, self._now_s(), kind, key, old, new)
        self.changes.append(change)
        self._of[kind].append(change)
        if len(self._of[kind]) % _CHECKPOINT == 0:
            self._checkpoints[kind].append(dict(self._now[kind]))
        for listener in self.listeners:
            listener(change)

    def now(self, kind: str) -> State:
        return self._now[kind]

    def of(self, kind: str) -> Iterator[Change]:
        return iter(self._of[kind])

    def at(self, kind: str, revision: int) -> State:
        """The objects as they were after `revision`."""
        changes = self._of[kind]
        end = bisect.bisect_right(changes, revision, key=lambda change: change.revision)
        state = dict(self._checkpoints[kind][end // _CHECKPOINT])
        for change in changes[end - end % _CHECKPOINT : end]:
            if change.new is None:
                state.pop(change.key, None)
            else:
                state[change.key] = change.new
        return state


def _decoded(event: Event) -> Obj:
    obj: Obj = json.loads(event.kv.value)
    obj["metadata"]["resourceVersion"] = str(event.kv.mod_revision)
    return obj
