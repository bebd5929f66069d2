"""Networks of nodes (upstream: pkg/controller/nodeipam/ipam, and the flags' rules in cmd/kube-controller-manager)."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from typing import Any

import pytest

from pilothouse.api.resources import EVENTS, NODES
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.controllers.cidr_set import CidrSet, NoneLeft
from pilothouse.controllers.manager import Settings
from pilothouse.controllers.node_ipam import pod_networks
from pilothouse.kit.metrics import new_registry


def small(text: str = "10.0.0.0/30", mask: int = 32) -> CidrSet:
    return CidrSet(ipaddress.ip_network(text), mask)


def test_networks_are_given_in_turn_and_reused_last() -> None:
    one = small()
    given = [str(one.allocate()[0]) for _ in range(2)]
    assert given == ["10.0.0.0/32", "10.0.0.1/32"]
    one.release(ipaddress.ip_network("10.0.0.0/32"))
    assert [str(one.allocate()[0]) for _ in range(3)] == ["10.0.0.2/32", "10.0.0.3/32", "10.0.0.0/32"]
    with pytest.raises(NoneLeft, match="no remaining CIDRs left to allocate"):
        one.allocate()


def test_a_wider_network_takes_all_that_it_touches() -> None:
    one = small("10.0.0.0/24", 28)
    one.occupy(ipaddress.ip_network("10.0.0.0/26"))
    assert len(one) == 4
    assert str(one.allocate()[0]) == "10.0.0.64/28"
    one.occupy(ipaddress.ip_network("10.0.0.130/32"))
    assert len(one) == 6
    with pytest.raises(ValueError, match=r"10\.1\.0\.0/28 is out the range of cluster cidr 10\.0\.0\.0/24"):
        one.occupy(ipaddress.ip_network("10.1.0.0/28"))


def test_never_two_the_same() -> None:
    """Any order of taking, occupying and giving back, against a list of what is out."""
    dice = random.Random(3)
    one = small("10.0.0.0/27", 32)
    held: set[str] = set()
    for _ in range(2000):
        if held and dice.random() < 0.5:
            back = dice.choice(sorted(held))
            held.remove(back)
            one.release(ipaddress.ip_network(back))
        elif len(held) < one.size:
            got = str(one.allocate()[0])
            assert got not in held
            held.add(got)
        assert len(one) == len(held)


@pytest.mark.parametrize(
    ("clusters", "mask", "masks", "what"),
    [
        ("10.0.0.0/8,fd00::/48", 24, {}, "is not allowed with dual-stack clusters"),
        ("10.0.0.0/8", 24, {4: 24}, "is not allowed if --node-cidr-mask-size is set"),
        ("10.0.0.0/8", 0, {6: 64}, "-ipv6 is not allowed for a single-stack IPv4 cluster"),
        ("fd00::/48", 0, {4: 24}, "-ipv4 is not allowed for a single-stack IPv6 cluster"),
        ("10.0.0.0/25", 0, {}, "it must be at least /25"),
        ("fd00::/40", 64, {}, "the node CIDR size is too big"),
    ],
)
def test_flags_that_do_not_go_together(clusters: str, mask: int, masks: dict[int, int], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        pod_networks(clusters, "", mask, masks)


def test_sizes_of_nodes_parts() -> None:
    assert pod_networks("10.0.0.0/8,fd00::/48").masks == (24, 64)
    assert pod_networks("fd00::/48,10.0.0.0/8", "", 0, {4: 26}).masks == (64, 26)


def bare(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}


def test_nodes_get_networks_of_both_families_and_give_them_back(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        taken = {n["spec"]["podCIDR"] for n in await lab.list(NODES)}
        assert taken == {"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"}
        settings = Settings(
            root_ca="",
            make_token=None,
            pod_networks=pod_networks("10.244.0.0/21,fd00::/62", "10.244.3.0/24"),
        )
        metrics = new_registry()
        account = lab.cluster._account_client
        manager = ControllerManager(
            lab.client, account, lab.world, metrics, settings, ["node-ipam-controller"]
        )
        task = asyncio.create_task(manager.run())
        for name in "abcde":
            await lab.create(NODES, bare(name))
        await lab.wait(2)
        found = {n: (await lab.get(NODES, n))["spec"].get("podCIDRs") for n in "abcde"}
        given = [cidrs for cidrs in found.values() if cidrs]
        assert sorted(given) == [
            ["10.244.4.0/24", "fd00::/64"],
            ["10.244.5.0/24", "fd00:0:0:1::/64"],
            ["10.244.6.0/24", "fd00:0:0:2::/64"],
            ["10.244.7.0/24", "fd00:0:0:3::/64"],
        ]
        [without] = [name for name, cidrs in found.items() if not cidrs]
        assert (
            "Normal",
            "CIDRNotAvailable",
            f"Node {without} status is now: CIDRNotAvailable",
            "cidrAllocator",
        ) in [
            (e["type"], e["reason"], e["message"], e["reportingComponent"])
            for e in (await lab.client.list(EVENTS, "default"))["items"]
        ]
        usage = metrics.get_sample_value(
            "node_ipam_controller_cidrset_usage_cidrs", {"clusterCIDR": "10.244.0.0/21"}
        )
        assert usage == 1.0
        gone = next(name for name, cidrs in found.items() if cidrs)
        await lab.delete(NODES, gone)
        await lab.wait(60)
        assert (await lab.get(NODES, without))["spec"]["podCIDRs"] == found[gone], "what came back goes on"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    simulate(scenario)
