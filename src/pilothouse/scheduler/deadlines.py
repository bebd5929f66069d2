"""When a pod must have finished, and what follows from it. Pure rules, in seconds since 1970.

    annotation scheduling.pilothouse.dev/deadline          the time by which it must finish (RFC 3339)
    annotation scheduling.pilothouse.dev/runs-for          how long it runs once it has started (1h30m)
    annotation scheduling.pilothouse.dev/deadline-policy   prefer: run it late rather than never (the default);
                                                           require: do not start what cannot finish in time

          now        latest start           deadline
           │ slack        │      runs for       │
    ───────┴──────────────┴─────────────────────┴────▶

Earliest deadline first is optimal on one machine when everything can be met (Liu and Layland, "Scheduling Algorithms
for Multiprogramming in a Hard-Real-Time Environment", JACM 20(1), 1973). Under overload it is the opposite: one pod
that is late makes the next one late. So a pod that can no longer meet its deadline loses its place before the others,
as in Locke, "Best-Effort Decision Making for Real-Time Scheduling" (CMU, 1986).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.kit.durations import duration_s, show_duration
from pilothouse.kit.world import parse_timestamp, timestamp
from pilothouse.scheduler.annotated import DOMAIN, InvalidAnnotation, annotations_of

DEADLINE = f"{DOMAIN}/deadline"
RUNS_FOR = f"{DOMAIN}/runs-for"
POLICY = f"{DOMAIN}/deadline-policy"
_ZONE = re.compile(r"(Z|[+-]\d\d:\d\d)\Z", re.IGNORECASE)
"""RFC 3339 has no times without one."""
POLICIES = ("prefer", "require")


class Deadline(NamedTuple):
    """`runs_s` None: nobody said how long it runs. `policy` "": as the plugin is told."""

    at_s: float
    runs_s: float | None = None
    policy: str = ""

    @property
    def latest_start_s(self) -> float:
        return self.at_s - (self.runs_s or 0.0)

    def can_be_met(self, now_s: float) -> bool:
        """By a pod that starts now."""
        return now_s <= self.latest_start_s

    def is_kept(self, started_s: float) -> bool:
        """By a pod that has started then, as far as anybody knows."""
        return started_s <= self.latest_start_s

    def breaks_by_eviction(self, started_s: float, now_s: float) -> bool:
        """Whether a running pod that is still in time would be late if it had to begin again. Who does not know how
        long it runs cannot tell: it is taken to be late."""
        if now_s > self.at_s or not self.is_kept(started_s):
            return False
        return self.runs_s is None or not self.can_be_met(now_s)

    def refusal(self) -> str:
        """Why it cannot be met, once it cannot."""
        text = f"deadline {timestamp(self.at_s)} cannot be met"
        if self.runs_s is None:
            return f"{text}: it has passed"
        latest = timestamp(self.latest_start_s)
        return f"{text}: the pod runs for {show_duration(self.runs_s)} and had to start by {latest}"


def deadline_of(pod: Obj) -> Deadline | None:
    """None for a pod that declares none. InvalidAnnotation."""
    given = annotations_of(pod)
    if DEADLINE not in given:
        return None
    return _read(given[DEADLINE], given.get(RUNS_FOR), given.get(POLICY, ""))


@lru_cache(maxsize=4096)
def _read(at: str, runs: str | None, policy: str) -> Deadline:
    try:
        at_s = parse_timestamp(at if _ZONE.search(at) else "")
    except ValueError:
        raise InvalidAnnotation(DEADLINE, at, "a time such as 2026-01-31T12:00:00Z") from None
    if policy and policy not in POLICIES:
        raise InvalidAnnotation(POLICY, policy, " or ".join(POLICIES))
    if runs is None:
        return Deadline(at_s, None, policy)
    try:
        runs_s = duration_s(runs)
    except ValueError:
        runs_s = -1.0
    if runs_s < 0:
        raise InvalidAnnotation(RUNS_FOR, runs, "a duration such as 90s or 1h30m")
    return Deadline(at_s, runs_s, policy)


def started_s(pod: Obj) -> float | None:
    """When a pod began to run; None when it has not."""
    text = (pod.get("status") or {}).get("startTime")
    return parse_timestamp(text) if text else None
