"""Deadlines: the order of the queue, refusals, and whom preemption spares."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.kit.world import timestamp
from pilothouse.scheduler.annotated import InvalidAnnotation
from pilothouse.scheduler.deadlines import DEADLINE, POLICY, RUNS_FOR, Deadline, deadline_of, started_s
from pilothouse.scheduler.diagnosis import Diagnosis
from pilothouse.scheduler.plugins.deadlines import Deadlines
from pilothouse.scheduler.preemption import candidates
from tests.unit.scheduler.builders import cycle, node, pod, profile, table
from tests.unit.scheduler.test_scheduler_loop import Running, virtual

# -- the rules --------------------------------------------------------------------------------------------


def test_what_is_declared_is_read() -> None:
    made = pod()
    assert deadline_of(made) is None
    made["metadata"]["annotations"] = {
        DEADLINE: "2026-01-01T00:01:40+00:00",
        RUNS_FOR: "1m30s",
        POLICY: "require",
    }
    assert deadline_of(made) == Deadline(1767225700.0, 90.0, "require")


@pytest.mark.parametrize(
    ("key", "text"),
    [(DEADLINE, "soon"), (DEADLINE, "2026-01-01T00:00:00"), (RUNS_FOR, "9"), (POLICY, "never")],
)
def test_what_cannot_be_read_says_what_it_should_look_like(key: str, text: str) -> None:
    made = pod()
    made["metadata"]["annotations"] = {DEADLINE: "2026-01-01T00:00:00Z", key: text}
    with pytest.raises(InvalidAnnotation, match=f"annotation {key} must be .*, not"):
        deadline_of(made)


@pytest.mark.parametrize(
    ("deadline", "started", "now", "breaks"),
    [
        (Deadline(100, 30), 0, 10, False),  # begun again it would end at 40
        (Deadline(100, 30), 60, 80, True),  # begun again it would end at 110
        (Deadline(100, 30), 75, 90, False),  # it ends at 105, too late already
        (Deadline(100, 30), 60, 101, False),  # it should have ended
        (Deadline(100), 0, 10, True),  # nobody knows how long it runs
        (Deadline(100), 0, 101, False),
    ],
)
def test_eviction_breaks_a_deadline_that_is_kept_and_leaves_no_time_to_begin_again(
    deadline: Deadline, started: float, now: float, breaks: bool
) -> None:
    assert deadline.breaks_by_eviction(started, now) is breaks


# -- what a user sees -------------------------------------------------------------------------------------


async def _pod(c: Running, name: str, due_in: float | None = None, runs: str = "", **more: Any) -> None:
    notes: dict[str, str] = {}
    if due_in is not None:
        notes[DEADLINE] = timestamp(c.world.now() + due_in)
    if runs:
        notes[RUNS_FOR] = runs
    if "policy" in more:
        notes[POLICY] = more.pop("policy")
    container: Obj = {"name": "c", "image": "x", "resources": {"requests": {"cpu": more.pop("cpu", "1")}}}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": notes},
        "spec": {"containers": [container], **more},
    }
    await c.client.create(PODS, body, "default")


async def _order(c: Running, names: list[str]) -> list[str]:
    """As they get the one CPU that there is, each when the one before has gone."""
    order = []
    for _ in names:
        await c.settle(12)
        found = [name for name in names if name not in order and await c.place(name)]
        assert len(found) == 1, found
        order += found
        await c.client.delete(PODS, found[0], "default", {"gracePeriodSeconds": 0})
        names = [name for name in names if name != found[0]]
    return order


@virtual()
async def test_the_earliest_deadline_goes_first_within_a_priority(c: Running) -> None:
    names = ["none", "late", "early", "hopeless", "important"]
    await _pod(c, "none")
    await _pod(c, "late", 9000)
    await _pod(c, "early", 6000)
    await _pod(c, "hopeless", 100, "1h")
    await _pod(c, "important", priorityClassName="system-cluster-critical")
    await c.settle(1)
    await c.node("a", "1")
    assert await _order(c, names) == ["important", "early", "late", "none", "hopeless"]


@virtual()
async def test_pods_without_deadlines_keep_their_order(c: Running) -> None:
    for name in ("first", "second", "third"):
        await _pod(c, name)
        await c.settle(0.01)
    await c.node("a", "1")
    assert await _order(c, ["first", "second", "third"]) == ["first", "second", "third"]


@virtual()
async def test_a_pod_that_cannot_make_it_is_told_so_and_runs_all_the_same(c: Running) -> None:
    await c.node("a")
    await _pod(c, "slow", 60, "5m")
    await c.settle()
    assert await c.place("slow") == "a"
    text = "deadline 2026-01-01T00:01:00Z cannot be met: the pod runs for 5m0s and had to start by 2025-12-31T23:56:00Z"
    assert ("DeadlineCannotBeMet", text) in await c.events("slow")


@virtual()
async def test_a_pod_that_requires_its_deadline_is_refused_once_it_is_too_late(c: Running) -> None:
    await c.node("small", "500m")
    await _pod(c, "strict", 60, "30s", policy="require")
    await c.settle(45)
    await c.node("a")
    await c.settle(12)
    assert await c.place("strict") == ""
    text = (await c.condition("strict"))["message"]
    assert text.startswith("0/2 nodes are available: deadline 2026-01-01T00:01:00Z cannot be met: ")
    later = {"metadata": {"annotations": {DEADLINE: timestamp(c.world.now() + 600)}}}
    await c.client.patch(PODS, "strict", later, "default")
    await c.settle(12)
    assert await c.place("strict") == "a"


@virtual()
async def test_an_annotation_that_cannot_be_read_is_told_of_and_does_not_count(c: Running) -> None:
    await c.node("a")
    await c.client.create(
        PODS,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "odd", "annotations": {DEADLINE: "tomorrow"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        },
        "default",
    )
    await c.settle()
    assert await c.place("odd") == "a"
    text = f'annotation {DEADLINE} must be a time such as 2026-01-31T12:00:00Z, not "tomorrow"'
    assert ("InvalidSchedulingAnnotation", text) in await c.events("odd")


async def _started(c: Running, name: str) -> None:
    await c.client.patch(
        PODS, name, {"status": {"startTime": c.world.timestamp()}}, "default", subresource="status"
    )


async def _is_going(c: Running, name: str) -> bool:
    return "deletionTimestamp" in (await c.get(name))["metadata"]


@virtual()
async def test_preemption_spares_a_pod_that_would_then_be_late(c: Running) -> None:
    await c.node("a", "2")
    await _pod(c, "tight", 100, "80s")
    await _pod(c, "loose", 9000, "80s")
    await c.settle()
    await _started(c, "tight")
    await _started(c, "loose")
    await c.settle(40)
    await _pod(c, "boss", priorityClassName="system-cluster-critical")
    await c.settle(2)
    assert not await _is_going(c, "tight")
    assert await _is_going(c, "loose")


@virtual()
async def test_a_pod_that_has_missed_its_deadline_is_spared_no_more(c: Running) -> None:
    await c.node("a", "1")
    await _pod(c, "tight", 100, "80s")
    await c.settle()
    await _started(c, "tight")
    await c.settle(40)
    await _pod(c, "boss", priorityClassName="system-cluster-critical")
    await c.settle(20)
    assert not await _is_going(c, "tight")
    await c.settle(320)
    assert await _is_going(c, "tight")


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 120), st.integers(0, 120), st.integers(0, 60)), max_size=6
    ),
    st.integers(0, 120),
)
@settings(deadline=None)
def test_no_victim_is_one_that_would_then_be_late(running: list[tuple[int, int, int, int]], now: int) -> None:
    """Whatever runs on a node: (its priority, deadline, how long it runs, its start)."""
    pods = []
    for priority, due, runs, start in running:
        made = pod(on="a", requests={"cpu": "1"}, priority=priority, status={"startTime": timestamp(start)})
        made["metadata"]["annotations"] = {DEADLINE: timestamp(due), RUNS_FOR: f"{runs}s"}
        pods.append(made)
    clock = SimpleNamespace(now=lambda: float(now))
    handle: Any = SimpleNamespace(world=clock, recorder=None)
    on = table([node("a", {"cpu": str(len(running)), "pods": "110"})], pods)
    new = cycle(pod(requests={"cpu": "2"}, priority=2), on, using=profile(Deadlines({}, handle)))
    found, _ = candidates(new, Diagnosis(1, on.valid.copy()), [])
    for victim in (victim for candidate in found for victim in candidate.victims):
        deadline, began = deadline_of(victim.pod), started_s(victim.pod)
        assert deadline is not None and began is not None
        in_time = began + (deadline.runs_s or 0) <= deadline.at_s and now <= deadline.at_s
        assert not in_time or now + (deadline.runs_s or 0) <= deadline.at_s
