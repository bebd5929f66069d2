"""The DynamicResources plugin in a running scheduler, in virtual time: what is written into claims, and what people
read when there are no devices."""

from __future__ import annotations

from typing import Any

import dra_builders as d
from test_scheduler_loop import Running, virtual

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import DEVICE_CLASSES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES, Resource
from pilothouse.api.types import Obj

_BOUND = {"bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"]}


async def create(c: Running, resource: Resource, body: Obj) -> Obj:
    typed = {"apiVersion": resource.group_version, "kind": resource.kind, **body}
    return await c.client.create(resource, typed, "default" if resource.namespaced else "")


async def devices(c: Running, *found: Obj, node: str = "a", **fields: Any) -> None:
    body = d.resource_slice(*found, name=f"slice-{node}", pool_name=node, nodeName=node, **fields)
    await create(c, RESOURCE_SLICES, body)


async def gpu_class(c: Running, **spec: Any) -> None:
    await create(c, DEVICE_CLASSES, d.device_class("any", **spec))


async def claim(c: Running, name: str, *requests: Obj, **more: Any) -> None:
    made = d.claim(*(requests or (d.exactly(),)), name=name, **more)
    await create(c, RESOURCE_CLAIMS, {**made, "metadata": {"name": name}})


async def pod(c: Running, name: str, *claims: str, **spec: Any) -> None:
    named = [{"name": f"c{i}", "resourceClaimName": each} for i, each in enumerate(claims)]
    await c.pod(name, resourceClaims=named, **spec)


async def get(c: Running, name: str) -> Obj:
    return await c.client.get(RESOURCE_CLAIMS, name, "default")


async def got(c: Running, name: str) -> list[str]:
    """The devices of a claim."""
    allocation = (await get(c, name)).get("status", {}).get("allocation") or {"devices": {"results": []}}
    return [f"{r['pool']}/{r['device']}" for r in allocation["devices"]["results"]]


@virtual()
async def test_a_pod_goes_where_its_devices_are(c: Running) -> None:
    for name in ("a", "b", "c"):
        await c.node(name)
    await gpu_class(c)
    await devices(c, d.device("g"), node="b")
    await claim(c, "gpu")
    await pod(c, "web", "gpu")
    await c.settle()
    assert await c.place("web") == "b"
    assert await got(c, "gpu") == ["b/g"]


@virtual()
async def test_no_two_claims_get_one_device_however_fast_pods_come(c: Running) -> None:
    await c.node("a", "16")
    await c.node("b", "16")
    await gpu_class(c)
    await devices(c, *(d.device(f"g{i}") for i in range(3)), node="a")
    await devices(c, *(d.device(f"g{i}") for i in range(3)), node="b")
    for i in range(8):
        await claim(c, f"gpu-{i}")
        await pod(c, f"p{i}", f"gpu-{i}")
    await c.settle(5)
    found = [each for i in range(8) for each in await got(c, f"gpu-{i}")]
    assert len(found) == len(set(found)) == 6
    waiting = [f"p{i}" for i in range(8) if not await c.place(f"p{i}")]
    assert len(waiting) == 2
    assert (await c.condition(waiting[0]))["message"].startswith(
        "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable"
    )
    await devices(c, d.device("g9"), node="z")  # of no node that there is
    await c.client.patch(
        RESOURCE_SLICES, "slice-a", {"spec": {"devices": [d.device(f"g{i}") for i in range(4)]}}
    )
    await c.settle(15)
    assert len([name for name in waiting if await c.place(name)]) == 1


@virtual()
async def test_a_claim_that_is_allocated_binds_its_pods_to_where_it_is(c: Running) -> None:
    await c.node("a")
    await c.node("b")
    await gpu_class(c)
    await devices(c, d.device("g"), node="b")
    await claim(c, "gpu")
    await pod(c, "first", "gpu")
    await c.settle()
    await pod(c, "second", "gpu")
    await pod(c, "third", "gpu", nodeSelector={"kubernetes.io/hostname": "nowhere"})
    await c.settle()
    assert await c.place("second") == "b"
    assert [r["name"] for r in (await get(c, "gpu"))["status"]["reservedFor"]] == ["first", "second"]


