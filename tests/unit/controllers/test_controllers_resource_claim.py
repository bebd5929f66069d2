"""Devices by claim as a user meets them: a class, slices by hand, a template, pods; in a whole cluster in virtual time
(https://kubernetes.io/docs/tasks/configure-pod-container/assign-resources/allocate-devices-dra/, KEP-4381)."""

from __future__ import annotations

from typing import Any

from conftest import Lab, Simulate

from pilothouse.api.resource_claims import FINALIZER
from pilothouse.api.resources import (
    DEVICE_CLASSES,
    NODES,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
from pilothouse.api.types import Obj
from pilothouse.controllers.resource_claim import generate_name

DRIVER = "gpu.example.com"


async def devices(lab: Lab, node: str, count: int = 1) -> None:
    await lab.create(
        RESOURCE_SLICES,
        {
            "metadata": {"name": f"{node}-gpus"},
            "spec": {
                "driver": DRIVER,
                "nodeName": node,
                "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
                "devices": [
                    {"name": f"gpu-{i}", "attributes": {"model": {"string": "LATEST-GPU-MODEL"}}}
                    for i in range(count)
                ],
            },
        },
    )


async def gpu_class(lab: Lab) -> None:
    selector = {"cel": {"expression": f'device.driver == "{DRIVER}"'}}
    await lab.create(
        DEVICE_CLASSES, {"metadata": {"name": "gpu.example.com"}, "spec": {"selectors": [selector]}}
    )


def one_gpu(**more: Any) -> Obj:
    return {
        "devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.example.com", **more}}]}
    }


async def template(lab: Lab, name: str = "gpu") -> None:
    body = {"metadata": {"labels": {"team": "ml"}}, "spec": one_gpu()}
    await lab.create(RESOURCE_CLAIM_TEMPLATES, {"metadata": {"name": name}, "spec": body})


def pod(name: str, **claim: str) -> Obj:
    container = {"name": "c", "image": "x", "resources": {"claims": [{"name": "gpu"}]}}
    spec: Obj = {"containers": [container], "resourceClaims": [{"name": "gpu", **claim}]}
    spec["terminationGracePeriodSeconds"] = 0
    return {"metadata": {"name": name}, "spec": spec}


async def claims(lab: Lab) -> list[Obj]:
    return await lab.list(RESOURCE_CLAIMS)


async def phase(lab: Lab, name: str) -> str:
    return str((await lab.get(PODS, name))["status"]["phase"])


