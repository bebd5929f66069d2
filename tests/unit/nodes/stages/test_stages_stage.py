"""Whom a stage selects, how long it waits, which one is chosen (kwok pkg/utils/lifecycle and pkg/utils/expression)."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from pilothouse.api.resources import PODS
from pilothouse.nodes.stages.queries import Subject, jq_query
from pilothouse.nodes.stages.stage import (
    Delay,
    Duration,
    Finalizers,
    Requirement,
    Selector,
    Stage,
    Weight,
    choose,
)

NOW_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z
SUBJECT = Subject(
    {
        "metadata": {
            "labels": {"app": "web"},
            "annotations": {
                "delay": "1m30s", "until": "2026-01-01T00:00:20Z", "past": "2025-12-31T23:59:50Z",
                "empty": "", "odd": "soon", "weight": "0x10", "heavy": "many",
            },
        },
        "status": {"ready": True, "code": 3},
    }
)  # fmt: skip


def annotation(name: str) -> Any:
    return jq_query(f'.metadata.annotations["{name}"]')


@pytest.mark.parametrize(
    ("key", "operator", "values", "holds"),
    [
        (".metadata.labels.app", "In", ["db", "web"], True),
        (".metadata.labels.app", "NotIn", ["db", "web"], False),
        (".metadata.labels.tier", "In", ["x"], False),
        (".metadata.labels.tier", "NotIn", ["x"], True),
        (".metadata.labels.app", "Exists", [], True),
        (".metadata.labels.tier", "DoesNotExist", [], True),
        (".status.ready", "In", ["true"], True),
        (".status.code", "In", ["3"], True),
        (".status.conditions.[].type", "Exists", [], False),
        (".status.conditions.[].type", "NotIn", ["Ready"], True),
    ],
)
def test_a_requirement(key: str, operator: str, values: list[str], holds: bool) -> None:
    assert Requirement(jq_query(key), operator, frozenset(values)).holds(SUBJECT) == holds


def test_all_of_a_selector_must_hold_and_none_selects_nothing() -> None:
    everything = Selector({}, {}, ())
    assert everything.selects(SUBJECT)
    assert Selector({"app": "web"}, {"odd": "soon"}, ()).selects(SUBJECT)
    assert not Selector({"app": "web"}, {"odd": "now"}, ()).selects(SUBJECT)
    assert not Stage("s", PODS, None, ()).selects(SUBJECT)


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        (Duration(2.0), 2.0),
        (Duration(2.0, annotation("delay")), 90.0),
        (Duration(2.0, annotation("until")), 20.0),
        (Duration(2.0, annotation("past")), -10.0),
        (Duration(2.0, annotation("absent")), 2.0),
        (Duration(2.0, annotation("odd")), 2.0),
        (Duration(2.0, annotation("empty")), None),
    ],
)
def test_a_duration_may_come_from_the_object(duration: Duration, seconds: float | None) -> None:
    assert duration.seconds(SUBJECT, NOW_S) == seconds


def test_a_delay_lies_between_duration_and_jitter() -> None:
    chance = Random(1)
    delay = Delay(Duration(1.0), Duration(5.0))
    drawn = [delay.seconds(SUBJECT, NOW_S, chance) for _ in range(200)]
    assert 1.0 <= min(drawn) < 1.5
    assert 4.5 < max(drawn) <= 5.0
    assert Delay(Duration(5.0), Duration(1.0)).seconds(SUBJECT, NOW_S, chance) == 1.0


@pytest.mark.parametrize(
    ("weight", "value"),
    [
        (Weight(3), 3),
        (Weight(3, annotation("weight")), 16),
        (Weight(3, annotation("heavy")), None),
        (Weight(3, annotation("absent")), 3),
        (Weight(3, jq_query(".status.code")), 3),
    ],
)
def test_a_weight_may_come_from_the_object(weight: Weight, value: int | None) -> None:
    assert weight.of(SUBJECT) == value


def stage(name: str, weight: Weight) -> Stage:
    return Stage(name, PODS, Selector({}, {}, ()), (), weight)


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ([Weight(1), Weight(3)], {"0": 250, "1": 750}),
        ([Weight(0), Weight(0)], {"0": 500, "1": 500}),
        ([Weight(0), Weight(5)], {"1": 1000}),
        ([Weight(0), Weight(0, annotation("heavy"))], {"0": 1000}),
        ([Weight(0)], {"0": 1000}),
    ],
)
def test_weights_decide_between_stages(weights: list[Weight], chosen: dict[str, int]) -> None:
    stages = [stage(str(number), weight) for number, weight in enumerate(weights)]
    chance = Random(7)
    found = Counter(choose(stages, SUBJECT, chance).name for _ in range(1000))  # type: ignore[union-attr]
    assert found.keys() == chosen.keys()
    assert all(abs(found[name] - count) < 60 for name, count in chosen.items())


@pytest.mark.parametrize(
    ("finalizers", "operations"),
    [
        (Finalizers(add=("c",)), [{"op": "add", "path": "/metadata/finalizers", "value": ["a", "b", "c"]}]),
        (Finalizers(remove=("a",)), [{"op": "add", "path": "/metadata/finalizers", "value": ["b"]}]),
        (Finalizers(remove=("a", "b")), [{"op": "remove", "path": "/metadata/finalizers"}]),
        (Finalizers(empty=True), [{"op": "remove", "path": "/metadata/finalizers"}]),
        (Finalizers(add=("a",)), []),
        (Finalizers(remove=("x",)), []),
    ],
)
def test_finalizers(finalizers: Finalizers, operations: list[Any]) -> None:
    assert finalizers.operations(["a", "b"]) == operations
