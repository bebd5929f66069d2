"""How many pods a metric asks for: upstream's cases (pkg/controller/podautoscaler/replica_calculator_test.go)."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pilothouse.api.types import Obj
from pilothouse.controllers.autoscaling import replicas
from pilothouse.controllers.autoscaling.replicas import (
    CannotCompute,
    Patience,
    Sample,
    Tolerances,
)
from pilothouse.kit.world import timestamp

NOW = 1_800_000_000.0
PATIENCE = Patience(120.0, 10.0)
ANY = Tolerances()


class Pod(NamedTuple):
    """One pod of a case: `use` None has no metrics; `hot` has just started."""

    use: int | None = 0
    request: str | None = "1"
    ready: bool = True
    hot: bool = False
    phase: str = "Running"
    deleted: bool = False


def _objects(pods: list[Pod]) -> list[Obj]:
    found = []
    for i, pod in enumerate(pods):
        meta: Obj = {"name": f"p{i}", "namespace": "n"}
        if pod.deleted:
            meta["deletionTimestamp"] = timestamp(NOW)
        started = timestamp(NOW - (0 if pod.hot else 600))
        ready = {
            "type": "Ready",
            "status": "True" if pod.ready else "False",
            "lastTransitionTime": started,
        }
        container: Obj = {"name": "c"}
        if pod.request is not None:
            container["resources"] = {"requests": {"cpu": pod.request}}
        status = {"phase": pod.phase, "startTime": started, "conditions": [ready]}
        found.append({"metadata": meta, "spec": {"containers": [container]}, "status": status})
    return found


def _samples(pods: list[Pod]) -> dict[str, Sample]:
    return {f"p{i}": Sample(pod.use, NOW, 60.0) for i, pod in enumerate(pods) if pod.use is not None}


def share(current: int, target: int, *pods: Pod, tolerances: Tolerances = ANY) -> tuple[int, int | None]:
    found = replicas.by_utilization(
        current,
        target,
        "cpu",
        "",
        _objects([*pods]),
        _samples([*pods]),
        tolerances,
        PATIENCE,
        NOW,
    )
    return found.replicas, found.share


def amount(current: int, target: int, *pods: Pod) -> tuple[int, int]:
    found = replicas.by_amount(current, target, "", _objects([*pods]), _samples([*pods]), ANY, PATIENCE, NOW)
    return found.replicas, found.usage


def using(*uses: int) -> list[Pod]:
    return [Pod(use) for use in uses]


UNREADY, MISSING = Pod(300, ready=False), Pod(None)

SHARES = {
    "up": ((3, 30, using(300, 500, 700)), (5, 50)),
    "up, unready: less": ((3, 30, [UNREADY, *using(500, 700)]), (4, 60)),
    "up, hot: less": ((3, 30, [Pod(300, hot=True), *using(500, 700)]), (4, 60)),
    "up, unready: none": ((3, 30, [Pod(400), Pod(500, ready=False), Pod(700, ready=False)]), (3, 40)),
    "up, hot: none": (
        (3, 30, [Pod(400), Pod(500, ready=False, hot=True), Pod(700, ready=False, hot=True)]),
        (3, 40),
    ),
    "up, failed ones don't count": (
        (2, 30, [*using(500, 700), *[Pod(None, ready=False, phase="Failed")] * 2]),
        (4, 60),
    ),
    "up, ending ones don't count": (
        (2, 30, [*using(500, 700), *[Pod(None, ready=False, deleted=True)] * 2]),
        (4, 60),
    ),
    "down": ((5, 50, using(100, 300, 500, 250, 250)), (3, 28)),
    "down, unready ones are included": (
        (5, 50, [*using(100, 300, 500), *[Pod(250, ready=False)] * 2]),
        (2, 30),
    ),
    "down, pending ones are not": (
        (5, 50, [Pod(100), *[Pod(None, ready=False, phase="Pending")] * 4]),
        (1, 10),
    ),
    "down, hot ones are not": ((5, 50, [*using(100, 300, 500), *[Pod(250, hot=True)] * 2]), (2, 30)),
    "down, failed ones don't count": (
        (5, 50, [*using(100, 300, 500, 250, 250), *[Pod(None, ready=False, phase="Failed")] * 2]),
        (3, 28),
    ),
    "within tolerance": ((3, 100, [Pod(1010, "0.9"), Pod(1030), Pod(1020, "1.1")]), (3, 102)),
    "missing": ((4, 100, [*using(400, 95), MISSING, MISSING]), (3, 24)),
    "missing, at the target": ((2, 100, [Pod(1000), MISSING]), (2, 100)),
    "missing, above": ((2, 100, [Pod(1900), MISSING]), (2, 190)),
    "missing, below": ((2, 100, [Pod(600), MISSING]), (2, 60)),
    "missing, unready": ((3, 50, [Pod(100, ready=False), Pod(450), MISSING]), (3, 45)),
    "missing, hot": ((3, 50, [Pod(100, hot=True), Pod(450), MISSING]), (3, 45)),
    "missing, unready, up": ((3, 50, [Pod(100, ready=False), Pod(2000), MISSING]), (4, 200)),
    "missing, hot, up": ((3, 50, [Pod(100, ready=False, hot=True), Pod(2000), MISSING]), (4, 200)),
    "missing, unready, down": ((4, 50, [Pod(100, ready=False), *using(100, 100), MISSING]), (3, 10)),
    "during a rollout": ((2, 50, [*using(100, 100), MISSING]), (2, 10)),
    "missing, of a target above 100 %": ((4, 200, [*using(1000, 1000, 1000), MISSING]), (3, 100)),
}


@pytest.mark.parametrize("case", SHARES)
def test_a_share_of_the_requests(case: str) -> None:
    (current, target, pods), (wanted, used) = SHARES[case]
    assert share(current, target, *pods) == (wanted, used)


def test_what_nobody_asked_for_counts_not() -> None:
    """Metrics of pods that the selector does not find."""
    pods = using(4000, 9500, 3000, 7000)
    samples = {**_samples(pods), "gone": Sample(3200), "other": Sample(2000)}
    found = replicas.by_utilization(4, 100, "cpu", "", _objects(pods), samples, ANY, PATIENCE, NOW)
    assert (found.replicas, found.share) == (24, 587)


AMOUNTS = {
    "up": ((3, 15000, using(20000, 10000, 30000)), (4, 20000)),
    "up, unready ones count as others": (
        (3, 15000, [Pod(50000), Pod(10000), Pod(30000, ready=False, hot=True)]),
        (6, 30000),
    ),
    "up, all the same": (
        (3, 15000, [Pod(50000, ready=False, hot=True), Pod(15000), Pod(30000, ready=False, hot=True)]),
        (7, 31666),
    ),
    "down": ((5, 20000, using(*[12000] * 5)), (3, 12000)),
    "within tolerance": ((3, 20000, using(20000, 21000, 21000)), (3, 20666)),
    "missing, down": ((3, 1000, [*using(100, 100), MISSING]), (2, 100)),
    "missing, up": ((2, 1000, [Pod(1500), MISSING]), (2, 1500)),
}


@pytest.mark.parametrize("case", AMOUNTS)
def test_an_amount_for_each_pod(case: str) -> None:
    (current, target, pods), expected = AMOUNTS[case]
    assert amount(current, target, *pods) == expected


READY_OF_THREE = [Pod(ready=False), Pod(), Pod(ready=False)]


@pytest.mark.parametrize(
    ("current", "usage", "target", "pods", "wanted"),
    [
        (3, 20000, 15000, using(0, 0, 0), 4),
        (3, 50000, 10000, READY_OF_THREE, 5),
        (3, 8600, 4400, READY_OF_THREE, 2),
        (5, 12000, 20000, using(*[0] * 5), 3),
        (5, 8600, 14334, using(*[0] * 5), 3),
        (3, 20666, 20000, using(0, 0, 0), 3),
        (3, 8600, 8888, using(0, 0, 0), 3),
        (0, 500, 100, [], 5),
        (0, 50, 100, [], 1),
        (0, 0, 100, [], 0),
        (1, 2**62, 1, using(0), 2**31 - 1),
    ],
)
def test_one_value_for_all(current: int, usage: int, target: int, pods: list[Pod], wanted: int) -> None:
    assert replicas.by_ratio(current, usage, target, _objects(pods), ANY).replicas == wanted


@pytest.mark.parametrize(
    ("observed", "usage", "target", "wanted"),
    [
        (3, 20000, 5000, (4, 6667)),
        (3, 8600, 2150, (4, 2867)),
        (5, 6000, 2000, (3, 1200)),
        (5, 8600, 2867, (3, 1720)),
        (4, 20166, 5000, (4, 5042)),
        (3, 8600, 2900, (3, 2867)),
        (0, 7000, 2000, (4, 7000)),
        (0, 0, 2000, (0, 0)),
    ],
)
def test_a_part_of_one_value_for_each(
    observed: int, usage: int, target: int, wanted: tuple[int, int]
) -> None:
    found = replicas.per_pod(observed, usage, target, ANY)
    assert (found.replicas, found.usage) == wanted


def test_tolerances_of_each_direction() -> None:
    pods = using(530, 530)
    assert share(2, 50, *pods)[0] == 2
    assert share(2, 50, *pods, tolerances=Tolerances(0.1, 0.01))[0] == 3
    assert share(4, 50, *using(*[440] * 4), tolerances=Tolerances(0.2, 0.1))[0] == 4
    assert share(8, 50, *using(*[440] * 8), tolerances=Tolerances(0.0, 0.1))[0] == 8
    assert share(10, 50, *using(*[440] * 10), tolerances=Tolerances(0.0, 0.1))[0] == 9


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ([], "no pods returned by selector while calculating replica count"),
        ([Pod(100, hot=True)], r"did not receive metrics for targeted pods \(pods might be unready\)"),
        ([Pod(100, request=None)], "missing request for cpu in container c of Pod p0"),
        ([Pod(100, request="0")], "no metrics returned matched known pods"),
    ],
)
def test_what_cannot_be_computed(pods: list[Pod], told: str) -> None:
    with pytest.raises(CannotCompute, match=told):
        share(1, 50, *pods)


def _with_spec(spec: Obj) -> Obj:
    return {"metadata": {"name": "p"}, "spec": spec}


def _asks(name: str, cpu: str, **more: str) -> Obj:
    return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}


def test_whose_requests_count() -> None:
    sidecar, first = _asks("s", "50m", restartPolicy="Always"), _asks("f", "7")
    spec: Obj = {"containers": [_asks("a", "100m"), _asks("b", "1")], "initContainers": [sidecar, first]}
    assert replicas.requested([_with_spec(spec)], "", "cpu") == {"p": 1150}
    assert replicas.requested([_with_spec(spec)], "a", "cpu") == {"p": 100}
    assert replicas.requested([_with_spec(spec)], "s", "cpu") == {"p": 50}
    whole = {**spec, "resources": {"requests": {"cpu": "3"}}}
    assert replicas.requested([_with_spec(whole)], "", "cpu") == {"p": 3000}
    assert replicas.requested([_with_spec(whole)], "b", "cpu") == {"p": 1000}
    with pytest.raises(CannotCompute, match="container x not found in Pod p"):
        replicas.requested([_with_spec(spec)], "x", "cpu")


@pytest.mark.parametrize(
    ("started_ago_s", "changed_ago_s", "ready", "sampled_ago_s", "counts"),
    [
        # Within two minutes of its start: ready, and measured for a whole window since.
        (90, 90, True, 0, True),
        (90, 30, True, 0, False),
        (90, 61, True, 2, False),
        (90, 80, False, 0, False),
        # Later: unless it has never been ready.
        (600, 10, True, 0, True),
        (600, 300, False, 0, True),
        (600, 595, False, 0, False),
    ],
)
def test_when_the_cpu_of_a_young_pod_counts(
    started_ago_s: int, changed_ago_s: int, ready: bool, sampled_ago_s: int, counts: bool
) -> None:
    (pod,) = _objects([Pod(1, ready=ready)])
    pod["status"]["startTime"] = timestamp(NOW - started_ago_s)
    pod["status"]["conditions"][0]["lastTransitionTime"] = timestamp(NOW - changed_ago_s)
    groups = replicas.grouped([pod], {"p0": Sample(1, NOW - sampled_ago_s, 60.0)}, "cpu", PATIENCE, NOW)
    assert (groups.ready, groups.unready) == ((1, set()) if counts else (0, {"p0"}))
    assert replicas.grouped([pod], {"p0": Sample(1)}, "memory", PATIENCE, NOW).ready == 1
