"""Endpoints by zone, by the hundred and in both families
(https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from pilothouse.api.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from pilothouse.apiserver.server import Options
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.controllers.manager import Settings
from pilothouse.controllers.topology_hints import NoHints, assign, ratios
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.unit.controllers.conftest import Lab
from tests.unit.controllers.test_controllers_endpoints import ZONE, pod, service, slices

EVEN = {"a": 0.5, "b": 0.5}
AUTO = {"service.kubernetes.io/topology-mode": "Auto"}


def fresh(zones: str) -> list[tuple[str, str]]:
    return [(zone, "") for zone in zones]


def test_zones_lend_what_they_have_too_many_of() -> None:
    assert assign(fresh("aabb"), EVEN) == ["a", "a", "b", "b"]
    assert Counter(assign(fresh("aaab"), EVEN)) == {"a": 2, "b": 2}
    assert Counter(assign(fresh("aaaaaa"), {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})) == {"a": 2, "b": 2, "c": 2}


def test_hints_that_are_within_bounds_stay() -> None:
    assert assign([("a", "b"), ("a", "a"), ("b", "b"), ("b", "a")], EVEN) == ["b", "a", "b", "a"]
    assert Counter(assign([("a", "gone"), ("a", "a"), ("b", "b"), ("b", "b")], EVEN)) == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("zones", "parts", "why"),
    [
        (
            "ab",
            {},
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
        ),
        ("a", EVEN, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (" b", EVEN, "One or more endpoints do not have a zone specified"),
        (
            "abc",
            {"a": 0.4, "b": 0.4, "c": 0.2},
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold "
            "(3 endpoints, 3 zones)",
        ),
    ],
)
def test_why_there_are_no_hints(zones: str, parts: dict[str, float], why: str) -> None:
    if parts and len(zones) == 3:
        parts = {"a": 0.6, "b": 0.3, "c": 0.1}
    with pytest.raises(NoHints) as caught:
        assign([(zone.strip(), "") for zone in zones], parts)
    assert str(caught.value) == why


def test_no_zone_is_overloaded_by_more_than_a_fifth() -> None:
    """Any sizes and places; and what was assigned is stable."""
    dice = random.Random(5)
    done = 0
    for _ in range(300):
        sizes = {zone: dice.randint(1, 9) for zone in "abc"[: dice.randint(2, 3)]}
        parts = {zone: size / sum(sizes.values()) for zone, size in sizes.items()}
        places = [dice.choice(sorted(sizes)) for _ in range(dice.randint(2, 40))]
        try:
            found = assign(fresh("".join(places)), parts)
        except NoHints:
            continue
        done += 1
        have = Counter(found)
        for zone, part in parts.items():
            assert part * len(found) <= have[zone] * 1.2 + 1e-9
        assert assign(list(zip(places, found, strict=True)), parts) == found
    assert done > 100


def node(zone: str | None, cpu: str = "4", ready: str = "True", **labels: str) -> dict[str, Any]:
    found = {ZONE: zone, **labels} if zone else labels
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"labels": found}, "status": status}


def test_what_nodes_say_about_zones() -> None:
    assert ratios([node("a", "6"), node("b", "1500m"), node("b", "500m")]) == {"a": 0.75, "b": 0.25}
    assert ratios([node("a"), node("b"), node(None)]) == {}
    assert ratios([node("a"), node("b"), node(None, ready="False")]) == {"a": 0.5, "b": 0.5}
    control_plane = node(None, **{"node-role.kubernetes.io/control-plane": ""})
    assert ratios([node("a"), node("b"), control_plane]) == {"a": 0.5, "b": 0.5}
    assert ratios([node("a"), node("a")]) == {}


def test_a_service_that_asks_for_it_gets_hints_and_an_event(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        made = service()
        made["metadata"]["annotations"] = AUTO
        await lab.create(SERVICES, made)
        for number in range(6):
            await lab.create(PODS, pod(f"p{number}", "node-0" if number < 4 else "node-1"))
        await lab.wait(5)
        assert all("hints" not in e for s in await slices(lab) for e in s["endpoints"])
        for number in range(3):
            await lab.label_node(f"node-{number}", **{ZONE: f"z{number}"})
        await lab.patch(PODS, "p0", {"metadata": {"labels": {"look": "again"}}})
        await lab.wait(5)
        served: Counter[str] = Counter()
        for found in await slices(lab):
            for endpoint in found["endpoints"]:
                served[endpoint["hints"]["forZones"][0]["name"]] += 1
        assert served == {"z0": 2, "z1": 2, "z2": 2}
        told = {(reason, message) for _, reason, message, _ in await lab.events("s")}
        enabled = "Topology Aware Hints has been enabled, addressType: IPv4"
        assert ("TopologyAwareHintsEnabled", enabled) in told
        await lab.patch(SERVICES, "s", {"metadata": {"annotations": None}})
        await lab.wait(3)
        assert all("hints" not in e for s in await slices(lab) for e in s["endpoints"])
        told = {(reason, message) for _, reason, message, _ in await lab.events("s")}
        disabled = "Topology Aware Hints has been disabled, addressType: IPv4"
        assert ("TopologyAwareHintsDisabled", disabled) in told

    simulate(scenario)


def test_over_a_hundred_endpoints(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(SERVICES, service())
        for number in range(230):
            await lab.create(PODS, pod(f"p{number}", f"node-{number % 3}"))
        await lab.wait(60)
        sizes = sorted(len(s["endpoints"]) for s in await slices(lab))
        assert sum(sizes) == 230
        assert max(sizes) <= 100
        assert len(sizes) == 3
        for number in range(0, 230, 2):
            await lab.delete(PODS, f"p{number}", gracePeriodSeconds=0)
        await lab.wait(60)
        left = [e["targetRef"]["name"] for s in await slices(lab) for e in s["endpoints"]]
        assert sorted(left) == sorted(f"p{number}" for number in range(1, 230, 2))

    simulate(scenario)


def test_slices_may_be_smaller() -> None:
    """--max-endpoints-per-slice, with the controller alone."""

    async def main() -> None:
        world = simulated_world(3)
        options = ClusterOptions(secure_port=None, controllers=("*", "-endpointslice-controller"))
        async with Cluster(options, world) as cluster:
            lab = Lab(cluster, world)
            await lab.wait(5)
            manager = ControllerManager(
                lab.client,
                cluster._account_client,
                world,
                new_registry(),
                Settings("", None, slice_max=3),
                ["endpointslice"],
            )
            task = asyncio.create_task(manager.run())
            await lab.create(SERVICES, service())
            for number in range(7):
                await lab.create(PODS, pod(f"p{number}"))
            await lab.wait(10)
            sizes = sorted(len(s["endpoints"]) for s in await slices(lab))
            assert sum(sizes) == 7
            assert max(sizes) <= 3
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run_virtual(main())


def test_a_service_of_both_families_has_slices_of_both(refused: list[str]) -> None:
    """KEP-563. The pod's addresses are written by hand: its node has no kubelet."""

    async def main() -> None:
        world = simulated_world(3)
        server = Options(service_range="10.0.0.0/16,fd00:10::/112")
        async with Cluster(ClusterOptions(secure_port=None, nodes=0, server=server), world) as cluster:
            client = cluster.client()
            await asyncio.sleep(2)
            typed = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}}
            await client.create(NODES, typed)
            made = {**pod("p", tolerations=[{"operator": "Exists"}]), "apiVersion": "v1", "kind": "Pod"}
            await client.create(PODS, made, "default")
            ready = {"type": "Ready", "status": "True"}
            addresses = [{"ip": "10.9.0.1"}, {"ip": "fd00:9::1"}]
            status = {"phase": "Running", "podIP": "10.9.0.1", "podIPs": addresses, "conditions": [ready]}
            await client.patch(PODS, "p", {"status": status}, "default", subresource="status")
            both = {**service(ipFamilyPolicy="PreferDualStack"), "apiVersion": "v1", "kind": "Service"}
            created = await client.create(SERVICES, both, "default")
            assert created["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
            await asyncio.sleep(3)
            listed = await client.list(ENDPOINT_SLICES, "default")
            found = {
                s["addressType"]: [e["addresses"] for e in s["endpoints"]]
                for s in listed["items"]
                if s["metadata"]["labels"].get("kubernetes.io/service-name") == "s"
            }
            assert found == {"IPv4": [["10.9.0.1"]], "IPv6": [["fd00:9::1"]]}
        assert refused == []

    run_virtual(main())
