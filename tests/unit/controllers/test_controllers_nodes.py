"""What controllers make of nodes and of the pods on them: taints, evictions, garbage, the TTL annotation."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.controllers import node_ttl, pod_gc

POD = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}]}


async def pod_on(lab: Any, node: str, **spec: Any) -> None:
    await lab.create(PODS, {"metadata": {"name": "p"}, "spec": {**POD, "nodeName": node, **spec}})


def test_a_node_that_never_spoke_loses_the_taint_of_admission(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        made = await lab.create(NODES, {"metadata": {"name": "mute"}})
        assert [t["key"] for t in made["spec"]["taints"]] == ["node.kubernetes.io/not-ready"]
        await lab.wait(10)
        assert not (await lab.get(NODES, "mute"))["spec"].get("taints")

    simulate(scenario)


def test_the_older_labels_of_a_node_follow_the_stable_ones(simulate: Any) -> None:
    """reconcileNodeLabels: for those who still select by the beta labels."""

    async def scenario(lab: Any) -> None:
        labels = {"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "other"}
        await lab.create(NODES, {"metadata": {"name": "mute", "labels": labels}})
        await lab.wait(10)
        wanted = {"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "linux"}
        assert (await lab.get(NODES, "mute"))["metadata"]["labels"] == wanted
        await lab.label_node("mute", **{"kubernetes.io/arch": "arm64"})
        await lab.wait(10)
        found = (await lab.get(NODES, "mute"))["metadata"]["labels"]
        assert found["beta.kubernetes.io/arch"] == "arm64"

    simulate(scenario)


def test_an_evicted_pod_gets_its_condition_last(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        annotations = {"pilothouse.dev/stop-seconds": "20"}
        await lab.create(
            PODS,
            {"metadata": {"name": "p", "annotations": annotations}, "spec": {**POD, "nodeName": "node-0"}},
        )
        await lab.wait(5)
        await lab.patch(NODES, "node-0", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
        await lab.wait(5)
        conditions = (await lab.get(PODS, "p"))["status"]["conditions"]
        assert conditions[-1]["type"] == "DisruptionTarget"
        assert conditions[-1]["reason"] == "DeletionByTaintManager"

    simulate(scenario)


def test_pods_of_a_deleted_node_go_after_the_quarantine(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(NODES, {"metadata": {"name": "mute"}})
        await pod_on(lab, "mute", tolerations=[{"operator": "Exists"}])
        await lab.wait(5)
        await lab.delete(NODES, "mute")
        await lab.wait(30)
        assert await lab.names(PODS) == ["p"]
        await lab.wait(60)
        assert await lab.names(PODS) == []

    simulate(scenario)


def test_a_pod_that_cannot_be_deleted_holds_up_no_others(simulate: Any, kept: set[str]) -> None:
    """podgc logs what it could not delete and goes on."""

    async def scenario(lab: Any) -> None:
        kept.add("a")
        await lab.create(NODES, {"metadata": {"name": "mute"}})
        spec = {**POD, "nodeName": "mute", "tolerations": [{"operator": "Exists"}]}
        for name in "ab":
            await lab.create(PODS, {"metadata": {"name": name}, "spec": spec})
        await lab.wait(5)
        await lab.delete(NODES, "mute")
        await lab.wait(90)
        assert await lab.names(PODS) == ["a"]

    simulate(scenario)


def test_a_pod_that_was_never_scheduled_goes_though_it_has_grace(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        spec = {**POD, "schedulerName": "nobody"}
        await lab.create(PODS, {"metadata": {"name": "p", "finalizers": ["example.com/x"]}, "spec": spec})
        await lab.delete(PODS, "p")
        await lab.wait(30)
        await lab.patch(PODS, "p", {"metadata": {"finalizers": None}})
        await lab.wait(5)
        assert await lab.names(PODS) == []

    simulate(scenario)


def finished(name: str, created: str, reason: str = "") -> Obj:
    meta = {"name": name, "creationTimestamp": created}
    return {"metadata": meta, "spec": {}, "status": {"phase": "Failed", "reason": reason}}


def test_the_oldest_finished_pods_beyond_the_threshold_go_evicted_ones_first() -> None:
    pods = [
        finished("a", "2026-01-01T00:00:00Z"),
        finished("b", "2026-01-03T00:00:00Z", "Evicted"),
        finished("c", "2026-01-02T00:00:00Z"),
    ]
    assert [p["metadata"]["name"] for p in pod_gc.surplus(pods, 1)] == ["b", "a"]
    assert pod_gc.surplus(pods, 3) == []
    assert pod_gc.surplus(pods, 0) == []


def test_nodes_say_how_long_secrets_may_be_kept(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        for node in await lab.list(NODES):
            assert node["metadata"]["annotations"][node_ttl.ANNOTATION] == "0"

    simulate(scenario)


@pytest.mark.parametrize(
    ("size", "present", "wanted"), [(100, 0, 0), (101, 0, 1), (90, 1, 1), (89, 1, 0), (5000, 0, 4)]
)
def test_steps_overlap(size: int, present: int, wanted: int) -> None:
    assert node_ttl.step_for(size, present) == wanted
