"""How fast a replica count may change (pkg/controller/podautoscaler/horizontal.go, normalizeDesiredReplicas; KEP-853).
Pure; times are seconds since 1970.

    what the metrics ask for ──▶ stabilized by recent recommendations ──▶ limited by policies, minimum, maximum

Without `behavior`: down no lower than the highest recommendation of the last five minutes, up to twice as many, or to
four. With it: the windows and policies of each direction, counted against what was changed lately.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pilothouse.api.types import Obj

DOWNSCALE_STABILIZATION_S = 300.0
_UP_FACTOR, _UP_LEAST = 2.0, 4.0
_NOT_FOUND = -1


class Timed(NamedTuple):
    """A recommendation, or by how much a number of replicas was changed."""

    replicas: int
    at_s: float


@dataclass(slots=True)
class History:
    """Of one autoscaler: what was recommended, and what was done."""

    recommendations: list[Timed] = field(default_factory=list)
    ups: list[Timed] = field(default_factory=list)
    downs: list[Timed] = field(default_factory=list)

    def begin(self, current: int, now_s: float) -> None:
        """Before anything was recommended, what is there counts."""
        if not self.recommendations:
            self.recommendations.append(Timed(current, now_s))

    def recommend(self, replicas: int, now_s: float, replaced: int) -> None:
        """In place of one that is too old to count, if there is one."""
        _put(self.recommendations, Timed(replicas, now_s), replaced)

    def note(self, behaviour: Obj | None, before: int, after: int, now_s: float) -> None:
        """What was changed. Without behaviour nobody asks for it."""
        if behaviour is None:
            return
        up = after > before
        events = self.ups if up else self.downs
        rules = behaviour.get("scaleUp" if up else "scaleDown") or {}
        longest_s = max((p["periodSeconds"] for p in rules.get("policies") or ()), default=0)
        old = [i for i, event in enumerate(events) if event.at_s < now_s - longest_s]
        _put(events, Timed(abs(after - before), now_s), old[-1] if old else _NOT_FOUND)


def _put(events: list[Timed], new: Timed, replaced: int) -> None:
    if replaced == _NOT_FOUND:
        events.append(new)
    else:
        events[replaced] = new


class Told(NamedTuple):
    """A condition's reason and message."""

    reason: str
    message: str


class Decision(NamedTuple):
    """`able` and `limited` are for the conditions AbleToScale and ScalingLimited."""

    replicas: int
    able: Told
    limited: Told
    is_limited: bool


READY = Told("ReadyForNewScale", "recommended size matches current size")
WITHIN = Told("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_MANY = Told("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = Told("TooFewReplicas", "the desired replica count is less than the minimum replica count")
UP_LIMIT = Told("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
DOWN_LIMIT = Told(
    "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
)
UP_STABILIZED = Told(
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
DOWN_STABILIZED = Told(
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)


def decide(
    spec: Obj, least: int, current: int, wanted: int, history: History, downscale_s: float, now_s: float
) -> Decision:
    """From what the metrics ask for to what is done now; `spec` is the autoscaler's. Notes the recommendation."""
    most, behaviour = spec["maxReplicas"], spec.get("behavior")
    if behaviour is None:
        stable = _stabilized(wanted, history, downscale_s, now_s)
        able = READY if stable == wanted else DOWN_STABILIZED
        replicas, limited = plain_limit(current, stable, least, most)
    else:
        stable, why = _stabilized_by(behaviour, current, wanted, history, downscale_s, now_s)
        able = READY if stable == wanted else why
        replicas, limited = policy_limit(behaviour, current, stable, least, most, history, now_s)
    return Decision(replicas, able, limited, replicas != stable)


# -- stabilization ----------------------------------------------------------------------------------------


def _stabilized(wanted: int, history: History, window_s: float, now_s: float) -> int:
    highest, old = wanted, _NOT_FOUND
    for i, recommendation in enumerate(history.recommendations):
        if recommendation.at_s < now_s - window_s:
            old = i
        else:
            highest = max(highest, recommendation.replicas)
    history.recommend(wanted, now_s, old)
    return highest


def _stabilized_by(
    behaviour: Obj, current: int, wanted: int, history: History, downscale_s: float, now_s: float
) -> tuple[int, Told]:
    up_s = _window_s(behaviour.get("scaleUp"), 0.0)
    down_s = _window_s(behaviour.get("scaleDown"), downscale_s)
    up = down = wanted
    old = _NOT_FOUND
    for i, recommendation in enumerate(history.recommendations):
        age_s = now_s - recommendation.at_s
        if age_s < up_s:
            up = min(up, recommendation.replicas)
        if age_s < down_s:
            down = max(down, recommendation.replicas)
        if age_s > up_s and age_s > down_s:
            old = i
    stable = min(max(current, up), down)
    history.recommend(wanted, now_s, old)
    return stable, UP_STABILIZED if wanted >= current else DOWN_STABILIZED


def _window_s(rules: Obj | None, default_s: float) -> float:
    given = (rules or {}).get("stabilizationWindowSeconds")
    return default_s if given is None else float(given)


# -- limits -----------------------------------------------------------------------------------------------


def plain_limit(current: int, wanted: int, least: int, most: int) -> tuple[int, Told]:
    up = int(max(_UP_FACTOR * current, _UP_LEAST))
    allowed, why = (up, UP_LIMIT) if most > up else (most, TOO_MANY)
    if wanted < least:
        return least, TOO_FEW
    if wanted > allowed:
        return allowed, why
    return wanted, WITHIN


def policy_limit(
    behaviour: Obj, current: int, wanted: int, least: int, most: int, history: History, now_s: float
) -> tuple[int, Told]:
    if wanted > current:
        limit = max(_up_limit(behaviour.get("scaleUp") or {}, current, history, now_s), current)
        allowed, why = (limit, UP_LIMIT) if most > limit else (most, TOO_MANY)
        if wanted > allowed:
            return allowed, why
    elif wanted < current:
        limit = min(_down_limit(behaviour.get("scaleDown") or {}, current, history, now_s), current)
        allowed, why = (limit, DOWN_LIMIT) if least < limit else (least, TOO_FEW)
        if wanted < allowed:
            return allowed, why
    return wanted, WITHIN


def _up_limit(rules: Obj, current: int, history: History, now_s: float) -> int:
    select = rules.get("selectPolicy", "Max")
    if select == "Disabled":
        return current
    found = []
    for policy in rules.get("policies") or ():
        start = _at_period_start(policy, current, history, now_s)
        if policy["type"] == "Pods":
            found.append(start + policy["value"])
        else:
            # Rounded up: a share of a few would never be one.
            found.append(math.ceil(start * (1 + policy["value"] / 100)))
    return (min if select == "Min" else max)(found, default=current)


def _down_limit(rules: Obj, current: int, history: History, now_s: float) -> int:
    select = rules.get("selectPolicy", "Max")
    if select == "Disabled":
        return current
    found = []
    for policy in rules.get("policies") or ():
        start = _at_period_start(policy, current, history, now_s)
        if policy["type"] == "Pods":
            found.append(start - policy["value"])
        else:
            found.append(int(start * (1 - policy["value"] / 100)))
    return (max if select == "Min" else min)(found, default=current)


def _at_period_start(policy: Obj, current: int, history: History, now_s: float) -> int:
    """How many there were when the policy's period began."""
    since_s = now_s - policy["periodSeconds"]
    return current - _changed(history.ups, since_s) + _changed(history.downs, since_s)


def _changed(events: Iterable[Timed], since_s: float) -> int:
    return sum(event.replicas for event in events if event.at_s > since_s)
