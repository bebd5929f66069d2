"""Endpoints and EndpointSlices (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/,
https://kubernetes.io/docs/concepts/services-networking/service/, k8s.io/kubernetes/pkg/controller/endpoint,
k8s.io/endpointslice)."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from pilothouse.api.resources import ENDPOINT_SLICES, ENDPOINTS, NODES, PODS, SERVICES
from pilothouse.api.types import Obj
from pilothouse.client.events import EventRecorder
from pilothouse.client.informer import Informers
from pilothouse.client.reconciler import Environment
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.controllers import endpoint as rules
from pilothouse.controllers.manager import Settings
from pilothouse.controllers.trigger_times import TRIGGER_TIME, TriggerTimes, annotated
from pilothouse.kit.metrics import new_registry

ZONE = "topology.kubernetes.io/zone"
SERVICE = "kubernetes.io/service-name"
MANAGED = "endpointslice.kubernetes.io/managed-by"


def pod(name: str, node: str = "node-0", annotations: Obj | None = None, **spec: Any) -> Obj:
    container = {
        "name": "c",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"name": "web", "containerPort": 8080}],
    }
    meta = {"name": name, "labels": {"app": "s"}, "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"containers": [container], "nodeName": node, **spec}}


def service(labels: Obj | None = None, **spec: Any) -> Obj:
    ports = [{"name": "http", "port": 80, "targetPort": "web"}]
    meta = {"name": "s", "labels": labels or {}}
    return {"metadata": meta, "spec": {"selector": {"app": "s"}, "ports": ports, **spec}}


async def slices(lab: Any) -> list[Obj]:
    found: list[Obj] = await lab.list(ENDPOINT_SLICES, f"{SERVICE}=s")
    return found


async def endpoints(lab: Any) -> dict[str, Obj]:
    return {e["targetRef"]["name"]: e for s in await slices(lab) for e in s.get("endpoints") or ()}


async def addresses(lab: Any, field: str = "addresses") -> list[str]:
    subsets = (await lab.get(ENDPOINTS, "s")).get("subsets") or []
    return sorted(a["targetRef"]["name"] for s in subsets for a in s.get(field) or ())


def test_what_a_slice_says(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.label_node("node-0", **{ZONE: "z"})
        made = await lab.create(PODS, pod("p", hostname="h", subdomain="s"))
        owner = await lab.create(SERVICES, service({"team": "a", MANAGED: "somebody"}, clusterIP="None"))
        await lab.wait(5)
        [found] = await slices(lab)
        meta = found["metadata"]
        assert meta["generateName"] == "s-"
        assert meta["labels"] == {
            "team": "a",
            SERVICE: "s",
            MANAGED: "endpointslice-controller.k8s.io",
            "service.kubernetes.io/headless": "",
        }
        assert [(r["kind"], r["uid"]) for r in meta["ownerReferences"]] == [
            ("Service", owner["metadata"]["uid"])
        ]
        assert (found["addressType"], found["ports"]) == (
            "IPv4",
            [{"name": "http", "protocol": "TCP", "port": 8080}],
        )
        ip = (await lab.get(PODS, "p"))["status"]["podIP"]
        assert found["endpoints"] == [
            {
                "addresses": [ip],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "hostname": "h",
                "targetRef": {
                    "kind": "Pod",
                    "namespace": "default",
                    "name": "p",
                    "uid": made["metadata"]["uid"],
                },
                "nodeName": "node-0",
                "zone": "z",
            }
        ]
        await lab.patch(SERVICES, "s", {"metadata": {"labels": {"team": "b"}}})
        await lab.wait(2)
        [found] = await slices(lab)
        assert found["metadata"]["labels"]["team"] == "b"
        assert (await lab.get(ENDPOINTS, "s"))["metadata"]["labels"]["team"] == "b"

    simulate(scenario)


def test_going_pods_serve_and_are_not_ready(simulate: Any) -> None:
    """KEP-1672; Endpoints show them only when not ready ones are published too."""

    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("p", annotations={"pilothouse.dev/stop-seconds": "20"}))
        await lab.create(SERVICES, service())
        await lab.wait(5)
        await lab.delete(PODS, "p")
        await lab.wait(2)
        found = await endpoints(lab)
        assert found["p"]["conditions"] == {"ready": False, "serving": True, "terminating": True}
        assert await addresses(lab) == []
        await lab.patch(SERVICES, "s", {"spec": {"publishNotReadyAddresses": True}})
        await lab.wait(2)
        assert (await endpoints(lab))["p"]["conditions"]["ready"] is True
        assert await addresses(lab) == ["p"]
        await lab.wait(30)
        assert await endpoints(lab) == {}
        assert await addresses(lab) == []

    simulate(scenario)


def test_not_ready_pods(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("p", annotations={"pilothouse.dev/ready-after-seconds": "never"}))
        await lab.create(SERVICES, service())
        await lab.wait(5)
        found = await endpoints(lab)
        assert found["p"]["conditions"] == {"ready": False, "serving": False, "terminating": False}
        assert (await addresses(lab), await addresses(lab, "notReadyAddresses")) == ([], ["p"])

    simulate(scenario)


def test_a_port_that_a_pod_does_not_have(simulate: Any) -> None:
    """It is left out; a pod that has none of them is in no subset of Endpoints."""

    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("p"))
        await lab.create(SERVICES, service(ports=[{"name": "x", "port": 1, "targetPort": "absent"}]))
        await lab.wait(5)
        assert (await lab.get(ENDPOINTS, "s")).get("subsets") is None
        [found] = await slices(lab)
        assert not found.get("ports")

    simulate(scenario)


def test_a_family_that_the_service_has_not(simulate: Any) -> None:
    """Its slices go: a service may give one of two families up."""

    async def scenario(lab: Any) -> None:
        await lab.create(SERVICES, service())
        stray = {
            "metadata": {
                "name": "stray",
                "labels": {SERVICE: "s", MANAGED: "endpointslice-controller.k8s.io"},
            },
            "addressType": "IPv6",
            "endpoints": [],
        }
        await lab.create(ENDPOINT_SLICES, stray)
        await lab.wait(5)
        assert [s["addressType"] for s in await slices(lab)] == ["IPv4"]

    simulate(scenario)


def test_slices_of_others_stay_and_those_of_a_former_service_go(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("p"))
        await lab.create(SERVICES, service())
        for name, manager in (("mine", "me"), ("former", "endpointslice-controller.k8s.io")):
            labels = {SERVICE: "s", MANAGED: manager}
            body = {"metadata": {"name": name, "labels": labels}, "addressType": "IPv4", "endpoints": []}
            await lab.create(ENDPOINT_SLICES, body)
        await lab.wait(5)
        names = [s["metadata"]["name"] for s in await slices(lab)]
        assert "mine" in names
        assert "former" not in names
        assert len(names) == 2

    simulate(scenario)


def test_hints_of_services_that_prefer_what_is_close(simulate: Any) -> None:
    """KEP-4444, KEP-3015."""

    async def scenario(lab: Any) -> None:
        await lab.label_node("node-0", **{ZONE: "z"})
        await lab.create(PODS, pod("p"))
        await lab.create(PODS, pod("late", annotations={"pilothouse.dev/ready-after-seconds": "never"}))
        await lab.create(SERVICES, service(trafficDistribution="PreferClose"))
        await lab.wait(5)
        found = await endpoints(lab)
        assert found["p"]["hints"] == {"forZones": [{"name": "z"}]}
        assert "hints" not in found["late"]
        for wish, hints in (
            ("PreferSameNode", {"forZones": [{"name": "z"}], "forNodes": [{"name": "node-0"}]}),
            (None, None),
        ):
            await lab.patch(SERVICES, "s", {"spec": {"trafficDistribution": wish}})
            await lab.wait(2)
            assert (await endpoints(lab))["p"].get("hints") == hints

    simulate(scenario)


def test_a_pod_of_an_unknown_node_is_left_out_until_it_is_known(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("lost", "absent", tolerations=[{"operator": "Exists"}]))
        status = {"podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}], "phase": "Running"}
        await lab.patch(PODS, "lost", {"status": status}, subresource="status")
        await lab.create(SERVICES, service())
        await lab.wait(1)
        assert await endpoints(lab) == {}
        told = [e for e in await lab.events("s") if e[1] == "FailedToUpdateEndpointSlices"]
        assert (
            "Error updating Endpoint Slices for Service default/s: skipping Pod lost for Service default/s: "
            "Node absent Not Found"
        ) in [e[2] for e in told]
        await lab.create(NODES, {"metadata": {"name": "absent"}})
        await lab.wait(20)
        assert list(await endpoints(lab)) == ["lost"]

    simulate(scenario)


def test_deleted_endpoints_are_made_again_and_go_with_their_service(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PODS, pod("p"))
        await lab.create(SERVICES, service())
        await lab.wait(5)
        await lab.delete(ENDPOINTS, "s")
        await lab.wait(2)
        assert await addresses(lab) == ["p"]
        await lab.delete(SERVICES, "s")
        await lab.wait(5)
        assert not await lab.exists(ENDPOINTS, "s")
        assert await slices(lab) == []

    simulate(scenario)


def test_endpoints_without_a_selector_are_their_authors_but_go_with_the_service(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(SERVICES, service(selector=None))
        own = {"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "192.0.2.1"}]}]}
        await lab.create(ENDPOINTS, own)
        await lab.create(ENDPOINTS, {**own, "metadata": {"name": "without"}})
        await lab.wait(5)
        assert (await lab.get(ENDPOINTS, "s"))["subsets"] == own["subsets"]
        await lab.delete(SERVICES, "s")
        await lab.wait(5)
        assert not await lab.exists(ENDPOINTS, "s")
        assert await lab.exists(ENDPOINTS, "without")

    simulate(scenario)


def test_endpoints_over_capacity() -> None:
    """1,000 addresses, ready ones first, each subset its share."""

    def subset(ready: int, waiting: int) -> Obj:
        return {"addresses": [{"ip": str(n)} for n in range(ready)], "notReadyAddresses": [{}] * waiting}

    def sizes(subsets: list[Obj]) -> list[tuple[int, int]]:
        return [(len(s.get("addresses") or ()), len(s.get("notReadyAddresses") or ())) for s in subsets]

    assert rules.truncated([subset(600, 400)]) == ([subset(600, 400)], False)
    kept, over = rules.truncated([subset(600, 500)])
    assert (sizes(kept), over) == ([(600, 400)], True)
    kept, over = rules.truncated([subset(901, 50), subset(600, 0), subset(0, 9)])
    assert (sizes(kept), over) == ([(601, 0), (399, 0), (0, 0)], True)


def test_times_of_what_set_a_change_off() -> None:
    """The service's creation at first, then the earliest new time of readiness, then none."""

    def ready(name: str, time: str) -> Obj:
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": f"2026-01-01T00:00:{time}Z"}
        return {"metadata": {"name": name}, "status": {"conditions": [condition]}}

    owner = {"metadata": {"creationTimestamp": "2026-01-01T00:00:30Z"}}
    times = TriggerTimes()
    assert times.observe("k", owner, [ready("a", "10")]) == "2026-01-01T00:00:30Z"
    assert times.observe("k", owner, [ready("a", "10")]) == ""
    later = [ready("a", "50"), ready("b", "40")]
    assert times.observe("k", owner, later) == "2026-01-01T00:00:40Z"
    assert times.observe("k", owner, [ready("b", "40")]) == ""
    times.forget("k")
    assert times.observe("k", owner, []) == "2026-01-01T00:00:30Z"
    assert annotated({"x": "y", TRIGGER_TIME: "old"}, "") == {"x": "y"}
    assert annotated(None, "new") == {TRIGGER_TIME: "new"}


