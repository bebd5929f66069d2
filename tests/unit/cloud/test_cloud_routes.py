"""Routes to nodes' pod networks follow the nodes (k8s.io/cloud-provider/controllers/route)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.cloud.manager import Settings
from pilothouse.cloud.provider import CloudError, Route
from pilothouse.cloud.routing import plan
from tests.unit.cloud.conftest import Cloud, Lab, Simulate


@dataclass
class Table:
    routes: dict[str, Route] = field(default_factory=dict)
    full: bool = False

    async def list(self) -> Sequence[Route]:
        return list(self.routes.values())

    async def create(self, hint: str, route: Route, node: Obj) -> None:
        if self.full:
            raise CloudError("the table is full")
        assert route.destination not in self.routes
        self.routes[route.destination] = Route(hint, route.target_node, route.destination)

    async def delete(self, route: Route) -> None:
        del self.routes[route.destination]


def _node(name: str, *networks: str) -> Obj:
    return {"metadata": {"name": name}, "spec": {"podCIDRs": list(networks), "podCIDR": networks[0]}}


def _condition(node: Obj) -> tuple[str, str]:
    found = next(c for c in node["status"]["conditions"] if c["type"] == "NetworkUnavailable")
    return found["status"], found["reason"]


def test_routes_come_and_go_with_nodes(simulate: Simulate) -> None:
    table = Table(
        {"10.1.9.0/24": Route("old", "gone", "10.1.9.0/24"), "10.9.0.0/16": Route("x", "", "10.9.0.0/16")}
    )

    async def scenario(lab: Lab) -> None:
        await lab.create(NODES, _node("n1", "10.1.0.0/24", "fd00:1::/64"))
        await lab.wait(1)
        assert set(table.routes) == {"10.1.0.0/24", "fd00:1::/64", "10.9.0.0/16"}, "others' routes stay"
        assert _condition(await lab.get(NODES, "n1")) == ("False", "RouteCreated")
        await lab.client.delete(NODES, "n1")
        await lab.wait(1)
        assert set(table.routes) == {"10.9.0.0/16"}
        table.routes["10.1.3.0/24"] = Route("y", "n3", "10.1.3.0/24", blackhole=True)
        await lab.wait(11)
        assert set(table.routes) == {"10.9.0.0/16"}

    simulate(
        scenario, Cloud(instances=None, routes=table), Settings(cluster_cidrs=("10.1.0.0/16", "fd00:1::/48"))
    )


def test_a_node_without_its_route_says_so_until_it_has_one(simulate: Simulate) -> None:
    table = Table(full=True)

    async def scenario(lab: Lab) -> None:
        await lab.create(NODES, _node("n1", "10.1.0.0/24"))
        await lab.wait(2)
        assert _condition(await lab.get(NODES, "n1")) == ("True", "NoRouteCreated")
        (warning,) = [event for event in await lab.events("n1") if event[1] == "FailedToCreateRoute"]
        assert "10.1.0.0/24 for node n1 after 0ms: the table is full" in warning[2]
        table.full = False
        await lab.wait(10)
        assert _condition(await lab.get(NODES, "n1")) == ("False", "RouteCreated")

    simulate(scenario, Cloud(instances=None, routes=table), Settings(cluster_cidrs=("10.1.0.0/16",)))


def test_a_network_that_moved_is_led_to_its_new_node_alone() -> None:
    present = [Route("r", "n1", "10.1.0.0/24")]
    found = plan([_node("n2", "10.1.0.0/24")], present, [ip_network("10.1.0.0/16")])
    assert found.delete == tuple(present)
    assert found.create == (("n2", "10.1.0.0/24"),)
    assert plan([_node("n1", "10.1.0.0/24")], present, [ip_network("10.1.0.0/16")]) == plan([], [], [])
    assert plan([], present, [ip_network("10.2.0.0/16")]).delete == (), "outside of ours"
