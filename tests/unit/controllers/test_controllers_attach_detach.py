"""Attaching and detaching (upstream: pkg/controller/volume/attachdetach, whose texts these are), growing of claims, and
attributes classes in use."""

from __future__ import annotations

import asyncio
from typing import Any

from pilothouse.api.resources import (
    CSI_DRIVERS,
    EVENTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    VOLUME_ATTRIBUTES_CLASSES,
)
from pilothouse.api.types import Obj
from pilothouse.api.volumes import SIMULATED_DRIVER
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.controllers import attach_detach_rules as rules
from pilothouse.controllers.manager import Settings
from pilothouse.kit.metrics import new_registry
from tests.unit.controllers.test_controllers_volumes import claim, pod, storage_class

BY = "attachdetach-controller"


async def provision(lab: Any, *pods: Obj, modes: str = "ReadWriteOnce") -> str:
    """A class, a claim "data" of it, and pods; the volume's name."""
    made = storage_class("sim", SIMULATED_DRIVER, allowVolumeExpansion=True)
    await lab.create(STORAGE_CLASSES, made)
    await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("data", "sim", accessModes=[modes]))
    await lab.wait(2)
    for one in pods:
        await lab.create(PODS, one)
    await lab.wait(3)
    name: str = (await lab.get(PERSISTENT_VOLUME_CLAIMS, "data"))["spec"]["volumeName"]
    return name


def on(node: str, name: str, **spec: Any) -> Obj:
    return pod(name, "data", nodeName=node, **spec)


async def attached(lab: Any, node: str) -> list[str]:
    status = (await lab.get(NODES, node))["status"]
    return [v["name"] for v in status.get("volumesAttached") or ()]


async def attachments(lab: Any) -> dict[str, bool]:
    found = await lab.list(VOLUME_ATTACHMENTS)
    return {a["spec"]["nodeName"]: a["status"]["attached"] for a in found}


