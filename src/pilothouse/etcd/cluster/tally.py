"""How far watches have come, proven without trusting etcd's answers to progress requests. No I/O.

etcd before 3.4.25 and 3.5.8 sends these ahead of events that they claim to follow (etcd-io/etcd#15220), and some
later ones do not send them at all (#17507). On such a member (Debian's 3.4.23) one watch sees the whole key space.
Every revision has an event, and each watch for itself is in order, so:

    the tally is at 90       every change up to 90 was seen by it
    /pods/ last changed 70   by the tally
    a watch of /pods/ is at 70 → nothing up to 90 is missing;  at 60 → not yet, the events of 70 are on their way

A watch from which nothing is missing needs no events of its own any more: it is served from the tally (`served`), so
that each change comes once over the network, however many watches there are:

    own watch of etcd ──nothing is missing──▶ served ──full──▶ own watch again, when it is drained
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from pilothouse.etcd.cluster.watcher import ClusterWatch
from pilothouse.etcd.contract import Event

_REMEMBERED = 50_000


class Tally:
    """`position` is the last revision that it saw, `first` the first that it knows of. `prev`: its events have the
    state before."""

    def __init__(self, first: int, *, prev: bool) -> None:
        self.first = first
        self.position = first - 1
        self.prev = prev
        self.served: set[ClusterWatch] = set()
        self._recent: deque[tuple[int, bytes]] = deque()

    def reaches(self, watch: ClusterWatch) -> bool:
        """Whether it has seen all that the watch may have missed."""
        return watch.progress >= self.first - 1

    def admit(self, watch: ClusterWatch) -> bool:
        """A watch from now on; True if it is served at once."""
        changed = [revision for revision, key in self._recent if watch.covers(key)]
        watch.expected = max(changed, default=0)
        return self.settle(watch)

    def see(self, events: list[Event], watches: Collection[ClusterWatch]) -> None:
        """Whole revisions, in order."""
        found: dict[ClusterWatch, list[Event]] = {}
        for event in events:
            key, revision = event.kv.key, event.kv.mod_revision
            self._recent.append((revision, key))
            for watch in watches:
                if watch.covers(key):
                    watch.expected = revision
                    found.setdefault(watch, []).append(event)
        self.position = max(self.position, events[-1].kv.mod_revision)
        while len(self._recent) > _REMEMBERED:
            self.first = self._recent.popleft()[0] + 1
        for watch, own in found.items():
            if watch in self.served:
                watch.receive(own if watch.prev else [event._replace(prev=None) for event in own])

    def settle(self, watch: ClusterWatch) -> bool:
        """Move the watch on if it has all that was seen; True if it begins to be served."""
        if not self.reaches(watch) or watch.next_revision <= watch.expected:
            return False
        watch.advance(self.position)
        if watch in self.served or watch.full or (watch.prev and not self.prev):
            return False
        self.served.add(watch)
        return True

    def settle_all(self, watches: Iterable[ClusterWatch]) -> list[ClusterWatch]:
        """Those that begin to be served."""
        return [watch for watch in watches if self.settle(watch)]
