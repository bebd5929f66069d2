"""How long to wait before trying again. Pure: times and chance are handed in.

`Backoff` is one sequence of delays (k8s.io/apimachinery/pkg/util/wait Backoff); `KeyedBackoff` remembers one
for each key and forgets those that were quiet for long (k8s.io/client-go/util/flowcontrol Backoff).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from random import Random


def jittered(delay_s: float, jitter: float, random: Random) -> float:
    """`delay_s` lengthened by up to `jitter` times itself (wait.Jitter; there 0 means 1)."""
    return delay_s + random.random() * (jitter if jitter > 0 else 1.0) * delay_s


@dataclass(slots=True)
class Backoff:
    """Delays that grow by `factor` for `steps` steps, to `cap_s` at most (0: no cap)."""

    duration_s: float
    factor: float = 0.0
    jitter: float = 0.0
    steps: int = 0
    cap_s: float = 0.0

    def step(self, random: Random) -> float:
        """The next delay in seconds. After the last step the delay stays as it is."""
        delay_s = self.duration_s
        if self.steps > 0:
            self.steps -= 1
            self._grow()
        return jittered(delay_s, self.jitter, random) if self.jitter > 0 else delay_s

    def _grow(self) -> None:
        if self.factor == 0:
            return
        self.duration_s *= self.factor
        if 0 < self.cap_s < self.duration_s:
            self.duration_s = self.cap_s
            self.steps = 0


@dataclass(slots=True)
class _Entry:
    delay_s: float
    updated_s: float


class KeyedBackoff:
    """Per key: `initial_s`, doubled by each `next`, `max_s` at most; starts anew when the last update is
    older than twice `max_s`. `now_s` is monotonic time."""

    def __init__(self, initial_s: float, max_s: float) -> None:
        self.initial_s = initial_s
        self.max_s = max_s
        self._entries: dict[Hashable, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> float:
        """The present delay in seconds; 0 for an unknown key."""
        entry = self._entries.get(key)
        return entry.delay_s if entry is not None else 0.0

    def next(self, key: Hashable, now_s: float) -> None:
        """A failure: the next delay is longer."""
        entry = self._entries.get(key)
        if entry is None or self._is_stale(entry, now_s):
            self._entries[key] = _Entry(self.initial_s, now_s)
            return
        entry.delay_s = min(entry.delay_s * 2, self.max_s)
        entry.updated_s = now_s

    def waits(self, key: Hashable, since_s: float, now_s: float) -> bool:
        """Whether what happened at `since_s` is still within the delay (IsInBackOffSince)."""
        entry = self._entries.get(key)
        if entry is None or self._is_stale(entry, now_s):
            return False
        return now_s - since_s < entry.delay_s

    def waits_since_update(self, key: Hashable, now_s: float) -> bool:
        """Whether the last failure is still within the delay (IsInBackOffSinceUpdate)."""
        entry = self._entries.get(key)
        return entry is not None and self.waits(key, entry.updated_s, now_s)

    def reset(self, key: Hashable) -> None:
        self._entries.pop(key, None)

    def collect(self, now_s: float) -> None:
        """Forget keys whose last update is older than twice the maximum (GC)."""
        for key in [k for k, e in self._entries.items() if self._is_stale(e, now_s)]:
            del self._entries[key]

    def _is_stale(self, entry: _Entry, now_s: float) -> bool:
        return now_s - entry.updated_s > 2 * self.max_s
