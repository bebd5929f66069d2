"""Nodes that fall silent and what becomes of their pods (https://kubernetes.io/docs/concepts/architecture/nodes/,
https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/,
k8s.io/kubernetes/pkg/controller/nodelifecycle and tainteviction)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import EVENTS, NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition
from pilothouse.controllers.taint_eviction import tolerated_s

STOPPED = "pilothouse.dev/stopped"
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"


async def stop(lab: Any, *names: str, stopped: str | None = "true") -> None:
    for name in names:
        await lab.patch(NODES, name, {"metadata": {"annotations": {STOPPED: stopped}}})


async def taints(lab: Any, name: str) -> list[tuple[str, str]]:
    found = (await lab.get(NODES, name))["spec"].get("taints") or []
    return sorted((t["key"].rpartition("/")[2], t["effect"]) for t in found)


async def pod(lab: Any, name: str, node: str, *tolerations: Obj) -> None:
    spec = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10"}], "nodeName": node}
    await lab.create(PODS, {"metadata": {"name": name}, "spec": {**spec, "tolerations": list(tolerations)}})


async def messages(lab: Any, name: str) -> list[str]:
    return [e[2] for e in await lab.events(name)]


def test_nodes_are_greeted_and_seen_off(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        node = await lab.get(NODES, "node-0")
        assert "Node node-0 event: Registered Node node-0 in Controller" in await messages(lab, "node-0")
        registered = [e for e in await lab.list(EVENTS) if e["reason"] == "RegisteredNode"]
        assert {e["involvedObject"]["uid"] for e in registered} >= {node["metadata"]["uid"]}
        await lab.create(NODES, {"metadata": {"name": "brief"}})
        await lab.wait(5)
        await lab.delete(NODES, "brief")
        await lab.wait(5)
        assert "Node brief event: Removing Node brief from Controller" in await messages(lab, "brief")

    simulate(scenario)


def test_a_silent_node_is_unknown_after_the_grace_period_and_its_pods_go_later(simulate: Any) -> None:
    """50 s (the default since 1.32), then five minutes of toleration (DefaultTolerationSeconds)."""

    async def scenario(lab: Any) -> None:
        await pod(lab, "p", "node-0")
        await pod(lab, "stays", "node-0", {"operator": "Exists"})
        await lab.wait(10)
        await stop(lab, "node-0")
        await lab.wait(38)
        assert await taints(lab, "node-0") == []
        await lab.wait(30)
        ready = condition(await lab.get(NODES, "node-0"), "Ready")
        assert ready is not None
        assert (ready["status"], ready["reason"], ready["message"]) == (
            "Unknown",
            "NodeStatusUnknown",
            "Kubelet stopped posting node status.",
        )
        assert await taints(lab, "node-0") == [("unreachable", "NoExecute"), ("unreachable", "NoSchedule")]
        told = await lab.events("node-0")
        assert (
            "Normal",
            "NodeNotReady",
            "Node node-0 status is now: NodeNotReady",
            "node-controller",
        ) in told
        marked = condition(await lab.get(PODS, "p"), "Ready")
        assert marked is not None
        assert marked["status"] == "False"
        assert ("Warning", "NodeNotReady", "Node is not ready", "node-controller") in await lab.events("p")
        await lab.wait(240)
        assert "deletionTimestamp" not in (await lab.get(PODS, "p"))["metadata"]
        await lab.wait(80)
        going = await lab.get(PODS, "p")
        assert going["metadata"]["deletionTimestamp"], "and stays there: nobody can confirm that it ended"
        target = condition(going, "DisruptionTarget")
        assert target is not None
        assert (target["reason"], target["message"]) == (
            "DeletionByTaintManager",
            "Taint manager: deleting due to NoExecute taint",
        )
        assert "Marking for deletion Pod default/p" in await messages(lab, "p")
        assert "deletionTimestamp" not in (await lab.get(PODS, "stays"))["metadata"]

    simulate(scenario)


def test_a_node_that_comes_back_in_time_keeps_its_pods(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await pod(lab, "p", "node-0")
        await stop(lab, "node-0")
        await lab.wait(120)
        await stop(lab, "node-0", stopped=None)
        await lab.wait(30)
        assert await taints(lab, "node-0") == []
        assert "Cancelling deletion of Pod default/p" in await messages(lab, "p")
        await lab.wait(400)
        assert await lab.names(PODS) == ["p"]
        ready = condition(await lab.get(PODS, "p"), "Ready")
        assert ready is not None
        assert ready["status"] == "True"

    simulate(scenario)


def test_a_pod_that_goes_before_its_time_is_told_of(simulate: Any) -> None:
    """tainteviction cancels what it planned for a pod that is gone."""

    async def scenario(lab: Any) -> None:
        await pod(lab, "p", "node-0", {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60})
        await lab.wait(5)
        await lab.patch(NODES, "node-0", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})
        await lab.wait(5)
        await lab.delete(PODS, "p", gracePeriodSeconds=0)
        await lab.wait(5)
        assert "Cancelling deletion of Pod default/p" in await messages(lab, "p")

    simulate(scenario)


def test_nobody_is_evicted_when_every_node_is_silent(simulate: Any) -> None:
    """All zones fully disrupted: the control plane's own network is the likelier culprit."""

    async def scenario(lab: Any) -> None:
        nodes = await lab.names(NODES)
        await pod(lab, "p", nodes[0])
        await lab.wait(5)
        await stop(lab, *nodes)
        await lab.wait(600)
        for name in nodes:
            assert await taints(lab, name) == [("unreachable", "NoSchedule")]
        assert "deletionTimestamp" not in (await lab.get(PODS, "p"))["metadata"]
        await stop(lab, nodes[1], stopped=None)
        await lab.wait(120)
        assert ("unreachable", "NoExecute") in await taints(lab, nodes[0]), "somebody is left to judge"
        assert await taints(lab, nodes[1]) == []

    simulate(scenario)


