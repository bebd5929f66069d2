"""Whom a pod's scheduling would cost, and which way is chosen
(https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pilothouse.api.types import Obj
from pilothouse.scheduler import preemption
from pilothouse.scheduler.cycle import Unschedulable, feasible
from pilothouse.scheduler.framework import Cycle
from pilothouse.scheduler.preemption import Candidate
from tests.unit.scheduler import builders as b

ONE = {"cpu": "1", "memory": "8Gi", "pods": "10"}


def _lodger(name: str, node: str, cpu: str = "1", priority: int = 0, started: str = "", **fields: Any) -> Obj:
    status = {"startTime": started} if started else {}
    return b.pod(name, {"cpu": cpu}, on=node, priority=priority, status=status, **fields)


def _found(cycle: Cycle, budgets: list[Obj] | None = None) -> tuple[dict[str, Candidate], dict[str, int]]:
    with pytest.raises(Unschedulable) as caught:
        feasible(cycle)
    found, reasons = preemption.candidates(cycle, caught.value.diagnosis, budgets or [])
    return {cycle.table.name(c.row): c for c in found}, reasons


def _names(candidate: Candidate) -> list[str]:
    return [victim.name for victim in candidate.victims]


def _pod(cpu: str, priority: int = 100) -> Obj:
    return b.pod("new", {"cpu": cpu}, priority=priority)


def test_as_few_and_as_unimportant_pods_as_possible_have_to_go() -> None:
    lodgers = [
        _lodger("important", "a", priority=50),
        _lodger("old", "a", priority=1, started="2026-01-01T00:00:00Z"),
        _lodger("young", "a", priority=1, started="2026-01-02T00:00:00Z"),
        _lodger("above", "a", priority=200),
    ]
    found, _ = _found(b.cycle(_pod("1"), b.table([b.node("a")], lodgers)))
    assert _names(found["a"]) == ["young"]
    found, _ = _found(b.cycle(_pod("2"), b.table([b.node("a")], lodgers)))
    assert _names(found["a"]) == ["old", "young"]


def test_the_table_is_as_before_when_it_has_been_thought_about() -> None:
    table = b.table([b.node("a", ONE)], [_lodger("x", "a")])
    before = table.requested["cpu"].copy()
    _found(b.cycle(_pod("1"), table))
    assert np.array_equal(table.requested["cpu"], before)
    assert len(table.pods_on(table.row("a") or 0)) == 1


def test_reasons_say_why_a_node_is_none() -> None:
    nodes = [
        b.node("taken-by-equals", ONE),
        b.node("not-enough", ONE),
        b.node("tiny", {"cpu": "100m", "memory": "1Gi", "pods": "10"}),
        b.node("cordoned", ONE, unschedulable=True),
    ]
    lodgers = [
        _lodger("equal", "taken-by-equals", priority=100),
        _lodger("equal", "not-enough", "500m", priority=100),
        _lodger("lower", "not-enough", "500m"),
    ]
    found, reasons = _found(b.cycle(_pod("1"), b.table(nodes, lodgers)))
    assert not found
    assert reasons == {
        "No preemption victims found for incoming pod": 1,
        "Insufficient cpu": 1,
        "Preemption is not helpful for scheduling": 2,
    }


def _budget(allowed: int, **more: Any) -> Obj:
    return {
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"disruptionsAllowed": allowed, **more},
    }


def test_a_pod_whose_budget_forbids_it_goes_only_if_nothing_else_helps() -> None:
    lodgers = [_lodger("guarded", "a", labels={"app": "web"}), _lodger("other", "a", priority=5)]
    table = b.table([b.node("a", {"cpu": "2", "memory": "8Gi", "pods": "10"})], lodgers)
    found, _ = _found(b.cycle(_pod("1"), table), [_budget(0)])
    assert _names(found["a"]) == ["other"]
    assert found["a"].violations == 0
    found, _ = _found(b.cycle(_pod("2"), table), [_budget(0)])
    assert found["a"].violations == 1
    found, _ = _found(b.cycle(_pod("1"), table), [_budget(1)])
    assert _names(found["a"]) == ["guarded"]


def test_a_budget_is_spent_by_each_pod_it_covers() -> None:
    lodgers = [_lodger(f"web-{i}", "a", labels={"app": "web"}) for i in range(3)]
    table = b.table([b.node("a", {"cpu": "3", "memory": "8Gi", "pods": "10"})], lodgers)
    found, _ = _found(b.cycle(_pod("3"), table), [_budget(1)])
    assert found["a"].violations == 2
    found, _ = _found(b.cycle(_pod("3"), table), [_budget(1, disruptedPods={"web-0": "now", "web-1": "now"})])
    assert found["a"].violations == 0


def _best(*lodgers: Obj, cpu: str = "2", budgets: list[Obj] | None = None) -> str:
    names = sorted({p["spec"]["nodeName"] for p in lodgers})
    room = {"cpu": "2", "memory": "8Gi", "pods": "10"}
    found, _ = _found(b.cycle(_pod(cpu), b.table([b.node(n, room) for n in names], lodgers)), budgets)
    chosen = preemption.best(list(found.values()))
    return next(name for name, candidate in found.items() if candidate is chosen)


def test_the_choice_between_nodes_goes_by_upstreams_order() -> None:
    """pickOneNodeForPreemption: budgets, top priority, sum of priorities, number, start time."""
    web = {"app": "web"}
    assert _best(_lodger("x", "a", "2", labels=web), _lodger("y", "b", "2", 9), budgets=[_budget(0)]) == "b"
    assert _best(_lodger("x", "a", "2", 5), _lodger("y", "b", "2", 4)) == "b"
    assert (
        _best(_lodger("x", "a", priority=5), _lodger("y", "a", priority=5), _lodger("z", "b", "2", 5)) == "b"
    )
    assert (
        _best(_lodger("x", "a", priority=-5), _lodger("y", "a", priority=-5), _lodger("z", "b", "2", -5))
        == "b"
    )
    early, late = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    assert _best(_lodger("x", "a", "2", started=early), _lodger("y", "b", "2", started=late)) == "b"
