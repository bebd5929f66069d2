"""Nodes and the machines behind them (https://kubernetes.io/docs/concepts/architecture/cloud-controller/)."""

from __future__ import annotations

from pilothouse.api.resources import NODES
from pilothouse.cloud.provider import Instance
from tests.unit.cloud.conftest import Lab, Simulate

_M5 = Instance(
    "paper:///a/i-1",
    "m5.large",
    (("InternalIP", "10.0.0.1"), ("ExternalIP", "192.0.2.1"), ("InternalIP", "10.9.0.1")),
    "a",
    "west",
    {"rack": "7", "kubernetes.io/os": "plan9", "x.k8s.io/y": "no"},
)


def test_a_new_node_is_described_and_loses_its_taint(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        lab.machines.known["n1"] = _M5
        await lab.node("n1", labels={"rack": "mine"})
        await lab.wait(2)
        node = await lab.get(NODES, "n1")
        assert node["spec"]["providerID"] == "paper:///a/i-1"
        labels = node["metadata"]["labels"]
        assert (
            labels["node.kubernetes.io/instance-type"]
            == labels["beta.kubernetes.io/instance-type"]
            == "m5.large"
        )
        assert (
            labels["topology.kubernetes.io/zone"] == labels["failure-domain.beta.kubernetes.io/zone"] == "a"
        )
        assert labels["topology.kubernetes.io/region"] == "west"
        assert labels["rack"] == "mine", "what is there already stays"
        assert "x.k8s.io/y" not in labels and labels.get("kubernetes.io/os") != "plan9"
        assert not await lab.taints("n1") & {"node.cloudprovider.kubernetes.io/uninitialized"}
        assert [a["address"] for a in node["status"]["addresses"]] == ["10.0.0.1", "192.0.2.1", "10.9.0.1"]
        assert ("Normal", "Synced", "Node synced successfully", "cloud-node-controller") in await lab.events(
            "n1"
        )

    simulate(scenario)


def test_a_node_waits_for_its_instance(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.node("n1")
        await lab.wait(5)
        assert "node.cloudprovider.kubernetes.io/uninitialized" in await lab.taints("n1")
        lab.machines.known["n1"] = _M5
        await lab.wait(60)
        assert "node.cloudprovider.kubernetes.io/uninitialized" not in await lab.taints("n1")

    simulate(scenario)


def test_a_node_keeps_its_taint_while_the_cloud_knows_not_the_address_it_uses(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        lab.machines.known["n1"] = lab.machines.known["n2"] = _M5
        await lab.node("n1", annotations={"alpha.kubernetes.io/provided-node-ip": "10.7.7.7"})
        await lab.node("n2", annotations={"alpha.kubernetes.io/provided-node-ip": "10.9.0.1"})
        await lab.wait(5)
        assert "node.cloudprovider.kubernetes.io/uninitialized" in await lab.taints("n1")
        addresses = (await lab.get(NODES, "n2"))["status"]["addresses"]
        assert [a["address"] for a in addresses] == ["10.9.0.1", "192.0.2.1"]

    simulate(scenario)


def test_addresses_follow_the_cloud_and_the_host_name_stays(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        lab.machines.known["n1"] = Instance("paper:///i-1", addresses=(("InternalIP", "10.0.0.1"),))
        await lab.node("n1")
        host = {"status": {"addresses": [{"type": "Hostname", "address": "n1.local"}]}}
        await lab.client.patch(NODES, "n1", host, patch_type="strategic", subresource="status")
        await lab.wait(2)
        lab.machines.known["n1"] = Instance("paper:///i-1", addresses=(("InternalIP", "10.0.0.2"),))
        await lab.wait(310)
        addresses = {a["type"]: a["address"] for a in (await lab.get(NODES, "n1"))["status"]["addresses"]}
        assert addresses == {"InternalIP": "10.0.0.2", "Hostname": "n1.local"}

    simulate(scenario)


def test_the_old_names_of_labels_lead_the_new_ones(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        lab.machines.known["n1"] = _M5
        await lab.node("n1")
        await lab.wait(2)
        labels = {"failure-domain.beta.kubernetes.io/zone": "b"}
        await lab.client.patch(NODES, "n1", {"metadata": {"labels": labels}})
        await lab.wait(2)
        assert (await lab.get(NODES, "n1"))["metadata"]["labels"]["topology.kubernetes.io/zone"] == "b"

    simulate(scenario)


def test_a_node_whose_instance_is_gone_is_deleted_within_a_monitor_period(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        lab.machines.known["n1"] = _M5
        await lab.node("n1")
        await lab.wait(2)
        del lab.machines.known["n1"]
        await lab.wait(20)
        assert await lab.exists(NODES, "n1"), "a node that is ready is not asked about"
        await lab.set_ready("n1", "False")
        await lab.wait(5)
        assert not await lab.exists(NODES, "n1")
        message = "Deleting node n1 because it does not exist in the cloud provider"
        assert ("Normal", "DeletingNode", message, "cloud-node-lifecycle-controller") in await lab.events(
            "n1"
        )

    simulate(scenario)


def test_nothing_is_deleted_in_doubt_or_by_label(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.node(
            "n1", ready="Unknown", labels={"node.kubernetes.io/exclude-from-lifecycle-management": ""}
        )
        lab.machines.failing = "503"
        await lab.node("n2", ready="Unknown")
        await lab.wait(60)
        assert await lab.exists(NODES, "n1") and await lab.exists(NODES, "n2")
        lab.machines.failing = ""
        await lab.wait(6)
        assert await lab.exists(NODES, "n1") and not await lab.exists(NODES, "n2")

    simulate(scenario)


def test_a_new_node_is_not_deleted_because_the_cloud_does_not_show_its_instance_yet(
    simulate: Simulate,
) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.node("n1", ready="False")
        await lab.wait(50)
        assert await lab.exists(NODES, "n1")
        await lab.wait(20)
        assert not await lab.exists(NODES, "n1")

    simulate(scenario)


def test_a_stopped_instance_taints_its_node_until_it_is_ready_again(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        lab.machines.known["n1"] = _M5
        await lab.node("n1")
        await lab.wait(2)
        lab.machines.stopped.add("n1")
        await lab.set_ready("n1", "Unknown")
        await lab.wait(6)
        assert "node.cloudprovider.kubernetes.io/shutdown" in await lab.taints("n1")
        lab.machines.stopped.clear()
        await lab.set_ready("n1", "True")
        await lab.wait(1)
        assert "node.cloudprovider.kubernetes.io/shutdown" not in await lab.taints("n1")

    simulate(scenario)
