"""A load balancer for each service of that type (https://kubernetes.io/docs/concepts/services-networking/service/)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.api.resources import NODES, SERVICES
from pilothouse.api.types import Obj
from pilothouse.cloud.manager import Settings
from pilothouse.cloud.provider import CloudError, Ingress, Instance, Later
from pilothouse.components.cloud_controller_manager import CloudControllerManager
from pilothouse.kit.metrics import new_registry
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.unit.cloud.conftest import Cloud, Lab, Simulate

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"


@dataclass
class Balancers:
    """Load balancers by the service's name: the nodes behind each."""

    made: dict[str, list[str]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    failing: CloudError | None = None

    def name(self, service: Obj) -> str:
        return str(service["metadata"]["name"])

    async def get(self, service: Obj) -> tuple[Ingress, ...] | None:
        return (Ingress("192.0.2.7"),) if self.name(service) in self.made else None

    async def ensure(self, service: Obj, nodes: Sequence[Obj]) -> tuple[Ingress, ...]:
        self.calls.append("ensure")
        if self.failing is not None:
            raise self.failing
        self.made[self.name(service)] = [node["metadata"]["name"] for node in nodes]
        return (Ingress("192.0.2.7"), Ingress(hostname="web.example.org"))

    async def update(self, service: Obj, nodes: Sequence[Obj]) -> None:
        self.calls.append("update")
        self.made[self.name(service)] = [node["metadata"]["name"] for node in nodes]

    async def delete(self, service: Obj) -> None:
        self.calls.append("delete")
        if self.failing is not None:
            raise self.failing
        self.made.pop(self.name(service), None)


def _service(name: str = "web", **spec: Any) -> Obj:
    ports = [{"port": 80, "targetPort": 8080}]
    return {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": ports, **spec}}


async def _with_node(lab: Lab, name: str) -> None:
    lab.machines.known[name] = Instance(f"paper:///{name}")
    await lab.node(name)
    await lab.wait(1)


def test_a_service_gets_a_load_balancer_and_takes_it_along_when_it_goes(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await _with_node(lab, "n1")
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        service = await lab.get(SERVICES, "web")
        assert service["metadata"]["finalizers"] == [FINALIZER]
        reached = service["status"]["loadBalancer"]["ingress"]
        assert reached == [{"ip": "192.0.2.7", "ipMode": "VIP"}, {"hostname": "web.example.org"}]
        assert balancers.made == {"web": ["n1"]}
        await lab.client.delete(SERVICES, "web", "default")
        await lab.wait(1)
        assert not await lab.exists(SERVICES, "web")
        assert balancers.made == {}
        assert balancers.calls == ["ensure", "delete"]
        told = [(reason, message) for _, reason, message, _ in await lab.events("web")]
        assert told == [
            ("DeletedLoadBalancer", "Deleted load balancer"),
            ("DeletingLoadBalancer", "Deleting load balancer"),
            ("EnsuredLoadBalancer", "Ensured load balancer"),
            ("EnsuringLoadBalancer", "Ensuring load balancer"),
        ]

    simulate(scenario, Cloud(load_balancers=balancers))


def test_what_is_no_more_of_the_type_loses_it(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        await lab.client.patch(SERVICES, "web", {"spec": {"type": "ClusterIP"}}, "default")
        await lab.wait(1)
        service = await lab.get(SERVICES, "web")
        assert balancers.made == {}
        assert not service["metadata"].get("finalizers")
        assert service["status"] == {"loadBalancer": {}}

    simulate(scenario, Cloud(load_balancers=balancers))


def test_one_of_a_class_is_somebody_elses(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service(loadBalancerClass="example.com/mine"))
        await lab.wait(1)
        assert balancers.calls == []

    simulate(scenario, Cloud(load_balancers=balancers))


def test_nodes_are_followed_and_readiness_is_not(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await _with_node(lab, "n1")
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        await _with_node(lab, "n2")
        await lab.wait(1)
        assert balancers.made == {"web": ["n1", "n2"]}
        calls = list(balancers.calls)
        await lab.set_ready("n2", "False")
        await lab.wait(1)
        assert balancers.calls == calls
        label = {"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}}
        await lab.client.patch(NODES, "n1", label)
        await lab.wait(1)
        assert balancers.made == {"web": ["n2"]}
        await lab.client.delete(NODES, "n2")
        await lab.wait(1)
        assert balancers.made == {"web": []}
        warning = ("Warning", "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer")
        assert warning in [event[:3] for event in await lab.events("web")]

    simulate(scenario, Cloud(load_balancers=balancers))


def test_ports_and_sources_are_followed_and_labels_are_not(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        await lab.client.patch(SERVICES, "web", {"metadata": {"labels": {"a": "b"}}}, "default")
        await lab.wait(1)
        assert balancers.calls == ["ensure"]
        await lab.client.patch(
            SERVICES, "web", {"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "default"
        )
        await lab.wait(1)
        assert balancers.calls == ["ensure", "ensure"]

    simulate(scenario, Cloud(load_balancers=balancers))


def test_a_failure_is_told_and_tried_again_after_five_seconds_then_ten(simulate: Simulate) -> None:
    balancers = Balancers(failing=CloudError("quota of load balancers used up"))

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service())
        await lab.wait(4)
        assert balancers.calls == ["ensure"]
        message = (
            "Error syncing load balancer: failed to ensure load balancer: quota of load balancers used up"
        )
        events = [event[:3] for event in await lab.events("web")]
        assert ("Warning", "SyncLoadBalancerFailed", message) in events
        await lab.wait(2)
        assert balancers.calls == ["ensure"] * 2
        await lab.wait(8)
        assert balancers.calls == ["ensure"] * 2
        balancers.failing = None
        await lab.wait(3)
        assert balancers.made == {"web": []}

    simulate(scenario, Cloud(load_balancers=balancers))


def test_a_service_that_is_going_waits_for_its_load_balancer(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        balancers.failing = CloudError("busy")
        await lab.client.delete(SERVICES, "web", "default")
        await lab.wait(3)
        assert await lab.exists(SERVICES, "web")
        balancers.failing = None
        await lab.wait(6)
        assert not await lab.exists(SERVICES, "web")

    simulate(scenario, Cloud(load_balancers=balancers))


def test_a_cloud_that_takes_its_time_is_asked_again_when_it_says(simulate: Simulate) -> None:
    balancers = Balancers(failing=Later("provisioning", 30.0))

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service())
        await lab.wait(29)
        assert balancers.calls == ["ensure"]
        balancers.failing = None
        await lab.wait(2)
        assert balancers.calls == ["ensure"] * 2
        assert not [
            event for event in await lab.events("web") if event[0] == "Warning" and "Failed" in event[1]
        ]

    simulate(scenario, Cloud(load_balancers=balancers))


def test_a_load_balancer_goes_with_a_service_whose_finalizer_was_taken_away(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        await lab.client.patch(SERVICES, "web", {"metadata": {"finalizers": None}}, "default")
        await lab.client.delete(SERVICES, "web", "default")
        await lab.wait(1)
        assert balancers.made == {}

    simulate(scenario, Cloud(load_balancers=balancers))


def test_what_is_counted_has_upstreams_names(simulate: Simulate) -> None:
    balancers = Balancers()

    async def scenario(lab: Lab) -> None:
        await _with_node(lab, "n1")
        await lab.create(SERVICES, _service())
        await lab.wait(1)
        await _with_node(lab, "n2")
        await lab.wait(1)
        assert lab.metric("service_controller_loadbalancer_sync_total") == 2
        assert lab.metric("service_controller_nodesync_latency_seconds_count") == 1
        assert lab.metric("service_controller_update_loadbalancer_host_latency_seconds_count") == 1
        assert lab.metric("service_controller_nodesync_error_total") == 0
        assert lab.metric("node_controller_initial_node_sync_delay_seconds_count") == 2

    simulate(scenario, Cloud(load_balancers=balancers))


def test_each_loop_has_a_health_check_and_says_that_it_runs(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        assert lab.checks["service-lb-controller"]() == "it does not run"
        await lab.wait(1)
        assert set(lab.checks) == {
            "cloud-node-controller",
            "cloud-node-lifecycle-controller",
            "service-lb-controller",
        }
        assert all(check() == "" for check in lab.checks.values())
        labels = {"name": "service-lb-controller", "manager": "cloud-controller-manager"}
        assert lab.metric("running_managed_controllers", **labels) == 1

    simulate(scenario, Cloud(load_balancers=Balancers()))


def test_a_component_that_leads_again_counts_on(tmp_path: Path) -> None:
    """One process, one registry, and a new component for each turn at leading."""
    world, metrics = simulated_world(1), new_registry()
    client: Any = None

    async def run() -> None:
        for _ in range(2):
            CloudControllerManager(
                client,
                lambda account: client,
                world,
                metrics,
                Settings(),
                open_provider=lambda setting: Cloud(load_balancers=Balancers()),
                config=None,
                directory=tmp_path,
            )

    run_virtual(run())