@virtual()
async def test_an_allocation_nobody_uses_is_given_up_when_it_is_in_the_way(c: Running) -> None:
    """PostFilter: the node of the devices has no room, another one's would do."""
    await c.node("a", "1")
    await gpu_class(c)
    await devices(c, d.device("g"), node="a")
    await claim(c, "gpu")
    await pod(c, "first", "gpu")
    await c.settle()
    shared = await get(c, "gpu")
    typed = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
    status = {key: value for key, value in shared["status"].items() if key != "reservedFor"}
    await c.client.update(RESOURCE_CLAIMS, {**shared, **typed, "status": status}, subresource="status")
    await c.client.patch(RESOURCE_SLICES, "slice-a", {"spec": {"devices": []}})
    await c.node("b")
    await devices(c, d.device("h"), node="b")
    await pod(c, "second", "gpu")
    await c.settle(10)
    assert await c.place("second") == "b"
    assert await got(c, "gpu") == ["b/h"]


@virtual()
async def test_a_pod_waits_until_its_device_is_attached(c: Running) -> None:
    """KEP-5007: the scheduler binds the pod after the driver said that all conditions are met."""
    await c.node("a")
    await gpu_class(c)
    await devices(c, d.device("g", **_BOUND))
    await claim(c, "gpu")
    await pod(c, "web", "gpu")
    await c.settle(20)
    assert await c.place("web") == ""
    assert (
        "BindingConditionsPending",
        "waiting for binding conditions for device on node a",
    ) in await c.events("web")
    await _report(c, "gpu", "Attached")
    await c.settle(6)
    assert await c.place("web") == "a"


@virtual()
async def test_a_device_that_cannot_be_attached_is_given_up_for_another(c: Running) -> None:
    await c.node("a")
    await c.node("b")
    await gpu_class(c)
    await devices(c, d.device("g", **_BOUND))
    await claim(c, "gpu")
    await pod(c, "web", "gpu")
    await c.settle(1)
    await devices(c, d.device("h"), node="b")
    await c.client.patch(RESOURCE_SLICES, "slice-a", {"spec": {"devices": []}})  # or it would be tried again
    await _report(c, "gpu", "Broken")
    await c.settle(6)
    message = 'claim gpu binding failed: reason=Test, message="so"'
    assert ("FailedScheduling", message) in await c.events("web")
    await c.settle(30)
    assert await c.place("web") == "b"
    assert await got(c, "gpu") == ["b/h"]


async def _report(c: Running, name: str, kind: str) -> None:
    found = await get(c, name)
    (result,) = found["status"]["allocation"]["devices"]["results"]
    condition = {
        "type": kind,
        "status": "True",
        "reason": "Test",
        "message": "so",
        "lastTransitionTime": c.world.timestamp(),
    }
    device = {key: result[key] for key in ("driver", "pool", "device")} | {"conditions": [condition]}
    typed = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim"}
    status = {**found["status"], "devices": [device]}
    await c.client.update(RESOURCE_CLAIMS, {**found, **typed, "status": status}, subresource="status")


@virtual()
async def test_a_device_that_is_never_attached_times_out(c: Running) -> None:
    """bindingTimeout is 10 minutes."""
    await c.node("a")
    await gpu_class(c)
    await devices(c, d.device("g", **_BOUND))
    await claim(c, "gpu")
    await pod(c, "web", "gpu")
    await c.settle(590)
    assert not [m for r, m in await c.events("web") if r == "FailedScheduling"]
    await c.settle(20)
    assert any("timeout" in m for r, m in await c.events("web") if r == "FailedScheduling")