def test_nodes_of_a_zone_are_tainted_one_after_the_other(simulate: Any) -> None:
    """--node-eviction-rate: one in ten seconds; NoSchedule comes at once."""

    async def scenario(lab: Any) -> None:
        for name in ("node-0", "node-1"):
            await stop(lab, name)
            down = {"conditions": [{"type": "Ready", "status": "False"}]}
            await lab.patch(NODES, name, {"status": down}, patch_type="strategic", subresource="status")
        await lab.wait(2)
        found = [await taints(lab, name) for name in ("node-0", "node-1")]
        assert sorted(found) == [
            [("not-ready", "NoExecute"), ("not-ready", "NoSchedule")],
            [("not-ready", "NoSchedule")],
        ]
        await lab.wait(10)
        both = [("not-ready", "NoExecute"), ("not-ready", "NoSchedule")]
        assert [await taints(lab, name) for name in ("node-0", "node-1")] == [both, both]

    simulate(scenario)


def toleration(**of: Any) -> Obj:
    return {"operator": "Exists", **of}


def test_the_first_matching_toleration_counts() -> None:
    taint = {"key": UNREACHABLE, "effect": "NoExecute"}
    other = {"key": "k", "effect": "NoExecute"}
    forever, five = toleration(), toleration(key=UNREACHABLE, tolerationSeconds=300)
    for tolerations, allowed in (
        ([], 0.0),
        ([five], 300.0),
        ([forever, five], None),
        ([five, forever], 300.0),
        ([toleration(tolerationSeconds=-5)], 0.0),
        ([toleration(key="other")], 0.0),
    ):
        assert tolerated_s({"spec": {"tolerations": tolerations}}, [taint]) == allowed
    assert tolerated_s({"spec": {"tolerations": [five]}}, [taint, other]) == 0
    least = [five, toleration(key="k", tolerationSeconds=10)]
    assert tolerated_s({"spec": {"tolerations": least}}, [taint, other]) == 10
    assert tolerated_s({"spec": {}}, []) is None


def test_a_node_that_its_cloud_has_not_prepared_keeps_its_taint(simulate: Any) -> None:
    """--cloud-provider=external: the cloud controller manager takes the taint off, and deletes nodes that have gone; no
    controller here does, whatever becomes of the node."""

    async def scenario(lab: Any) -> None:
        taint = {
            "key": "node.cloudprovider.kubernetes.io/uninitialized",
            "value": "true",
            "effect": "NoSchedule",
        }
        await lab.create(NODES, {"metadata": {"name": "cloudy"}, "spec": {"taints": [taint]}})
        await lab.wait(600)
        found = await lab.get(NODES, "cloudy")
        assert taint in found["spec"]["taints"]
        assert "node.kubernetes.io/unreachable" in {t["key"] for t in found["spec"]["taints"]}

    simulate(scenario)
