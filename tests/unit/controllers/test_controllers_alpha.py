"""Controllers of APIs that are off by default: where --runtime-config serves them, they run, with their own roles."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.api.resources import (
    CONFIG_MAPS,
    DEVICE_CLASSES,
    DEVICE_TAINT_RULES,
    LEASES,
    NODES,
    POD_GROUPS,
    PODS,
    RESOURCE_CLAIMS,
    RESOURCE_SLICES,
)
from pilothouse.api.types import Obj
from pilothouse.apiserver.server import Options
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.controllers.pods import condition
from pilothouse.controllers.pool_status import REQUESTS, ends_at_s, pools_of
from pilothouse.controllers.storage_version_gc import STORAGE_VERSIONS
from pilothouse.controllers.storage_version_migrator import MIGRATIONS
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from tests.unit.controllers.conftest import Lab

Run = Callable[[str, Callable[[Lab], Awaitable[None]]], None]


@pytest.fixture
def serve(refused: list[str]) -> Run:
    """Run a scenario on a cluster that serves an API besides."""

    def run(api: str, scenario: Callable[[Lab], Awaitable[None]]) -> None:
        async def main() -> None:
            world = simulated_world(9)
            server = Options(runtime_config=f"{api}=true")
            async with Cluster(ClusterOptions(secure_port=None, server=server), world) as cluster:
                lab = Lab(cluster, world)
                await lab.wait(5)
                await scenario(lab)
            assert refused == []

        run_virtual(main())

    return run


def pool(name: str, devices: int, generation: int = 1, slices: int = 1, **spec: Any) -> Obj:
    return {
        "spec": {
            "driver": "gpu.example.com",
            "pool": {"name": name, "generation": generation, "resourceSliceCount": slices},
            "devices": [{"name": f"d{n}"} for n in range(devices)],
            **spec,
        }
    }


def test_pools_are_counted_in_their_latest_generation() -> None:
    request: Obj = {"spec": {"driver": "gpu.example.com"}}
    result = {"driver": "gpu.example.com", "pool": "a", "device": "d0"}
    claim = {"status": {"allocation": {"devices": {"results": [result]}}}}
    slices = [pool("a", 4), pool("a", 3, generation=2, nodeName="n"), pool("b", 2, slices=2)]
    a, b = pools_of(request, slices, [claim, {}])
    assert a == {
        "driver": "gpu.example.com",
        "poolName": "a",
        "generation": 2,
        "nodeName": "n",
        "resourceSliceCount": 1,
        "totalDevices": 3,
        "allocatedDevices": 1,
        "availableDevices": 2,
        "unavailableDevices": 0,
    }
    incomplete = "pool gpu.example.com/b is incomplete: observed 1/2 slices at generation 1"
    assert b["validationError"] == incomplete
    assert "totalDevices" not in b


def test_requests_end() -> None:
    made = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}
    done = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T05:00:00Z"}
    answered = {**made, "status": {"conditions": [done]}}
    assert ends_at_s(answered) - ends_at_s(made) == 6 * 3600 - 24 * 3600


def test_a_request_for_the_status_of_pools_is_answered(serve: Run) -> None:
    async def scenario(lab: Lab) -> None:
        found = pool("a", 2, nodeName="node-0")
        await lab.create(RESOURCE_SLICES, {"metadata": {"name": "s"}, **found})
        await lab.create(REQUESTS, {"metadata": {"name": "r"}, "spec": {"driver": "gpu.example.com"}})
        await lab.wait(2)
        status = (await lab.get(REQUESTS, "r"))["status"]
        assert status["poolCount"] == 1
        assert status["pools"][0]["availableDevices"] == 2
        assert status["conditions"][0]["message"] == "Calculated status for 1 pools"
        await lab.wait(3700)
        assert not await lab.exists(REQUESTS, "r")

    serve("resource.k8s.io/v1alpha3", scenario)


def test_a_pod_group_stays_while_pods_belong_to_it(serve: Run) -> None:
    async def scenario(lab: Lab) -> None:
        spec = {"schedulingPolicy": {"basic": {}}}
        await lab.create(POD_GROUPS, {"metadata": {"name": "g"}, "spec": spec})
        held = (await lab.get(POD_GROUPS, "g"))["metadata"]["finalizers"]
        assert held == ["scheduling.k8s.io/podgroup-protection"]
        container = {"name": "c", "image": "registry.k8s.io/pause:3.10"}
        member = {"containers": [container], "schedulingGroup": {"podGroupName": "g"}}
        await lab.create(PODS, {"metadata": {"name": "p"}, "spec": member})
        await lab.delete(POD_GROUPS, "g")
        await lab.wait(5)
        assert await lab.exists(POD_GROUPS, "g")
        await lab.delete(PODS, "p", gracePeriodSeconds=0)
        await lab.wait(5)
        assert not await lab.exists(POD_GROUPS, "g")

    serve("scheduling.k8s.io/v1alpha2", scenario)


def test_a_migration_writes_every_object_and_changes_none(serve: Run) -> None:
    async def scenario(lab: Lab) -> None:
        for number in range(3):
            await lab.create(CONFIG_MAPS, {"metadata": {"name": f"m{number}"}, "data": {"a": "b"}})
        before = await lab.get(CONFIG_MAPS, "m1")
        for name, resource in (("good", "configmaps"), ("bad", "nothings")):
            spec = {"resource": {"group": "", "resource": resource}}
            await lab.create(MIGRATIONS, {"metadata": {"name": name}, "spec": spec})
        await lab.wait(10)
        good, bad = await lab.get(MIGRATIONS, "good"), await lab.get(MIGRATIONS, "bad")
        succeeded = condition(good, "Succeeded")
        assert succeeded is not None
        assert (succeeded["status"], succeeded["reason"]) == ("True", "StorageVersionMigrationSucceeded")
        running = condition(good, "Running")
        assert running is not None
        assert running["status"] == "False"
        assert int(good["status"]["resourceVersion"]) > 0
        failed = condition(bad, "Failed")
        assert failed is not None
        assert failed["message"] == "resource not found"
        after = await lab.get(CONFIG_MAPS, "m1")
        assert after["data"] == before["data"]
        assert after["metadata"]["uid"] == before["metadata"]["uid"]

    serve("storagemigration.k8s.io/v1beta1", scenario)


def test_servers_that_have_gone_leave_storage_versions(serve: Run) -> None:
    async def scenario(lab: Lab) -> None:
        def entry(server: str) -> Obj:
            return {"apiServerID": server, "encodingVersion": "v1", "decodableVersions": ["v1"]}

        lease = {
            "apiVersion": LEASES.group_version,
            "kind": LEASES.kind,
            "metadata": {"name": "there", "labels": {"apiserver.kubernetes.io/identity": "kube-apiserver"}},
            "spec": {
                "holderIdentity": "there",
                "leaseDurationSeconds": 3600,
                "renewTime": lab.world.micro_timestamp(),
            },
        }
        await lab.client.create(LEASES, lease, "kube-system")
        for name, servers in (("core.pods", ("there", "gone")), ("apps.deployments", ("gone",))):
            await lab.create(STORAGE_VERSIONS, {"metadata": {"name": name}, "spec": {}})
            status = {"storageVersions": [entry(server) for server in servers]}
            await lab.patch(STORAGE_VERSIONS, name, {"status": status}, subresource="status")
        await lab.wait(70)
        kept = (await lab.get(STORAGE_VERSIONS, "core.pods"))["status"]["storageVersions"]
        assert [found["apiServerID"] for found in kept] == ["there"]
        assert not await lab.exists(STORAGE_VERSIONS, "apps.deployments")

    serve("internal.apiserver.k8s.io/v1alpha1", scenario)


def test_rules_taint_devices_keep_pods_away_and_make_them_leave(serve: Run) -> None:
    """DeviceTaintRules (KEP-5055): NoSchedule keeps new pods from a device, NoExecute evicts those that have it; a pod
    waits until the rule is gone."""

    async def scenario(lab: Lab) -> None:
        (node, *_) = [n["metadata"]["name"] for n in (await lab.client.list(NODES))["items"]]
        await lab.create(RESOURCE_SLICES, {**pool(node, 1, nodeName=node), "metadata": {"name": "gpus"}})
        await lab.create(DEVICE_CLASSES, {"metadata": {"name": "gpu"}, "spec": {}})
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu"}}
        for name in ("one", "two"):
            await lab.create(
                RESOURCE_CLAIMS, {"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}}
            )
        taint = {"key": "broken", "effect": "NoSchedule"}
        rule = {"metadata": {"name": "r"}, "spec": {"deviceSelector": {"pool": node}, "taint": taint}}
        await lab.create(DEVICE_TAINT_RULES, rule)
        await lab.wait(2)
        await lab.create(PODS, _user("train", "one"))
        await lab.wait(3)
        waiting = await lab.get(PODS, "train")
        assert "cannot allocate all claims" in (condition(waiting, "PodScheduled") or {})["message"]
        await lab.patch(DEVICE_TAINT_RULES, "r", {"spec": {"deviceSelector": {"device": "other"}}})
        await lab.wait(15)
        assert (await lab.get(PODS, "train"))["spec"]["nodeName"] == node
        executing = {"key": "broken", "effect": "NoExecute"}
        await lab.create(
            DEVICE_TAINT_RULES,
            {"metadata": {"name": "all"}, "spec": {"deviceSelector": {}, "taint": executing}},
        )
        await lab.wait(5)
        assert not await lab.exists(PODS, "train")
        assert ("Normal", "DeviceTaintManagerEviction") in [e[:2] for e in await lab.events("train")]
        await lab.delete(RESOURCE_CLAIMS, "one")
        await lab.create(PODS, _user("next", "two"))
        await lab.wait(5)
        assert "nodeName" not in (await lab.get(PODS, "next"))["spec"]
        await lab.delete(DEVICE_TAINT_RULES, "all")
        await lab.wait(15)
        assert (await lab.get(PODS, "next"))["status"]["phase"] == "Running"

    serve("resource.k8s.io/v1beta2", scenario)


def _user(name: str, claim: str) -> Obj:
    container = {"name": "c", "image": "x", "resources": {"claims": [{"name": "gpu"}]}}
    spec: Obj = {"containers": [container], "terminationGracePeriodSeconds": 0}
    return {
        "metadata": {"name": name},
        "spec": {**spec, "resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]},
    }