def test_a_pods_volume_is_attached_and_detached_with_it(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        name = await provision(lab, on("node-0", "p"))
        assert await attachments(lab) == {"node-0": True}
        unique = f"kubernetes.io/csi/{SIMULATED_DRIVER}^{name}"
        assert await attached(lab, "node-0") == [unique]
        assert (await lab.get(NODES, "node-0"))["status"]["volumesInUse"] == [unique]
        [found] = await lab.list(VOLUME_ATTACHMENTS)
        assert found["metadata"]["name"].startswith("csi-")
        assert found["spec"] == {
            "attacher": SIMULATED_DRIVER,
            "nodeName": "node-0",
            "source": {"persistentVolumeName": name},
        }
        text = f'AttachVolume.Attach succeeded for volume "{name}" '
        assert ("Normal", "SuccessfulAttachVolume", text, BY) in await lab.events("p")
        await lab.delete(PODS, "p")
        await lab.wait(40)
        assert await attachments(lab) == {}
        assert await attached(lab, "node-0") == []

    simulate(scenario)


def test_an_exclusive_volume_is_on_one_node_at_a_time(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        name = await provision(lab, on("node-0", "first"), on("node-1", "second"))
        assert await attachments(lab) == {"node-0": True}
        text = f'Multi-Attach error for volume "{name}" Volume is already used by pod(s) first'
        assert ("Warning", "FailedAttachVolume", text, BY) in await lab.events("second")
        await lab.delete(PODS, "first")
        await lab.wait(40)
        assert await attachments(lab) == {"node-1": True}

    simulate(scenario)


def test_a_shared_volume_is_attached_wherever_it_is_wanted(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await provision(lab, on("node-0", "first"), on("node-1", "second"), modes="ReadWriteMany")
        assert await attachments(lab) == {"node-0": True, "node-1": True}

    simulate(scenario)


async def dead_node(lab: Any) -> None:
    """node-9 has the volume mounted and no kubelet; its pod was deleted by force."""
    annotations = {rules.MANAGED: "true"}
    await lab.create(NODES, {"metadata": {"name": "node-9", "annotations": annotations}, "spec": {}})
    name = await provision(lab, on("node-9", "p", tolerations=[{"operator": "Exists"}]))
    [found] = await lab.list(VOLUME_ATTACHMENTS)
    done = {"status": {"attached": True}}
    await lab.patch(VOLUME_ATTACHMENTS, found["metadata"]["name"], done, subresource="status")
    in_use = {"status": {"volumesInUse": [f"kubernetes.io/csi/{SIMULATED_DRIVER}^{name}"]}}
    await lab.patch(NODES, "node-9", in_use, subresource="status")
    await lab.delete(PODS, "p", gracePeriodSeconds=0)
    await lab.wait(60)
    assert await attachments(lab) == {"node-9": True}, "still mounted, for all that anybody knows"


def test_a_volume_of_a_dead_node_is_detached_after_six_minutes(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await dead_node(lab)
        await lab.wait(280)
        assert await attachments(lab) == {"node-9": True}
        await lab.wait(30)
        assert await attachments(lab) == {}

    simulate(scenario)


def test_a_volume_of_a_node_out_of_service_is_detached_at_once(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await dead_node(lab)
        taint = {"key": rules.OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}
        taints = (await lab.get(NODES, "node-9"))["spec"].get("taints") or []
        await lab.patch(NODES, "node-9", {"spec": {"taints": [*taints, taint]}})
        await lab.wait(2)
        assert await attachments(lab) == {}

    simulate(scenario)


def test_attachments_of_others_stay(simulate: Any) -> None:
    """Nobody wants them, and they are not the controller's: those of tests, and of whoever attaches by hand."""

    async def scenario(lab: Any) -> None:
        name = await provision(lab)
        spec = {
            "attacher": "other.example.com",
            "nodeName": "node-1",
            "source": {"persistentVolumeName": name},
        }
        await lab.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "mine"}, "spec": spec})
        await lab.patch(VOLUME_ATTACHMENTS, "mine", {"status": {"attached": True}}, subresource="status")
        await lab.create(PODS, on("node-0", "p"))
        await lab.wait(3)
        await lab.delete(PODS, "p")
        await lab.wait(60)
        assert await attachments(lab) == {"node-1": True}
        assert await attached(lab, "node-1") == []

    simulate(scenario)


def test_a_manager_that_starts_anew_detaches_what_nobody_wants(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        name = await provision(lab)
        spec = {"attacher": SIMULATED_DRIVER, "nodeName": "node-1", "source": {"persistentVolumeName": name}}
        await lab.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "left"}, "spec": spec})
        await lab.wait(2)
        manager = ControllerManager(
            lab.client,
            lab.cluster._account_client,
            lab.world,
            new_registry(),
            Settings("", None),
            ["attachdetach"],
        )
        task = asyncio.create_task(manager.run())
        await lab.wait(2)
        assert await attachments(lab) == {}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    simulate(scenario)


