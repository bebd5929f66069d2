"""How fast a replica count may change: upstream's cases (pkg/controller/podautoscaler/horizontal_test.go)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.defaults.autoscaling import autoscaler_v2
from pilothouse.api.types import Obj
from pilothouse.controllers.autoscaling import behaviour
from pilothouse.controllers.autoscaling.behaviour import History, Timed

NOW = 1_800_000_000.0


def rules(pods: int, pods_s: int, percent: int, percent_s: int, window_s: int | None = None) -> Obj:
    """0 leaves a policy out."""
    policies: list[Obj] = []
    if pods:
        policies.append({"type": "Pods", "value": pods, "periodSeconds": pods_s})
    if percent:
        policies.append({"type": "Percent", "value": percent, "periodSeconds": percent_s})
    found: Obj = {"policies": policies}
    if window_s is not None:
        found["stabilizationWindowSeconds"] = window_s
    return found


def behaving(up: Obj | None = None, down: Obj | None = None) -> Obj:
    """With what the API server fills in."""
    given: Obj = {key: value for key, value in (("scaleUp", up), ("scaleDown", down)) if value is not None}
    hpa: Obj = {"metadata": {}, "spec": {"behavior": given}}
    autoscaler_v2(hpa)
    found: Obj = hpa["spec"]["behavior"]
    return found


def spread(changes: list[int], within_s: int) -> list[Timed]:
    """Changes at even distances, all within the last seconds."""
    step_s = within_s / (len(changes) + 1)
    return [Timed(change, NOW - step_s * (i + 1)) for i, change in enumerate(changes)]


UP, DOWN = "up", "down"
LIMITS: dict[str, tuple[Any, ...]] = {
    # name: direction, rules, (current, wanted, least, most), (replicas, reason), events
    "up, pods beat percent": (UP, rules(100, 60, 100, 60), (10, 500, 1, 1000), (110, "ScaleUpLimit")),
    "up, percent beats pods": (UP, rules(2, 60, 100, 60), (10, 500, 1, 1000), (20, "ScaleUpLimit")),
    "up, enough pods": (UP, rules(100, 60, 0, 0), (10, 50, 1, 1000), (50, "DesiredWithinRange")),
    "up, pods": (UP, rules(30, 60, 0, 0), (10, 50, 1, 1000), (40, "ScaleUpLimit")),
    "up, percent": (UP, rules(0, 0, 200, 60), (10, 50, 1, 1000), (30, "ScaleUpLimit")),
    "down, percent beats pods": (DOWN, rules(20, 60, 1, 60), (100, 2, 1, 1000), (80, "ScaleDownLimit")),
    "down, pods beat percent": (DOWN, rules(2, 60, 1, 60), (100, 2, 1, 1000), (98, "ScaleDownLimit")),
    "down, least": (DOWN, rules(100, 60, 0, 0), (10, 0, 1, 1000), (1, "TooFewReplicas")),
    "down, least of percent": (DOWN, rules(0, 0, 100, 60), (10, 2, 5, 1000), (5, "TooFewReplicas")),
    "down, pods": (DOWN, rules(5, 60, 0, 0), (10, 2, 1, 1000), (5, "ScaleDownLimit")),
    "down, percent": (DOWN, rules(0, 0, 50, 60), (10, 5, 1, 1000), (5, "DesiredWithinRange")),
    "up, most, with events": (
        UP, rules(300, 60, 0, 0), (100, 500, 1, 200), (200, "TooManyReplicas"), [1, 5, 9], [],
    ),
    "up, more than allowed was done": (
        UP, rules(5, 120, 0, 0), (100, 500, 1, 1000), (100, "ScaleUpLimit"), [1, 5, 9], [],
    ),
    "up, pods since the period began": (
        UP, rules(150, 120, 0, 0), (100, 500, 1, 1000), (235, "ScaleUpLimit"), [1, 5, 9], [],
    ),
    "up, percent since the period began": (
        UP, rules(0, 0, 200, 120), (100, 500, 1, 1000), (255, "ScaleUpLimit"), [1, 5, 9], [],
    ),
    "up, after ups and downs": (
        UP, rules(0, 0, 300, 300), (6, 24, 1, 1000), (16, "ScaleUpLimit"), [4], [2],
    ),
    "down by default, with events": (
        DOWN, None, (10, 5, 1, 1000), (5, "DesiredWithinRange"), [], [1, 5, 9],
    ),
    "down, pods since the period began": (
        DOWN, rules(5, 120, 0, 0), (100, 2, 1, 1000), (100, "ScaleDownLimit"), [], [1, 5, 9],
    ),
    "down, percent since the period began": (
        DOWN, rules(0, 0, 50, 120), (100, 0, 1, 1000), (56, "ScaleDownLimit"), [], [2, 4, 6],
    ),
    "down, after ups and downs": (
        DOWN, rules(0, 0, 50, 180), (10, 1, 1, 1000), (6, "ScaleDownLimit"), [2], [4],
    ),
    "down, more than allowed was done": (
        DOWN, rules(0, 0, 10, 120), (100, 0, 1, 1000), (100, "ScaleDownLimit"), [], [10, 10, 10],
    ),
    "down, further than zero": (
        DOWN, rules(0, 0, 1000, 120), (10, 5, 1, 1000), (5, "DesiredWithinRange"), [], [10, 10, 10],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMITS)
def test_policies(case: str) -> None:
    direction, given, (current, wanted, least, most), expected, *events = LIMITS[case]
    ups, downs = events or ([], [])
    history = History([], spread(ups, 120), spread(downs, 120))
    found = behaving(given if direction == UP else None, given if direction == DOWN else None)
    replicas, told = behaviour.policy_limit(found, current, wanted, least, most, history, NOW)
    assert (replicas, told.reason) == expected


@pytest.mark.parametrize(("select", "up", "down"), [("Max", 20, 5), ("Min", 12, 8), ("Disabled", 10, 10)])
def test_which_policy_counts(select: str, up: int, down: int) -> None:
    chosen = {**rules(2, 60, 100, 60), "selectPolicy": select}
    slower = {**rules(2, 60, 50, 60), "selectPolicy": select}
    found = behaving(chosen, slower)
    assert behaviour.policy_limit(found, 10, 100, 1, 100, History(), NOW)[0] == up
    assert behaviour.policy_limit(found, 10, 1, 1, 100, History(), NOW)[0] == down


@pytest.mark.parametrize(
    ("current", "wanted", "least", "most", "expected"),
    [
        (1, 5, 1, 10, (4, "ScaleUpLimit")),
        (3, 8, 1, 10, (6, "ScaleUpLimit")),
        (3, 8, 1, 5, (5, "TooManyReplicas")),
        (3, 0, 2, 10, (2, "TooFewReplicas")),
        (3, 4, 2, 10, (4, "DesiredWithinRange")),
        (0, 3, 0, 10, (3, "DesiredWithinRange")),
    ],
)
def test_limits_without_behaviour(
    current: int, wanted: int, least: int, most: int, expected: tuple[int, str]
) -> None:
    replicas, told = behaviour.plain_limit(current, wanted, least, most)
    assert (replicas, told.reason) == expected


def ago(*recommended: tuple[int, float]) -> History:
    """(replicas, minutes ago)"""
    return History([Timed(replicas, NOW - minutes * 60) for replicas, minutes in recommended])


STABLE: dict[str, tuple[Any, ...]] = {
    # name: history, (current, wanted), (up window, down window), stable, recommendations afterwards
    "nothing yet": (ago(), (100, 5), (0, 0), 5, [5]),
    "down": (ago((4, 2), (5, 1)), (100, 3), (0, 180), 5, [4, 5, 3]),
    "up": (ago((4, 2), (5, 1)), (1, 7), (300, 0), 4, [4, 5, 7]),
    "down, no window": (ago((1, 2), (2, 1)), (100, 3), (300, 0), 3, [1, 2, 3]),
    "up, no window": (ago((4, 2), (5, 1)), (1, 3), (0, 300), 3, [4, 5, 3]),
    "down, an old one is replaced": (ago((10, 10), (9, 9)), (100, 3), (0, 0), 3, [10, 3]),
    "up, an old one is replaced": (ago((10, 10), (9, 9)), (1, 100), (0, 0), 100, [10, 100]),
    "down, the last of the old": (
        ago((10, 10), (4, 1), (5, 2), (9, 9)), (100, 3), (0, 180), 5, [10, 4, 5, 3],
    ),
    "up, the only old one": (
        ago((10, 100), (6, 1), (5, 2), (9, 3)), (1, 100), (300, 300), 5, [100, 6, 5, 9],
    ),
    "not up when less is asked for": (ago((2, 100), (3, 3)), (2, 1), (300, 300), 2, [1, 3]),
    "not down when more is asked for": (ago((2, 100), (1, 3)), (2, 3), (300, 300), 2, [3, 1]),
}  # fmt: skip


@pytest.mark.parametrize("case", STABLE)
def test_stabilization(case: str) -> None:
    history, (current, wanted), (up_s, down_s), stable, left = STABLE[case]
    spec: Obj = {
        "maxReplicas": 1000,
        "behavior": behaving(rules(1000, 15, 0, 0, up_s), rules(1000, 15, 0, 0, down_s)),
    }
    found = behaviour.decide(spec, 1, current, wanted, history, 300.0, NOW)
    assert found.replicas == stable
    assert [r.replicas for r in history.recommendations] == left
    reason = "ReadyForNewScale"
    if stable != wanted:
        reason = "ScaleUpStabilized" if wanted >= current else "ScaleDownStabilized"
    assert found.able.reason == reason


def test_without_behaviour_five_minutes_are_looked_back() -> None:
    history = ago((8, 6), (7, 4), (5, 1))
    found = behaviour.decide({"maxReplicas": 10}, 1, 8, 2, history, 300.0, NOW)
    assert (found.replicas, found.able.reason, found.limited.reason) == (
        7,
        "ScaleDownStabilized",
        "DesiredWithinRange",
    )
    assert [r.replicas for r in history.recommendations] == [2, 7, 5]
    again = behaviour.decide({"maxReplicas": 10}, 1, 7, 2, history, 300.0, NOW + 301)
    assert (again.replicas, again.able.reason) == (2, "ReadyForNewScale")


def test_the_default_window_down_is_the_controllers() -> None:
    spec: Obj = {"maxReplicas": 10, "behavior": behaving(rules(4, 15, 0, 0))}
    assert behaviour.decide(spec, 1, 5, 2, ago((5, 1)), 90.0, NOW).replicas == 5
    assert behaviour.decide(spec, 1, 5, 2, ago((5, 1)), 30.0, NOW).replicas == 2


EVENTS: dict[str, tuple[Any, ...]] = {
    # name: (change, seconds ago), rules, changes afterwards
    "without behaviour nothing is kept": ([(7, 61)], None, [7]),
    "the first": ([], rules(10, 60, 100, 60), [5]),
    "an old one is replaced": ([(7, 61)], rules(10, 60, 100, 60), [5]),
    "a young one stays": ([(7, 58)], rules(10, 60, 100, 60), [7, 5]),
    "one of two": ([(7, 61), (6, 59)], rules(10, 60, 0, 0), [5, 6]),
    "the last of the old": ([(8, 29), (6, 59), (7, 61), (9, 61)], rules(10, 60, 100, 30), [8, 6, 7, 5]),
    "the longest period counts": ([(7, 58), (6, 59)], rules(10, 120, 100, 30), [7, 6, 5]),
}


@pytest.mark.parametrize("case", EVENTS)
def test_what_was_done_is_kept_as_long_as_a_policy_asks(case: str) -> None:
    before, given, left = EVENTS[case]
    events = [Timed(change, NOW - ago_s) for change, ago_s in before]
    history = History([], list(events), list(events))
    up = None if given is None else {"scaleUp": given, "scaleDown": given}
    history.note(up, 10, 15, NOW)
    history.note(up, 10, 5, NOW)
    assert [e.replicas for e in history.ups] == left
    assert [e.replicas for e in history.downs] == left