@virtual()
async def test_an_expression_that_fails_is_an_error_and_no_lack_of_devices(c: Running) -> None:
    await c.node("a")
    await gpu_class(c)
    await devices(c, d.device("g"))
    await claim(c, "gpu", d.exactly(cel=f'device.attributes["{d.DRIVER}"].fast'))
    await pod(c, "web", "gpu")
    await c.settle()
    condition = await c.condition("web")
    assert condition["reason"] == "SchedulerError"
    assert condition["message"].startswith(
        f'running "DynamicResources" filter plugin: claim default/gpu: selector #0 on device {d.DRIVER}/a/g: '
        "CEL runtime error: no such key: fast"
    )


@virtual()
async def test_nodes_where_the_first_choice_is_left_are_better(c: Running) -> None:
    """KEP-4816, scoring of prioritized lists."""
    await c.node("a")
    await c.node("b")
    await gpu_class(c)
    await devices(c, d.model("slow", "slow"), node="a")
    await devices(c, d.model("fast", "fast"), d.model("slow", "slow"), node="b")
    fast = d.exactly("fast", cel=f'device.attributes["{d.DRIVER}"].model == "fast"')
    for name in ("x", "y"):
        await claim(c, name, d.first_of("gpu", fast, d.exactly("any")))
        await pod(c, name, name)
        await c.settle()
    assert await got(c, "x") == ["b/fast"]


@virtual()
async def test_devices_stand_in_for_an_extended_resource(c: Running) -> None:
    """KEP-5004: on a node that does not have the resource itself."""
    await c.node("a")
    await gpu_class(c, extendedResourceName="example.com/gpu")
    await devices(c, *(d.device(f"g{i}") for i in range(2)))
    await _extended(c, "web", "2")
    await c.settle(2)
    assert await c.place("web") == "a"
    (made,) = (await c.client.list(RESOURCE_CLAIMS, "default"))["items"]
    name = made["metadata"]["name"]
    assert name.startswith("web-extended-resources-")
    assert made["metadata"]["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert await got(c, name) == ["a/g0", "a/g1"]
    assert (await c.get("web"))["status"]["extendedResourceClaimStatus"] == {
        "requestMappings": [
            {"containerName": "c", "resourceName": "example.com/gpu", "requestName": "container-0-request-0"}
        ],
        "resourceClaimName": name,
    }
    await _extended(c, "more", "1")
    await c.settle(2)
    assert "1 cannot allocate all claims" in (await c.condition("more"))["message"]


@virtual()
async def test_every_class_stands_for_an_extended_resource_of_its_own_name(c: Running) -> None:
    await c.node("a")
    await gpu_class(c)
    await devices(c, d.device("g"))
    await _extended(c, "web", "1", "deviceclass.resource.kubernetes.io/any")
    await c.settle(2)
    (made,) = (await c.client.list(RESOURCE_CLAIMS, "default"))["items"]
    assert await got(c, made["metadata"]["name"]) == ["a/g"]


async def _extended(c: Running, name: str, count: str, resource: str = "example.com/gpu") -> None:
    amounts = {resource: count}
    container = {"name": "c", "image": "x", "resources": {"requests": amounts, "limits": amounts}}
    await create(c, PODS, {"metadata": {"name": name}, "spec": {"containers": [container]}})


@virtual()
async def test_a_pod_that_is_deleted_while_it_waits_for_a_device_leaves_its_claim(c: Running) -> None:
    await c.node("a")
    await gpu_class(c)
    await devices(c, d.device("g", **_BOUND))
    await claim(c, "gpu")
    await pod(c, "web", "gpu")
    await c.settle(2)
    await c.client.delete(PODS, "web", "default", {"gracePeriodSeconds": 0})
    await _report(c, "gpu", "Attached")
    await c.settle(10)
    assert not (await get(c, "gpu"))["status"].get("reservedFor")
    try:
        await c.get("web")
    except ApiError as error:
        assert error.code == 404
