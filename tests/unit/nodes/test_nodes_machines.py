"""Nodes as their kubelets keep them: registration, leases, heartbeats, and what others put into them
(pkg/kubelet/kubelet_node_status.go, pkg/kubelet/nodestatus)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import LEASES, NODES, Resource
from pilothouse.api.types import Obj
from pilothouse.client.resource_client import ResourceClient
from pilothouse.kit.world import parse_timestamp
from pilothouse.nodes import node_status
from tests.unit.nodes.nodes_simulation import Simulate, Simulation, condition


def test_a_node_registers_itself(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        node = await on.node()
        assert node["metadata"]["labels"] == {
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": "node-0",
            "kubernetes.io/os": "linux",
        }
        status = node["status"]
        assert status["capacity"] == status["allocatable"]
        assert {k: status["capacity"][k] for k in ("cpu", "memory", "pods")} == {
            "cpu": "16",
            "memory": "64Gi",
            "pods": "220",
        }
        assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
            ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID"),
            ("Ready", "True", "KubeletReady"),
        ]
        assert status["addresses"] == [
            {"type": "InternalIP", "address": "10.88.0.2"},
            {"type": "Hostname", "address": "node-0"},
        ]
        assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
        assert node["spec"]["podCIDR"] == "10.244.0.0/24"
        lease = await on.lease()
        assert lease["spec"]["holderIdentity"] == "node-0"
        assert lease["spec"]["leaseDurationSeconds"] == 40
        assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]
        told = [reason for _, reason, _ in await on.events("node-0") if reason != "RegisteredNode"]
        assert told[:2] == ["Starting", "NodeHasSufficientMemory"]

    simulate(scenario)


def test_leases_every_ten_seconds_and_a_status_every_five_minutes(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        renewed, beats = set(), set()
        for _ in range(600):
            await on.passes(1)
            renewed.add((await on.lease())["spec"]["renewTime"])
            beats.add(condition((await on.node())["status"], "Ready")["lastHeartbeatTime"])
        assert 59 <= len(renewed) <= 62
        assert len(beats) == 3
        ready = condition((await on.node())["status"], "Ready")
        assert ready["lastTransitionTime"] == "2026-01-01T00:00:00Z"

    simulate(scenario)


def test_a_slow_server_delays_every_lease_by_its_own_answer_only(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = ResourceClient.update

    async def slowly(self: ResourceClient, resource: Resource, obj: Obj, **params: Any) -> Obj:
        if resource == LEASES:
            await asyncio.sleep(5)
        return await at_once(self, resource, obj, **params)

    monkeypatch.setattr(ResourceClient, "update", slowly)

    async def scenario(on: Simulation) -> None:
        for _ in range(12):
            await on.passes(10)
            leases = (await on.client.list(LEASES, "kube-node-lease"))["items"]
            ages_s = [on.now_s() - parse_timestamp(lease["spec"]["renewTime"]) for lease in leases]
            assert len(ages_s) == 30
            assert max(ages_s) < 16

    simulate(scenario, nodes=30)


def test_what_others_put_into_a_node_stays(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        labels = {"metadata": {"labels": {"zone": "a"}, "annotations": {"b": "c"}}}
        await on.client.patch(NODES, "node-0", {**labels, "spec": {"unschedulable": True}})
        more = {
            "capacity": {"example.com/gpu": "4", "cpu": "32"},
            "conditions": [{"type": "example.com/Odd", "status": "True"}],
        }
        await on.client.patch(NODES, "node-0", {"status": more}, patch_type="strategic", subresource="status")
        await on.passes(700)
        node = await on.node()
        assert node["metadata"]["labels"]["zone"] == "a"
        assert node["metadata"]["annotations"]["b"] == "c"
        assert node["spec"]["unschedulable"]
        assert node["status"]["capacity"]["cpu"] == "32"
        assert node["status"]["allocatable"]["example.com/gpu"] == "4"
        assert condition(node["status"], "example.com/Odd")["status"] == "True"

    simulate(scenario)


def test_an_extended_resource_follows_its_capacity() -> None:
    node = node_status.new_node("n", 0, "x", "2026-01-01T00:00:00Z")
    node["status"]["capacity"]["example.com/gpu"] = "8"
    node["status"]["allocatable"].update({"example.com/gpu": "4", "example.com/gone": "1", "cpu": "8"})
    allocatable = node_status.status(node, 0, "")["allocatable"]
    assert allocatable["example.com/gpu"] == "8"
    assert "example.com/gone" not in allocatable
    assert allocatable["cpu"] == "8"


def test_a_condition_that_somebody_else_changed_is_put_right(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        unknown = {
            "status": {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]}
        }
        await on.client.patch(NODES, "node-0", unknown, patch_type="strategic", subresource="status")
        await on.passes(11)
        ready = condition((await on.node())["status"], "Ready")
        assert (ready["status"], ready["reason"]) == ("True", "KubeletReady")
        assert ready["lastTransitionTime"] > "2026-01-01T00:00:05Z"

    simulate(scenario)


def test_a_node_that_somebody_deletes_is_not_made_again(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.client.delete(NODES, "node-0")
        await on.passes(120)
        with pytest.raises(ApiError, match="not found"):
            await on.node()

    simulate(scenario)


def test_a_stopped_kubelet_is_a_dead_machine(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web")
        await on.passes(1)
        stopped = {"metadata": {"annotations": {"pilothouse.dev/stopped": "true"}}}
        await on.client.patch(NODES, "node-0", stopped)
        await on.passes(100)
        node = await on.node()
        ready = condition(node["status"], "Ready")
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
        assert {"node.kubernetes.io/unreachable"} <= {t["key"] for t in node["spec"]["taints"]}
        await on.delete("web")
        await on.passes(100)
        assert not await on.is_gone("web"), "nobody is there to end it"
        again = {"metadata": {"annotations": {"pilothouse.dev/stopped": None}}}
        await on.client.patch(NODES, "node-0", again)
        await on.passes(20)
        assert condition((await on.node())["status"], "Ready")["status"] == "True"
        assert await on.is_gone("web")

    simulate(scenario)


@pytest.mark.parametrize("annotation", [{"kwok.x-k8s.io/node": "fake"}, {"pilothouse.dev/simulated": "true"}])
def test_a_node_object_may_ask_to_be_simulated(simulate: Simulate, annotation: dict[str, str]) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", nodeName="mine", tolerations=[{"operator": "Exists"}])
        await on.passes(1)
        assert (await on.status("web"))["phase"] == "Pending"
        await on.create(NODES, {"metadata": {"name": "mine", "annotations": annotation}})
        await on.passes(3)
        assert condition((await on.node("mine"))["status"], "Ready")["status"] == "True"
        assert (await on.status("web"))["podIP"].startswith("10.244.1.")

    simulate(scenario)
