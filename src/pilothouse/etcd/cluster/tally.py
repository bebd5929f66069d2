"""How far a watch has come, proven without trusting etcd's answers to progress requests. No I/O.

etcd before 3.4.25 and 3.5.8 sends these ahead of events that they claim to follow (etcd-io/etcd#15220), and some
later ones do not send them at all (#17507). On such a member (Debian's 3.4.23) one more watch sees the whole key
space. Every revision has an event, and each watch for itself is in order, so:

    the tally is at 90       every change up to 90 was seen by it
    /pods/ last changed 70   by the tally
    a watch of /pods/ is at 70 → nothing up to 90 is missing;  at 60 → not yet, the events of 70 are on their way
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from pilothouse.etcd.cluster.watcher import ClusterWatch

_REMEMBERED = 50_000


class Tally:
    """`position` is the last revision that it saw, `first` the first."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.position = first - 1
        self._recent: deque[tuple[int, bytes]] = deque()

    def reaches(self, watch: ClusterWatch) -> bool:
        """Whether it has seen all that the watch may have missed."""
        return watch.progress >= self.first - 1

    def admit(self, watch: ClusterWatch) -> None:
        """A watch from now on: what of its range was changed lately."""
        changed = [revision for revision, key in self._recent if watch.covers(key)]
        watch.expected = max(changed, default=0)

    def see(self, changes: list[tuple[int, bytes]], watches: Collection[ClusterWatch]) -> None:
        """Whole revisions: the last revision and the key of each change, in order."""
        for revision, key in changes:
            for watch in watches:
                if watch.covers(key):
                    watch.expected = revision
            self.position = max(self.position, revision)
            self._recent.append((revision, key))
        while len(self._recent) > _REMEMBERED:
            self.first = self._recent.popleft()[0] + 1
        for watch in watches:
            self.settle(watch)

    def settle(self, watch: ClusterWatch) -> None:
        """Move the watch on if it has all that was seen."""
        if self.reaches(watch) and watch.next_revision > watch.expected:
            watch.advance(self.position)
