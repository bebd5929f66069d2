"""What a kubelet checks again before it runs a pod, and how it says no (pkg/kubelet/lifecycle/predicate.go); resizes
(KEP-1287)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.nodes import requests
from pilothouse.nodes.admission import Usage, refuse
from tests.unit.nodes.conftest import Simulate, Simulation, condition, container, named

NODE: Obj = {
    "metadata": {"name": "n1", "labels": {"zone": "a", "rank": "3"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/gpu": "1"}},
}


def pod(*containers: Obj, labels: dict[str, str] | None = None, **spec: Any) -> Obj:
    return {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": list(containers), **spec}}


def asks(**amounts: str) -> Obj:
    named = {name.replace("__", "/").replace("_", "."): value for name, value in amounts.items()}
    return {"name": "c", "resources": {"requests": named}}


def answer(wanted: Obj, node: Obj = NODE, taken: Usage | None = None) -> tuple[str, str] | None:
    return refuse(wanted, node, taken or Usage(), requests.of_pod(wanted))


def affinity(**expression: Any) -> Obj:
    term = {"matchExpressions": [expression]}
    node = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"nodeAffinity": node}


NO_AFFINITY = (
    "NodeAffinity",
    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (pod(asks(cpu="2", memory="1Gi")), None),
        (
            pod(asks(cpu="2100m")),
            ("OutOfcpu", "Node didn't have enough resource: cpu, requested: 2100, used: 0, capacity: 2000"),
        ),
        (
            pod(asks(memory="2Gi", cpu="1")),
            (
                "OutOfmemory",
                "Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824",
            ),
        ),
        (
            pod(asks(example_com__gpu="2")),
            (
                "OutOfexample.com/gpu",
                "Node didn't have enough resource: example.com/gpu, requested: 2, used: 0, capacity: 1",
            ),
        ),
        (pod(asks(example_com__unknown="2")), None),
        (pod(nodeSelector={"zone": "a"}), None),
        (pod(nodeSelector={"zone": "b"}), NO_AFFINITY),
        (pod(affinity=affinity(key="rank", operator="Gt", values=["2"])), None),
        (pod(affinity=affinity(key="rank", operator="Lt", values=["2"])), NO_AFFINITY),
        (pod(affinity=affinity(key="zone", operator="NotIn", values=["a"])), NO_AFFINITY),
        (
            pod(labels={"kubernetes.io/os": "windows"}),
            (
                "PodOSSelectorNodeLabelDoesNotMatch",
                "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
            ),
        ),
        (
            pod(os={"name": "windows"}),
            ("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"),
        ),
    ],
)
def test_what_is_refused(wanted: Obj, told: tuple[str, str] | None) -> None:
    assert answer(wanted) == told


@pytest.mark.parametrize(
    ("tolerations", "admitted"),
    [
        ([], False),
        ([{"key": "out", "operator": "Exists"}], True),
        ([{"operator": "Exists"}], True),
        ([{"key": "out", "value": "now", "effect": "NoExecute"}], True),
        ([{"key": "out", "value": "later"}], False),
        ([{"key": "out", "operator": "Exists", "effect": "NoSchedule"}], False),
    ],
)
def test_taints_that_evict(tolerations: list[Obj], admitted: bool) -> None:
    node = {**NODE, "spec": {"taints": [{"key": "out", "value": "now", "effect": "NoExecute"}]}}
    told = answer(pod(tolerations=tolerations), node)
    assert (told is None) == admitted
    if told is not None:
        assert told[0] == "TaintToleration"


def test_taints_that_only_keep_new_pods_away_are_the_schedulers_business() -> None:
    node = {**NODE, "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert answer(pod(), node) is None


@pytest.mark.parametrize(
    ("port", "free"),
    [
        ({"hostPort": 80}, False),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, False),
        ({"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 81}, True),
        ({"containerPort": 80}, True),
    ],
)
def test_host_ports(port: Obj, free: bool) -> None:
    taken = Usage()
    taken.add(requests.of_pod(pod({"name": "c", "ports": [{"hostPort": 80}]})))
    told = answer(pod({"name": "c", "ports": [port]}), taken=taken)
    assert (told is None) == free
    if told is not None:
        why = "node(s) didn't have free ports for the requested pod ports"
        assert told == ("NodePorts", f"Predicate NodePorts failed: {why}")


def test_a_pods_request_is_its_peak() -> None:
    """Init containers one at a time, sidecars from where they start, overhead on top (resource.PodRequests)."""
    wanted = pod(
        asks(cpu="1"),
        asks(cpu="500m"),
        initContainers=[
            {**asks(cpu="200m"), "restartPolicy": "Always"},
            asks(cpu="3"),
            {**asks(cpu="100m"), "restartPolicy": "Always"},
        ],
        overhead={"cpu": "10m"},
    )
    assert requests.of_pod(wanted).amounts == {"cpu": 3210, "pods": 1}


def test_a_pod_that_does_not_fit_is_rejected_for_good(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("big", container("c", resources={"requests": {"cpu": "17"}}))
        await on.passes(1)
        status = await on.status("big")
        why = "Node didn't have enough resource: cpu, requested: 17000, used: 0, capacity: 16000"
        assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")
        assert status["message"] == f"Pod was rejected: {why}"
        assert "containerStatuses" not in status
        assert ("Warning", "OutOfcpu", why) in await on.events("big")

    simulate(scenario)


def test_finished_pods_take_no_place(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        half = {"requests": {"cpu": "10"}}
        await on.run("done", container("c", "true", resources=half), restartPolicy="Never")
        await on.passes(1)
        await on.run("first", container("c", resources=half))
        await on.passes(1)
        await on.run("second", container("c", resources=half))
        await on.passes(1)
        assert (await on.status("first"))["phase"] == "Running"
        assert (await on.status("second"))["message"].endswith(
            "requested: 10000, used: 10000, capacity: 16000"
        )

    simulate(scenario)


def test_room_for_220_pods(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        for number in range(221):
            await on.run(f"p{number}")
        await on.passes(2)
        phases = [(await on.status(f"p{n}")).get("reason", "") for n in range(221)]
        assert phases.count("OutOfpods") == 1
        addresses = {(await on.status(f"p{n}")).get("podIP") for n in range(221)}
        assert len(addresses - {None}) == 220

    simulate(scenario)


def test_an_extended_resource_that_somebody_gave_to_the_node(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        gpus = {"status": {"capacity": {"example.com/gpu": "1"}}}
        await on.client.patch(NODES, "node-0", gpus, subresource="status")
        await on.passes(11)
        wants = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
        for name in ("one", "two"):
            await on.run(name, container("c", resources=wants))
            await on.passes(1)
        assert (await on.status("one"))["phase"] == "Running"
        assert (await on.status("two"))["reason"] == "OutOfexample.com/gpu"

    simulate(scenario)


# -- resizes ----------------------------------------------------------------------------------------------


async def resize(on: Simulation, name: str, cpu: str) -> None:
    size = {"name": "c", "resources": {"requests": {"cpu": cpu}}}
    await on.patch(name, {"spec": {"containers": [size]}}, subresource="resize")
    await on.passes(1)


def given(status: Obj) -> Any:
    return named(status["containerStatuses"], "c")["resources"]["requests"]["cpu"]


def test_a_resize_in_place(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("c", resources={"requests": {"cpu": "1"}}))
        await on.passes(1)
        await resize(on, "web", "2")
        status = await on.status("web")
        one = named(status["containerStatuses"], "c")
        assert given(status) == one["allocatedResources"]["cpu"] == "2"
        assert one["restartCount"] == 0
        assert not condition(status, "PodResizePending")
        told = '{"containers":[{"name":"c","resources":{"requests":{"cpu":"2"}}}],"generation":2}'
        events = await on.events("web")
        assert ("Normal", "ResizeStarted", f"Pod resize started: {told}") in events
        assert ("Normal", "ResizeCompleted", f"Pod resize completed: {told}") in events

    simulate(scenario)


def test_a_resize_that_needs_a_restart(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        policy = [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]
        await on.run("web", container("c", resources={"requests": {"cpu": "1"}}, resizePolicy=policy))
        await on.passes(1)
        await resize(on, "web", "2")
        assert named((await on.status("web"))["containerStatuses"], "c")["restartCount"] == 1

    simulate(scenario)


def test_a_resize_that_waits_until_there_is_room(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        for name in ("web", "other"):
            await on.run(name, container("c", resources={"requests": {"cpu": "6"}}))
        await on.passes(1)
        await resize(on, "web", "12")
        status = await on.status("web")
        pending = condition(status, "PodResizePending")
        why = "Node didn't have enough resource: cpu, requested: 12000, used: 6000, capacity: 16000"
        assert (pending["status"], pending["reason"], pending["message"]) == ("True", "Deferred", why)
        assert given(status) == "6"
        await on.passes(100)
        deferred = [m for _, reason, m in await on.events("web") if reason == "ResizeDeferred"]
        assert deferred == [
            'Pod resize Deferred: {"containers":[{"name":"c","resources":{"requests":{"cpu":"12"}}}],'
            f'"generation":2,"error":"{why}"}}'
        ]
        await on.delete("other", 0)
        await on.passes(11)
        status = await on.status("web")
        assert given(status) == "12"
        assert not condition(status, "PodResizePending")

    simulate(scenario)


def test_a_resize_that_never_will_be(simulate: Simulate) -> None:
    async def scenario(on: Simulation) -> None:
        await on.run("web", container("c", resources={"requests": {"cpu": "1"}}))
        await on.passes(1)
        await resize(on, "web", "17")
        pending = condition(await on.status("web"), "PodResizePending")
        assert pending["reason"] == "Infeasible"
        assert (
            pending["message"] == "Node didn't have enough capacity: cpu, requested: 17000, capacity: 16000"
        )
        await resize(on, "web", "3")
        status = await on.status("web")
        assert given(status) == "3"
        assert not condition(status, "PodResizePending")

    simulate(scenario)