def test_a_pod_gets_a_claim_from_its_template_and_a_device_with_it(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await gpu_class(lab)
        await devices(lab, nodes[1])
        await template(lab)
        await lab.create(PODS, pod("train", resourceClaimTemplateName="gpu"))
        await lab.wait(5)
        placed = await lab.get(PODS, "train")
        assert placed["spec"]["nodeName"] == nodes[1]
        assert placed["status"]["phase"] == "Running"
        (claim,) = await claims(lab)
        name = claim["metadata"]["name"]
        assert name.startswith("train-gpu-")
        assert placed["status"]["resourceClaimStatuses"] == [{"name": "gpu", "resourceClaimName": name}]
        assert claim["metadata"]["labels"] == {"team": "ml"}
        assert claim["metadata"]["annotations"] == {"resource.kubernetes.io/pod-claim-name": "gpu"}
        assert claim["metadata"]["finalizers"] == [FINALIZER]
        allocation = claim["status"]["allocation"]
        assert allocation["devices"]["results"] == [
            {"request": "gpu", "driver": DRIVER, "pool": nodes[1], "device": "gpu-0"}
        ]
        only = {"key": "metadata.name", "operator": "In", "values": [nodes[1]]}
        assert allocation["nodeSelector"] == {"nodeSelectorTerms": [{"matchFields": [only]}]}
        (holder,) = claim["status"]["reservedFor"]
        assert (holder["resource"], holder["name"], holder["uid"]) == (
            "pods",
            "train",
            placed["metadata"]["uid"],
        )

    simulate(scenario)


def test_a_second_pod_waits_for_the_device_and_gets_it_when_the_first_is_gone(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        (node, *_) = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await gpu_class(lab)
        await devices(lab, node)
        await template(lab)
        await lab.create(PODS, pod("first", resourceClaimTemplateName="gpu"))
        await lab.wait(5)
        await lab.create(PODS, pod("second", resourceClaimTemplateName="gpu"))
        await lab.wait(5)
        waiting = await lab.get(PODS, "second")
        (why,) = [c["message"] for c in waiting["status"]["conditions"] if c["type"] == "PodScheduled"]
        assert why == (
            "0/3 nodes are available: 3 cannot allocate all claims. still not schedulable, preemption: "
            "0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        )
        await lab.delete(PODS, "first")
        await lab.wait(15)
        assert (await lab.get(PODS, "second"))["spec"]["nodeName"] == node
        assert [c["metadata"]["name"].startswith("second-gpu-") for c in await claims(lab)] == [True]

    simulate(scenario)


def test_pods_share_a_claim_and_the_last_one_gives_its_device_back(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        (node, *_) = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await lab.create(PODS, pod("a", resourceClaimName="shared"))
        await lab.create(PODS, pod("b", resourceClaimName="shared"))
        await lab.wait(2)
        assert await phase(lab, "a") == "Pending"
        await lab.create(RESOURCE_CLAIMS, {"metadata": {"name": "shared"}, "spec": one_gpu()})
        await lab.wait(2)
        messages = [c["message"] for c in (await lab.get(PODS, "a"))["status"]["conditions"]]
        assert any("request gpu: device class gpu.example.com does not exist" in m for m in messages)
        await gpu_class(lab)
        await devices(lab, node)
        await lab.wait(15)
        assert {await phase(lab, "a"), await phase(lab, "b")} == {"Running"}
        shared = await lab.get(RESOURCE_CLAIMS, "shared")
        assert sorted(r["name"] for r in shared["status"]["reservedFor"]) == ["a", "b"]
        await lab.delete(PODS, "a")
        await lab.wait(2)
        shared = await lab.get(RESOURCE_CLAIMS, "shared")
        assert [r["name"] for r in shared["status"]["reservedFor"]] == ["b"]
        assert shared["status"].get("allocation")
        await lab.delete(PODS, "b")
        await lab.wait(2)
        shared = await lab.get(RESOURCE_CLAIMS, "shared")
        assert not shared["status"].get("allocation")
        assert not shared["status"].get("reservedFor")
        assert not shared["metadata"].get("finalizers")

    simulate(scenario)


def test_a_claim_of_a_pod_that_has_finished_is_deleted(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        (node, *_) = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await gpu_class(lab)
        await devices(lab, node)
        await template(lab)
        await lab.create(PODS, pod("job", resourceClaimTemplateName="gpu"))
        await lab.wait(5)
        await lab.patch(PODS, "job", {"status": {"phase": "Succeeded"}}, subresource="status")
        await lab.wait(5)
        assert await claims(lab) == []

    simulate(scenario)


def test_a_template_that_is_missing_is_told_and_waited_for(simulate: Simulate) -> None:
    async def scenario(lab: Lab) -> None:
        await lab.create(PODS, pod("train", resourceClaimTemplateName="gpu"))
        await lab.wait(2)
        events = [e for e in await lab.events("train") if e[1] == "FailedResourceClaimCreation"]
        assert events[0] == (
            "Warning",
            "FailedResourceClaimCreation",
            'PodResourceClaim gpu: resource claim template "gpu": resourceclaimtemplate.resource.k8s.io "gpu" '
            "not found",
            "resource_claim",
        )
        await template(lab)
        await lab.wait(10)
        assert len(await claims(lab)) == 1

    simulate(scenario)


def test_a_claim_for_extended_resources_goes_with_its_pod(simulate: Simulate) -> None:
    """KEP-5004, with the role that the scheduler has from the start."""

    async def scenario(lab: Lab) -> None:
        (node, *_) = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await gpu_class(lab)
        await devices(lab, node)
        amounts = {"deviceclass.resource.kubernetes.io/gpu.example.com": "1"}
        container = {"name": "c", "image": "x", "resources": {"limits": amounts, "requests": amounts}}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        await lab.create(PODS, {"metadata": {"name": "ext"}, "spec": spec})
        await lab.wait(5)
        running = await lab.get(PODS, "ext")
        assert running["status"]["phase"] == "Running"
        (claim,) = await claims(lab)
        assert (
            running["status"]["extendedResourceClaimStatus"]["resourceClaimName"] == claim["metadata"]["name"]
        )
        await lab.delete(PODS, "ext")
        await lab.wait(10)
        assert await claims(lab) == []

    simulate(scenario)


def test_pods_leave_a_device_that_is_tainted(simulate: Simulate) -> None:
    """KEP-5055: at once, or after the time that their claim's request tolerates the taint."""

    async def scenario(lab: Lab) -> None:
        (node, *_) = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await gpu_class(lab)
        await devices(lab, node, 2)
        patient = {"key": "broken", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
        await lab.create(RESOURCE_CLAIMS, {"metadata": {"name": "hasty"}, "spec": one_gpu()})
        await lab.create(
            RESOURCE_CLAIMS, {"metadata": {"name": "slow"}, "spec": one_gpu(tolerations=[patient])}
        )
        for name in ("hasty", "slow"):
            await lab.create(PODS, pod(name, resourceClaimName=name))
        await lab.wait(5)
        assert {await phase(lab, "hasty"), await phase(lab, "slow")} == {"Running"}
        taint = {"key": "broken", "effect": "NoExecute"}
        tainted = [{"name": f"gpu-{i}", "taints": [taint]} for i in range(2)]
        await lab.patch(RESOURCE_SLICES, f"{node}-gpus", {"spec": {"devices": tainted}})
        await lab.wait(5)
        assert not await lab.exists(PODS, "hasty")
        assert await lab.exists(PODS, "slow")
        await lab.wait(60)
        assert not await lab.exists(PODS, "slow")
        assert not (await lab.get(RESOURCE_CLAIMS, "slow"))["status"].get("allocation")

    simulate(scenario)


def test_long_names_are_shortened_in_proportion() -> None:
    assert generate_name("web", "gpu") == "web-gpu-"
    made = generate_name("p" * 100, "c" * 50)
    assert len(made) <= 57
    assert made == "p" * 37 + "-" + "c" * 18
