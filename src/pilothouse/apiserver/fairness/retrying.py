"""How long who is refused should wait: the longer, the more are refused
(k8s.io/apiserver/pkg/util/flowcontrol dropped_requests_tracker.go)."""

from __future__ import annotations

_MAX_S = 32
_PER_SECOND_MAX = 3
"""Refusals in a second of the wait beyond which it doubles."""


class RetryAfter:
    """Of one priority level."""

    __slots__ = ("_refused", "_since_s", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        self._refused = 0
        self._since_s = 0.0

    def refused(self, now_s: float) -> int:
        """Counts a refusal; how many seconds to wait. The wait changes once in its own time."""
        passed_s = now_s - self._since_s
        if passed_s >= self.seconds:
            if self._refused >= _PER_SECOND_MAX * self.seconds and passed_s < 2 * self.seconds:
                self.seconds = min(2 * self.seconds, _MAX_S)
            elif self._refused < _PER_SECOND_MAX * self.seconds or passed_s >= 2 * self.seconds:
                self.seconds = max(self.seconds - max(int(passed_s // self.seconds), 1), 1)
            self._refused = 0
            self._since_s = now_s
        self._refused += 1
        return self.seconds