def test_an_attachment_does_not_outlive_its_volumes_object(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await dead_node(lab)
        source = {"persistentVolumeName": "never-there"}
        spec = {"attacher": "x.io", "nodeName": "node-9", "source": source}
        await lab.create(VOLUME_ATTACHMENTS, {"metadata": {"name": "by-hand"}, "spec": spec})
        # Claim and volume go before the six minutes are over.
        await lab.delete(PERSISTENT_VOLUME_CLAIMS, "data")
        await lab.wait(30)
        assert await lab.list(PERSISTENT_VOLUMES) == []
        left = [a["metadata"]["name"] for a in await lab.list(VOLUME_ATTACHMENTS)]
        assert left == ["by-hand"], "that one is somebody else's"

    simulate(scenario)


def test_texts_of_multi_attach_errors() -> None:
    def one(namespace: str, name: str) -> Obj:
        return {"metadata": {"namespace": namespace, "name": name}}

    def text(*others: Obj) -> str:
        return rules.multi_attach_text("v", one("a", "waits"), list(others)).removeprefix(
            'Multi-Attach error for volume "v" Volume is already '
        )

    assert text() == "exclusively attached to one node and can't be attached to another"
    assert text(one("a", "p")) == "used by pod(s) p"
    assert text(one("b", "p")) == "used by 1 pod(s) in different namespaces"
    assert text(one("a", "p"), one("b", "p")) == "used by pod(s) p and 1 pod(s) in different namespaces"


def test_a_claim_grows(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        name = await provision(lab)
        bigger = {"spec": {"resources": {"requests": {"storage": "3Gi"}}}}
        await lab.patch(PERSISTENT_VOLUME_CLAIMS, "data", bigger)
        await lab.wait(3)
        found = await lab.get(PERSISTENT_VOLUME_CLAIMS, "data")
        assert found["status"]["capacity"] == {"storage": "3Gi"}
        assert "conditions" not in found["status"]
        assert (await lab.get(PERSISTENT_VOLUMES, name))["spec"]["capacity"] == {"storage": "3Gi"}
        waits = "waiting for an external controller to expand this PVC"
        told = await lab.events("data")
        assert ("Normal", "ExternalExpanding", waits, "volume_expand") in told
        [done] = [e for e in await lab.list(EVENTS) if e["reason"] == "VolumeResizeSuccessful"]
        assert done["count"] == 1

    simulate(scenario)


def test_a_node_grows_the_file_system_of_another_drivers_volume(simulate: Any) -> None:
    """What a driver's resizer leaves to the kubelet (FileSystemResizePending), when a pod runs with the claim."""

    async def scenario(lab: Any) -> None:
        source = {"csi": {"driver": "disks.example.com", "volumeHandle": "d-1"}}
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            **source,
        }
        await lab.create(PERSISTENT_VOLUMES, {"metadata": {"name": "disk"}, "spec": spec})
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("data", "", volumeName="disk"))
        await lab.wait(3)
        status = {
            "allocatedResources": {"storage": "3Gi"},
            "allocatedResourceStatuses": {"storage": "NodeResizePending"},
            "conditions": [{"type": "FileSystemResizePending", "status": "True"}],
        }
        await lab.patch(PERSISTENT_VOLUME_CLAIMS, "data", {"status": status}, subresource="status")
        await lab.wait(3)
        before = (await lab.get(PERSISTENT_VOLUME_CLAIMS, "data"))["status"]
        assert before["capacity"] == {"storage": "1Gi"}, "nothing runs with it"
        await lab.create(PODS, on("node-0", "p"))
        await lab.wait(2)
        (attachment,) = await lab.list(VOLUME_ATTACHMENTS)
        name = attachment["metadata"]["name"]
        await lab.patch(VOLUME_ATTACHMENTS, name, {"status": {"attached": True}}, subresource="status")
        await lab.wait(5)
        after = (await lab.get(PERSISTENT_VOLUME_CLAIMS, "data"))["status"]
        assert after["capacity"] == {"storage": "3Gi"}
        assert "allocatedResourceStatuses" not in after and "conditions" not in after
        message = 'MountVolume.NodeExpandVolume succeeded for volume "disk" node-0'
        told = [event[:3] for event in await lab.events("p")]
        assert ("Normal", "FileSystemResizeSuccessful", message) in told

    simulate(scenario)


