"""What `explain` says of a pod: node by node who refuses it, or what each score was. Asking changes nothing."""

from __future__ import annotations

import random

import msgspec
import numpy as np
from hypothesis import given

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PODS
from pilothouse.api.types import Obj
from pilothouse.scheduler import cycle as rules
from pilothouse.scheduler.explain import Explanation, NodeReport, QueueState, Refusal, explain
from pilothouse.scheduler.framework import Cycle
from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.pod_info import pod_info
from tests.unit.scheduler.builders import clusters, cycle, new_pods, node, pod, profile, table
from tests.unit.scheduler.test_scheduler_loop import Running, virtual

WAITING = QueueState("unschedulable")


def explained(of: Obj, on: NodeTable, **more: object) -> Explanation:
    return explain(of, on, profile(), WAITING, **more)  # type: ignore[arg-type]


def report(found: Explanation, name: str) -> NodeReport:
    return next(each for each in found.nodes if each.node == name)


def test_each_node_has_the_first_rule_that_refuses_it_and_the_others_beside() -> None:
    on = table(
        [
            node("cordoned", unschedulable=True),
            node("small", {"cpu": "1", "memory": "1Gi", "pods": "1"}),
            node("tainted", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}]),
        ],
        [pod(on="small"), pod(on="tainted", requests={"cpu": "3"})],
    )
    found = explained(pod("web", {"cpu": "2"}), on)
    assert report(found, "cordoned").refusals == (
        Refusal("NodeUnschedulable", "node(s) were unschedulable", False),
    )
    assert [r.reason for r in report(found, "small").refusals] == ["Too many pods", "Insufficient cpu"]
    tainted = report(found, "tainted")
    assert [r.plugin for r in tainted.refusals] == ["TaintToleration"]
    assert [(r.plugin, r.reason) for r in tainted.also] == [("NodeResourcesFit", "Insufficient cpu")]
    assert found.message.startswith(
        "0/3 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had"
    )
    assert found.best == ()


def test_scores_are_shown_raw_and_normalized_and_add_up() -> None:
    soft = [{"key": "k", "effect": "PreferNoSchedule"}, {"key": "l", "effect": "PreferNoSchedule"}]
    on = table([node("a", taints=soft), node("b", taints=soft[:1], labels={"disk": "ssd"}), node("c")])
    wish = {"weight": 7, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [wish]}}
    found = explained(pod("web", {"cpu": "1"}, affinity=affinity), on)
    by_plugin = {each.node: {s.plugin: s for s in each.scores} for each in found.nodes}
    taints = {name: scores["TaintToleration"] for name, scores in by_plugin.items()}
    assert {name: (s.raw, s.normalized, s.weighted) for name, s in taints.items()} == {
        "a": (2, 0, 0),
        "b": (1, 50, 150),
        "c": (0, 100, 300),
    }
    assert by_plugin["b"]["NodeAffinity"].raw == 7
    assert by_plugin["b"]["NodeAffinity"].weighted == 200
    assert all(each.total == sum(s.weighted for s in each.scores) for each in found.nodes)
    assert [each.node for each in found.nodes] == ["b", "c", "a"]
    assert found.best == ("b",)
    assert "InterPodAffinity" in found.skipped


@given(clusters(), new_pods())
def test_it_says_what_the_cycle_does_and_leaves_the_table_as_it_was(
    cluster: tuple[list[Obj], list[Obj]], new: Obj
) -> None:
    on = table(*cluster)
    before = {row: sorted(p.uid for p in on.pods_on(row)) for row in np.flatnonzero(on.valid)}
    found = explained(new, on)
    assert {row: sorted(p.uid for p in on.pods_on(row)) for row in np.flatnonzero(on.valid)} == before
    asked = cycle(new, on)
    try:
        left = rules.feasible(asked)
    except rules.Unschedulable as refusal:
        rules.post_filter(asked, refusal.diagnosis)
        assert found.message == refusal.diagnosis.text()
        counted: dict[str, int] = {}
        for each in found.nodes:
            for refused in each.refusals:
                counted[refused.reason] = counted.get(refused.reason, 0) + 1
        assert counted == refusal.diagnosis.reasons
        return
    assert {each.node for each in found.nodes if each.fits} == {on.name(int(r)) for r in np.flatnonzero(left)}
    for seed in range(3):
        drawn = Cycle(pod_info(new), profile(), on, random.Random(seed))
        assert rules.decide(drawn) in found.best


def test_a_pod_that_is_there_is_looked_at_as_if_it_were_not() -> None:
    there = pod("web", {"cpu": "3"}, on="b")
    on = table([node("a"), node("b")], [pod(on="a", requests={"cpu": "2"}), there])
    found = explained(there, on)
    assert found.node == "b"
    assert found.best == ("b",)
    assert report(found, "b").fits
    assert [r.reason for r in report(found, "a").refusals] == ["Insufficient cpu"]
    row = on.row("b")
    assert row is not None
    assert [info.name for info in on.pods_on(row)] == ["web"]


def test_a_refusal_before_any_node_is_every_nodes() -> None:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]} for name in "ab"]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    }
    found = explained(pod("torn", affinity=affinity), table([node("a"), node("b")]))
    assert found.message.startswith("0/2 nodes are available: pod affinity terms conflict.")
    assert [[r.plugin for r in each.refusals] for each in found.nodes] == [["NodeAffinity"]] * 2


def test_without_nodes() -> None:
    found = explained(pod("web"), table([]))
    assert found.message == "no nodes available to schedule pods"
    assert found.nodes == ()


def test_it_is_plain_json() -> None:
    found = explained(pod("web"), table([node("a")]))
    read = msgspec.json.decode(msgspec.json.encode(found))
    assert read["nodes"][0]["scores"][0].keys() == {"plugin", "raw", "normalized", "weight", "weighted"}
    assert msgspec.convert(read, Explanation) == found


# -- of a scheduler at work -------------------------------------------------------------------------------


@virtual()
async def test_what_preemption_would_do(c: Running) -> None:
    await c.node("a")
    await c.node("b")
    for name in ("one", "two"):
        await c.pod(name, "3")
    await c.settle()
    important = {"priorityClassName": "system-cluster-critical", "preemptionPolicy": None}
    await c.pod("vip", "3", schedulingGates=[{"name": "not-yet"}], **important)
    await c.settle()
    found = c.scheduler.explain("default", "vip")
    assert found.preemption is not None
    assert found.preemption.node in ("a", "b")
    assert {v.name for each in found.preemption.candidates for v in each.victims} == {"one", "two"}
    assert found.preemption.candidates[0].node == found.preemption.node
    assert (found.queue.place, found.queue.gate) == ("gated", "SchedulingGates")
    assert await c.place("one")


@virtual()
async def test_what_the_queue_knows(c: Running) -> None:
    await c.node("a", "500m")
    await c.pod("web")
    await c.settle(2)
    state = c.scheduler.explain("default", "web").queue
    assert state.place == "unschedulable"
    assert state.attempts == 1
    assert state.rejected_by == ("NodeResourcesFit",)
    assert state.since == "2026-01-01T00:00:00Z"
    assert state.message == c.scheduler.explain("default", "web").message
    await c.client.delete(PODS, "web", "default")
    await c.settle()
    try:
        c.scheduler.explain("default", "web")
    except ApiError as error:
        assert error.code == 404
    else:
        raise AssertionError("it explained a pod that is gone")