def test_what_services_left_behind_goes_at_the_start(simulate: Any) -> None:
    """checkLeftoverEndpoints: services may have gone while no controller ran."""

    async def scenario(lab: Any) -> None:
        lock = {"annotations": {rules.LEADER: "{}"}}
        for name, meta in (("left", {}), ("lock", lock)):
            await lab.create(ENDPOINTS, {"metadata": {"name": name, **meta}})
        await lab.wait(5)
        assert await lab.names(ENDPOINTS) == ["kubernetes", "left", "lock"]
        informers = Informers(lab.client, lab.world)
        recorder = EventRecorder(lab.client, "test", lab.world)
        env = Environment(lab.client, informers, lab.world, recorder, CollectorRegistry())
        controller = rules.EndpointsController(env)
        controller.setup()
        informers.start()
        task = asyncio.create_task(controller.run())
        await lab.wait(5)
        assert await lab.names(ENDPOINTS) == ["kubernetes", "lock"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await informers.stop()

    simulate(scenario)


def test_what_syncs_did_and_how_full_slices_are_is_counted(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        def shown(name: str, **labels: str) -> float | None:
            found = lab.cluster.metrics.get_sample_value(f"endpoint_slice_controller_{name}", labels)
            return None if found is None else float(found)

        slices_before = shown("num_endpoint_slices") or 0
        await lab.create(SERVICES, service(trafficDistribution="PreferClose"))
        await lab.create(PODS, pod("a"))
        await lab.create(PODS, pod("b"))
        await lab.wait(3)
        assert shown("endpoints_desired") == 2
        assert shown("num_endpoint_slices") == slices_before + 1
        assert shown("desired_endpoint_slices") == slices_before + 1
        assert shown("services_count_by_traffic_distribution", traffic_distribution="PreferClose") == 1
        assert shown("changes", operation="create") == slices_before + 1
        assert (shown("syncs", result="success") or 0) > 2
        assert (shown("endpoints_added_per_sync_sum") or 0) >= 2
        text = generate_latest(lab.cluster.metrics).decode()
        assert "# TYPE endpoint_slice_controller_changes counter\n" in text
        await lab.delete(PODS, "a", gracePeriodSeconds=0)
        await lab.wait(3)
        assert (shown("endpoints_removed_per_sync_sum") or 0) >= 1
        await lab.delete(SERVICES, "s")
        await lab.wait(3)
        assert shown("endpoints_desired") == 0
        assert shown("services_count_by_traffic_distribution", traffic_distribution="PreferClose") is None

    simulate(scenario)


def test_changes_of_pods_are_gathered(simulate: Any) -> None:
    """--endpoint-updates-batch-period, --endpointslice-updates-batch-period"""

    async def scenario(lab: Any) -> None:
        manager = ControllerManager(
            lab.client,
            lab.cluster._account_client,
            lab.world,
            new_registry(),
            Settings("", None, endpoints_batch_s=5.0, slices_batch_s=10.0),
            ["endpoint", "endpointslice"],
        )
        task = asyncio.create_task(manager.run())
        await lab.create(SERVICES, service())
        await lab.wait(12)
        await lab.create(PODS, pod("a"))
        await lab.wait(3)
        await lab.create(PODS, pod("b"))
        await lab.wait(1)
        assert await addresses(lab) == []
        await lab.wait(2)
        assert await addresses(lab) == ["a", "b"]
        assert await endpoints(lab) == {}
        await lab.wait(5)
        assert sorted(await endpoints(lab)) == ["a", "b"]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    simulate(scenario, controllers=("*", "-endpoint", "-endpointslice"))