def test_an_attributes_class_stays_while_a_claim_names_it(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        fast = {"metadata": {"name": "fast"}, "driverName": SIMULATED_DRIVER, "parameters": {"iops": "9"}}
        await lab.create(VOLUME_ATTRIBUTES_CLASSES, fast)
        await lab.create(STORAGE_CLASSES, storage_class("sim", SIMULATED_DRIVER))
        wants = claim("data", "sim", volumeAttributesClassName="fast")
        await lab.create(PERSISTENT_VOLUME_CLAIMS, wants)
        await lab.wait(2)
        await lab.delete(VOLUME_ATTRIBUTES_CLASSES, "fast")
        await lab.wait(2)
        kept = await lab.get(VOLUME_ATTRIBUTES_CLASSES, "fast")
        assert kept["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
        await lab.delete(PERSISTENT_VOLUME_CLAIMS, "data")
        await lab.wait(5)
        assert not await lab.exists(VOLUME_ATTRIBUTES_CLASSES, "fast")

    simulate(scenario)


def test_containers_start_once_their_volumes_are_attached(simulate: Any) -> None:
    """Kubelets wait for status.attached, and say so after two minutes; where a driver needs no attachment they do
    not wait."""

    async def scenario(lab: Any) -> None:
        await provision(lab, on("node-0", "p"))
        assert (await lab.get(PODS, "p"))["status"]["phase"] == "Running"
        for driver in ("slow.example.com", "none.example.com"):
            short = driver.partition(".")[0]
            spec = {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "csi": {"driver": driver, "volumeHandle": short},
                "claimRef": {"namespace": "default", "name": short},
                "storageClassName": "none",
            }
            await lab.create(PERSISTENT_VOLUMES, {"metadata": {"name": short}, "spec": spec})
            await lab.create(PERSISTENT_VOLUME_CLAIMS, claim(short, "none"))
        await lab.create(
            CSI_DRIVERS, {"metadata": {"name": "none.example.com"}, "spec": {"attachRequired": False}}
        )
        await lab.wait(2)
        await lab.create(PODS, pod("now", "none", nodeName="node-0"))
        await lab.create(PODS, pod("later", "slow", nodeName="node-0"))
        await lab.wait(10)
        assert (await lab.get(PODS, "now"))["status"]["phase"] == "Running"
        status = (await lab.get(PODS, "later"))["status"]
        assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
        assert not [e for e in await lab.events("later") if e[1] == "FailedMount"]
        await lab.wait(120)
        text = (
            "Unable to attach or mount volumes: unmounted volumes=[slow], unattached volumes=[slow], "
            "failed to process volumes=[]: context deadline exceeded"
        )
        assert [e[:3] for e in await lab.events("later") if e[1] == "FailedMount"] == [
            ("Warning", "FailedMount", text)
        ]
        [waiting] = [a for a in await lab.list(VOLUME_ATTACHMENTS) if not a["status"]["attached"]]
        await lab.client.patch(
            VOLUME_ATTACHMENTS,
            waiting["metadata"]["name"],
            {"status": {"attached": True}},
            subresource="status",
        )
        await lab.wait(0.2)
        assert (await lab.get(PODS, "later"))["status"]["phase"] == "Running"

    simulate(scenario)


def test_a_volume_gets_other_attributes(simulate: Any) -> None:
    """As external-resizer does it: a class that is not there is waited for."""

    async def scenario(lab: Any) -> None:
        name = await provision(lab)
        wanted = {"spec": {"volumeAttributesClassName": "gold"}}
        await lab.patch(PERSISTENT_VOLUME_CLAIMS, "data", wanted)
        await lab.wait(3)
        status = (await lab.get(PERSISTENT_VOLUME_CLAIMS, "data"))["status"]
        assert status["modifyVolumeStatus"] == {"status": "Pending"}
        assert "currentVolumeAttributesClassName" not in status
        gold = {"metadata": {"name": "gold"}, "driverName": SIMULATED_DRIVER, "parameters": {"iops": "9"}}
        await lab.create(VOLUME_ATTRIBUTES_CLASSES, gold)
        await lab.wait(3)
        status = (await lab.get(PERSISTENT_VOLUME_CLAIMS, "data"))["status"]
        assert status["currentVolumeAttributesClassName"] == "gold"
        assert "modifyVolumeStatus" not in status
        assert "conditions" not in status
        assert (await lab.get(PERSISTENT_VOLUMES, name))["spec"]["volumeAttributesClassName"] == "gold"
        told = [e[1:3] for e in await lab.events("data") if e[1].startswith("VolumeModify")]
        assert told == [
            ("VolumeModify", "external resizer is modifying volume data with vac gold"),
            ("VolumeModifySuccessful", "external resizer modified volume data with vac gold successfully "),
        ]

    simulate(scenario)


def test_a_claim_of_an_attributes_class_has_it_when_it_is_bound(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        gold = {"metadata": {"name": "gold"}, "driverName": SIMULATED_DRIVER, "parameters": {"iops": "9"}}
        await lab.create(VOLUME_ATTRIBUTES_CLASSES, gold)
        await lab.create(STORAGE_CLASSES, storage_class("sim", SIMULATED_DRIVER))
        made = claim("data", "sim")
        made["spec"]["volumeAttributesClassName"] = "gold"
        await lab.create(PERSISTENT_VOLUME_CLAIMS, made)
        await lab.wait(3)
        found = await lab.get(PERSISTENT_VOLUME_CLAIMS, "data")
        assert found["status"]["currentVolumeAttributesClassName"] == "gold"
        assert not [e for e in await lab.events("data") if e[1].startswith("VolumeModify")]

    simulate(scenario)
