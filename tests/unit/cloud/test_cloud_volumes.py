"""Volumes of a cloud, from claim to deletion (https://kubernetes-csi.github.io/docs/sidecar-containers.html)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from pilothouse.api.types import Obj
from pilothouse.cloud.provider import CloudError, Instance, NoRoom
from tests.unit.cloud.conftest import Cloud, Lab, Simulate
from tests.unit.cloud.paper_volumes import PaperVolumes

CLAIMS, VOLUMES = PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES


async def _class(lab: Lab, **more: Any) -> None:
    provisioner = {"provisioner": "paper.example.com", "parameters": {"type": "thick"}}
    await lab.create(
        STORAGE_CLASSES, {"metadata": {"name": "paper"}, "allowVolumeExpansion": True, **provisioner, **more}
    )


async def _claim(lab: Lab, name: str = "data") -> Obj:
    spec: Obj = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "paper",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return await lab.create(CLAIMS, {"metadata": {"name": name}, "spec": spec})


async def _zoned_node(lab: Lab, name: str, zone: str) -> None:
    lab.machines.known[name] = Instance(f"paper:///{name}", zone=zone)
    await lab.node(name, annotations={"volumes.kubernetes.io/controller-managed-attach-detach": "true"})
    capacity = {"cpu": "4", "memory": "8Gi", "pods": "10"}
    body = {"status": {"capacity": capacity, "allocatable": capacity}}
    await lab.client.patch(NODES, name, body, patch_type="strategic", subresource="status")
    await lab.wait(1)


def _pod(name: str = "user", node: str = "") -> Obj:
    spec: Obj = {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
    }
    if node:
        spec["nodeName"] = node
    return {"metadata": {"name": name}, "spec": spec}


async def _bound(lab: Lab) -> Obj:
    claim = await lab.get(CLAIMS, "data")
    assert claim["status"]["phase"] == "Bound"
    return await lab.get(VOLUMES, claim["spec"]["volumeName"])


def test_a_claim_gets_a_volume_that_goes_with_it(simulate: Simulate) -> None:
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        claim = await _claim(lab)
        await lab.wait(3)
        volume = await _bound(lab)
        name = f"pvc-{claim['metadata']['uid']}"
        assert volume["spec"]["csi"] == {
            "driver": "paper.example.com",
            "volumeHandle": f"id-{name}",
            "fsType": "ext4",
            "volumeAttributes": {"made": "up"},
        }
        (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"] == [
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"]}
        ]
        assert volumes.requests[0].parameters == {"type": "thick"}
        assert volumes.requests[0].tags["kubernetes.io/created-for/pvc/name"] == "data"
        assert (
            "cloud.pilothouse.dev/provisioning"
            not in (await lab.get(CLAIMS, "data"))["metadata"]["finalizers"]
        )
        await lab.client.delete(CLAIMS, "data", "default")
        await lab.wait(3)
        assert not await lab.exists(VOLUMES, name)
        assert volumes.made == {}

    simulate(scenario, Cloud(volumes=volumes))


def test_a_claim_that_waits_for_its_pod_gets_a_volume_in_the_pods_zone(simulate: Simulate) -> None:
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        for name, zone in (("n1", "a"), ("n2", "b")):
            await _zoned_node(lab, name, zone)
        await _class(lab, volumeBindingMode="WaitForFirstConsumer")
        await _claim(lab)
        await lab.wait(3)
        assert volumes.requests == []
        pod = _pod()
        pod["spec"]["nodeSelector"] = {"topology.kubernetes.io/zone": "b"}
        await lab.create(PODS, pod)
        await lab.wait(3)
        assert volumes.requests[0].places == ({"topology.kubernetes.io/zone": "b"},)
        await _bound(lab)
        assert (await lab.get(PODS, "user"))["spec"]["nodeName"] == "n2"

    simulate(scenario, Cloud(volumes=volumes))


def test_a_full_zone_sends_the_scheduler_to_another(simulate: Simulate) -> None:
    volumes = PaperVolumes(failing=NoRoom("zone b is full"))

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab, volumeBindingMode="WaitForFirstConsumer")
        await _claim(lab)
        await lab.create(PODS, _pod())
        await lab.wait(3)
        message = 'failed to provision volume with StorageClass "paper": zone b is full'
        assert ("Warning", "ProvisioningFailed", message) in [e[:3] for e in await lab.events("data")]
        volumes.failing = None
        await lab.wait(30)
        await _bound(lab)

    simulate(scenario, Cloud(volumes=volumes))


def test_a_volume_whose_making_was_not_answered_is_not_left_behind(simulate: Simulate) -> None:
    volumes = PaperVolumes(stuck=True)

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        await _claim(lab)
        await lab.wait(2)
        assert len(volumes.made) == 1
        await lab.client.delete(CLAIMS, "data", "default")
        await lab.wait(10)
        assert not await lab.exists(CLAIMS, "data")
        assert volumes.made == {}

    simulate(scenario, Cloud(volumes=volumes))


def test_a_claim_that_no_cloud_has_room_for_can_be_deleted(simulate: Simulate) -> None:
    volumes = PaperVolumes(failing=NoRoom("full"))

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        await _claim(lab)
        await lab.wait(2)
        await lab.client.delete(CLAIMS, "data", "default")
        await lab.wait(5)
        assert not await lab.exists(CLAIMS, "data")

    simulate(scenario, Cloud(volumes=volumes))


def test_a_volume_is_attached_while_a_pod_uses_it_and_never_twice(simulate: Simulate) -> None:
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        for name in ("n1", "n2"):
            await _zoned_node(lab, name, "a")
        await _class(lab)
        await _claim(lab)
        await lab.wait(3)
        volume = await _bound(lab)
        handle = volume["spec"]["csi"]["volumeHandle"]
        await lab.create(PODS, _pod("user", "n1"))
        await lab.wait(3)
        assert volumes.attached == {handle: "n1"}
        (attachment,) = (await lab.client.list(VOLUME_ATTACHMENTS))["items"]
        assert attachment["status"] == {"attached": True, "attachmentMetadata": {"device": "/dev/paper"}}
        assert attachment["metadata"]["finalizers"] == ["external-attacher/paper-example-com"]
        attached = (await lab.get(NODES, "n1"))["status"]["volumesAttached"]
        assert attached == [{"name": f"kubernetes.io/csi/paper.example.com^{handle}", "devicePath": ""}]
        await lab.client.delete(PODS, "user", "default", {"gracePeriodSeconds": 0})
        await lab.create(PODS, _pod("user", "n2"))
        await lab.wait(20)
        assert volumes.attached == {handle: "n2"}

    simulate(scenario, Cloud(volumes=volumes))


def test_a_volumes_object_stays_until_the_volume_is_off(simulate: Simulate) -> None:
    """Without it nobody would know what to detach."""
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab, reclaimPolicy="Retain")
        await _claim(lab)
        await lab.wait(3)
        name = (await _bound(lab))["metadata"]["name"]
        await lab.create(PODS, _pod("user", "n1"))
        await lab.wait(3)
        assert "external-attacher/paper-example-com" in (await _bound(lab))["metadata"]["finalizers"]
        volumes.failing = CloudError("come again")
        await lab.client.delete(PODS, "user", "default", {"gracePeriodSeconds": 0})
        await lab.client.delete(CLAIMS, "data", "default")
        await lab.wait(3)
        await lab.client.delete(VOLUMES, name)
        await lab.wait(3)
        assert await lab.exists(VOLUMES, name) and volumes.attached
        volumes.failing = None
        await lab.wait(60)
        assert not await lab.exists(VOLUMES, name) and not volumes.attached

    simulate(scenario, Cloud(volumes=volumes))


def test_a_node_that_is_gone_lets_go_of_its_volumes(simulate: Simulate) -> None:
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        await _claim(lab)
        await lab.create(PODS, _pod("user", "n1"))
        await lab.wait(3)
        assert list(volumes.attached.values()) == ["n1"]
        del lab.machines.known["n1"]
        await lab.set_ready("n1", "Unknown")
        await lab.wait(120)
        assert not await lab.exists(NODES, "n1")
        assert volumes.attached == {}

    simulate(scenario, Cloud(volumes=volumes))


def test_why_a_volume_is_not_attached_or_detached_stands_in_the_attachment(simulate: Simulate) -> None:
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        await _claim(lab)
        await lab.wait(3)
        volumes.failing = CloudError("the instance is stopped")
        await lab.create(PODS, _pod("user", "n1"))
        await lab.wait(3)
        (attachment,) = (await lab.client.list(VOLUME_ATTACHMENTS))["items"]
        assert attachment["status"]["attached"] is False
        assert attachment["status"]["attachError"]["message"] == "the instance is stopped"
        volumes.failing = None
        await lab.wait(30)
        (attachment,) = (await lab.client.list(VOLUME_ATTACHMENTS))["items"]
        assert attachment["status"]["attached"] is True and "attachError" not in attachment["status"]

    simulate(scenario, Cloud(volumes=volumes))


def test_a_claim_that_asks_for_more_grows(simulate: Simulate) -> None:
    volumes = PaperVolumes()

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        await _claim(lab)
        await lab.wait(3)
        volumes.failing = CloudError("too early")
        more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
        await lab.client.patch(CLAIMS, "data", more, "default")
        await lab.wait(3)
        events = [event[:3] for event in await lab.events("data")]
        assert any(reason == "VolumeResizeFailed" and "too early" in text for _, reason, text in events)
        volumes.failing = None
        await lab.wait(30)
        claim, volume = await lab.get(CLAIMS, "data"), await _bound(lab)
        assert claim["status"]["capacity"] == {"storage": "3Gi"}
        assert not claim["status"].get("conditions")
        assert volume["spec"]["capacity"] == {"storage": "3Gi"}
        assert [v.size_bytes for v in volumes.made.values()] == [3 * 2**30]

    simulate(scenario, Cloud(volumes=volumes))


def test_a_file_system_is_the_nodes_to_grow(simulate: Simulate) -> None:
    volumes = PaperVolumes(grows_on_node=True)

    async def scenario(lab: Lab) -> None:
        await _zoned_node(lab, "n1", "a")
        await _class(lab)
        await _claim(lab)
        await lab.wait(3)
        more = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
        await lab.client.patch(CLAIMS, "data", more, "default")
        await lab.wait(3)
        status = (await lab.get(CLAIMS, "data"))["status"]
        assert status["capacity"] == {"storage": "1Gi"}
        assert [c["type"] for c in status["conditions"]] == ["FileSystemResizePending"]
        assert status["allocatedResourceStatuses"] == {"storage": "NodeResizePending"}
        assert (await _bound(lab))["spec"]["capacity"] == {"storage": "3Gi"}

    simulate(scenario, Cloud(volumes=volumes))
