"""Claims, volumes and those who make them, in a whole cluster in virtual time (pkg/controller/volume)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from pilothouse.api.types import Obj
from pilothouse.controllers import persistent_volume_rules as rules

BY = "persistentvolume-controller"
ZONE = "topology.kubernetes.io/zone"


def volume(name: str, size: str = "1Gi", **spec: Any) -> Obj:
    made = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": "manual"}
    if "local" not in spec and "csi" not in spec:
        made["hostPath"] = {"path": spec.pop("path", "/data")}
    return {"metadata": {"name": name}, "spec": {**made, **spec}}


def claim(name: str, storage_class: str | None = "manual", size: str = "1Gi", **spec: Any) -> Obj:
    wanted: Obj = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    if storage_class is not None:
        wanted["storageClassName"] = storage_class
    return {"metadata": {"name": name}, "spec": wanted}


def pod(name: str, *claims: str, **spec: Any) -> Obj:
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
    container = {"name": "c", "image": "registry.k8s.io/pause:3.10"}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "volumes": volumes, **spec}}


def storage_class(name: str, provisioner: str, mode: str = "Immediate", **more: Any) -> Obj:
    return {"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode, **more}


async def phase(lab: Any, resource: Any, name: str) -> str:
    found: str = (await lab.get(resource, name))["status"]["phase"]
    return found


async def told(lab: Any, name: str) -> list[tuple[str, str]]:
    return [(reason, message) for _, reason, message, _ in await lab.events(name)]


def test_a_claim_gets_the_smallest_volume_that_will_do(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        for name, size in (("big", "9Gi"), ("fit", "3Gi"), ("tiny", "1Gi")):
            await lab.create(PERSISTENT_VOLUMES, volume(name, size))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c", size="2Gi"))
        await lab.wait(2)
        found = await lab.get(PERSISTENT_VOLUME_CLAIMS, "c")
        assert found["spec"]["volumeName"] == "fit"
        assert found["status"] == {
            "phase": "Bound",
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "3Gi"},
        }
        assert await phase(lab, PERSISTENT_VOLUMES, "fit") == "Bound"
        assert await phase(lab, PERSISTENT_VOLUMES, "tiny") == "Available"

    simulate(scenario)


def test_claims_made_at_once_never_share_a_volume(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        for number in range(5):
            await lab.create(PERSISTENT_VOLUMES, volume(f"v{number}"))
            await lab.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{number}"))
        await lab.wait(20)
        claims = await lab.list(PERSISTENT_VOLUME_CLAIMS)
        assert sorted(c["spec"]["volumeName"] for c in claims) == [f"v{n}" for n in range(5)]
        assert {c["status"]["phase"] for c in claims} == {"Bound"}

    simulate(scenario)


def test_a_claim_that_waited_gets_the_volume_that_comes(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
        await lab.create(PODS, pod("p", "c"))
        await lab.wait(5)
        missing = 'storageclass.storage.k8s.io "manual" not found'
        assert ("Warning", "ProvisioningFailed", missing, BY) in await lab.events("c")
        assert await phase(lab, PODS, "p") == "Pending"
        await lab.create(PERSISTENT_VOLUMES, volume("v"))
        await lab.wait(15)
        assert await phase(lab, PERSISTENT_VOLUME_CLAIMS, "c") == "Bound"
        assert await phase(lab, PODS, "p") == "Running"

    simulate(scenario)


def test_a_claim_without_class_says_what_it_lacks_and_takes_a_default_class_later(simulate: Any) -> None:
    """KEP-3333."""

    async def scenario(lab: Any) -> None:
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c", None))
        await lab.wait(2)
        lacks = "no persistent volumes available for this claim and no storage class is set"
        assert ("Normal", "FailedBinding", lacks, BY) in await lab.events("c")
        made = storage_class("std", "pilothouse.dev/simulated")
        made["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
        await lab.create(STORAGE_CLASSES, made)
        await lab.wait(20)
        found = await lab.get(PERSISTENT_VOLUME_CLAIMS, "c")
        assert found["spec"]["storageClassName"] == "std"
        assert found["status"]["phase"] == "Bound"

    simulate(scenario)


def test_a_claim_that_names_its_volume_gets_that_one_or_none(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PERSISTENT_VOLUMES, volume("v"))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("large", size="2Gi", volumeName="v"))
        await lab.wait(2)
        why = 'Cannot bind to requested volume "v": requested PV is too small'
        assert ("Warning", "VolumeMismatch", why, BY) in await lab.events("large")
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("first", volumeName="v"))
        await lab.wait(2)
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("second", volumeName="v"))
        await lab.wait(2)
        assert await phase(lab, PERSISTENT_VOLUME_CLAIMS, "first") == "Bound"
        why = 'volume "v" already bound to a different claim.'
        assert ("Warning", "FailedBinding", why, BY) in await lab.events("second")
        assert await phase(lab, PERSISTENT_VOLUME_CLAIMS, "second") == "Pending"

    simulate(scenario)


def test_a_claim_whose_volume_goes_is_lost(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PERSISTENT_VOLUMES, volume("v"))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c"))
        await lab.wait(2)
        await lab.patch(PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
        await lab.delete(PERSISTENT_VOLUMES, "v")
        await lab.wait(2)
        if await lab.exists(PERSISTENT_VOLUMES, "v"):
            await lab.patch(PERSISTENT_VOLUMES, "v", {"metadata": {"finalizers": None}})
            await lab.wait(2)
        assert await phase(lab, PERSISTENT_VOLUME_CLAIMS, "c") == "Lost"
        lost = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        assert ("Warning", "ClaimLost", lost, BY) in await lab.events("c")

    simulate(scenario)


def test_what_becomes_of_a_volume_is_for_its_policy_to_say(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        kinds = {
            "kept": {"persistentVolumeReclaimPolicy": "Retain"},
            "deleted": {"persistentVolumeReclaimPolicy": "Delete", "path": "/tmp/x"},
            "outside": {"persistentVolumeReclaimPolicy": "Delete", "path": "/x"},
            "recycled": {"persistentVolumeReclaimPolicy": "Recycle"},
        }
        for name, spec in kinds.items():
            await lab.create(PERSISTENT_VOLUMES, volume(name, **spec))
            await lab.create(PERSISTENT_VOLUME_CLAIMS, claim(name, volumeName=name))
        await lab.wait(5)
        for name in kinds:
            assert await phase(lab, PERSISTENT_VOLUME_CLAIMS, name) == "Bound"
            await lab.delete(PERSISTENT_VOLUME_CLAIMS, name)
        await lab.wait(10)
        assert await phase(lab, PERSISTENT_VOLUMES, "kept") == "Released"
        assert not await lab.exists(PERSISTENT_VOLUMES, "deleted")
        assert await phase(lab, PERSISTENT_VOLUMES, "outside") == "Failed"
        assert await phase(lab, PERSISTENT_VOLUMES, "recycled") == "Failed"

    simulate(scenario)


def test_why_a_volume_cannot_be_deleted_or_recycled() -> None:
    """host_path.go hostPathDeleter.Delete, pv_controller.go findDeletablePlugin."""
    outside = "host_path deleter only supports /tmp/.+ but received provided /x"
    assert rules.deletion_of(volume("v", path="/x")).problem == outside
    local = 'error getting deleter volume plugin for volume "v": no deletable volume plugin matched'
    assert rules.deletion_of(volume("v", local={"path": "/mnt"})).problem == local
    assert rules.deletion_of(volume("v", csi={"driver": "d", "volumeHandle": "h"})) == rules.Deletion()


def test_a_class_makes_volumes_for_claims_and_takes_them_away(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STORAGE_CLASSES, storage_class("fast", "pilothouse.dev/simulated"))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c", "fast"))
        await lab.wait(3)
        found = await lab.get(PERSISTENT_VOLUME_CLAIMS, "c")
        name = f"pvc-{found['metadata']['uid']}"
        assert (found["status"]["phase"], found["spec"]["volumeName"]) == ("Bound", name)
        events = await told(lab, "c")
        assert ("ProvisioningSucceeded", f"Successfully provisioned volume {name}") in events
        await lab.delete(PERSISTENT_VOLUME_CLAIMS, "c")
        await lab.wait(5)
        assert not await lab.exists(PERSISTENT_VOLUMES, name)

    simulate(scenario)


def test_a_class_that_nobody_serves_leaves_its_claims_waiting(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(STORAGE_CLASSES, storage_class("other", "csi.example.com"))
        await lab.create(STORAGE_CLASSES, storage_class("none", "kubernetes.io/no-provisioner"))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c", "other"))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("d", "none"))
        await lab.wait(3)
        waiting = (
            "Waiting for a volume to be created either by the external provisioner 'csi.example.com' or manually by "
            "the system administrator. If volume creation is delayed, please verify that the provisioner is running "
            "and correctly registered."
        )
        assert await lab.events("c") == [("Normal", "ExternalProvisioning", waiting, BY)]
        annotations = (await lab.get(PERSISTENT_VOLUME_CLAIMS, "c"))["metadata"]["annotations"]
        assert annotations["volume.kubernetes.io/storage-provisioner"] == "csi.example.com"
        unknown = "no volume plugin matched name: kubernetes.io/no-provisioner"
        assert ("ProvisioningFailed", unknown) in await told(lab, "d")

    simulate(scenario)


def test_a_claim_that_waits_for_a_pod_gets_its_volume_where_the_pod_goes(simulate: Any) -> None:
    """KEP-490: WaitForFirstConsumer with a provisioner."""

    async def scenario(lab: Any) -> None:
        nodes = await lab.names(NODES)
        for name, zone in zip(nodes, "abc", strict=True):
            await lab.label_node(name, **{ZONE: zone})
        late = storage_class(
            "late", "pilothouse.dev/simulated", "WaitForFirstConsumer", parameters={"topologyKey": ZONE}
        )
        await lab.create(STORAGE_CLASSES, late)
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c", "late"))
        await lab.wait(3)
        waiting = "waiting for first consumer to be created before binding"
        assert ("WaitForFirstConsumer", waiting) in await told(lab, "c")
        assert await phase(lab, PERSISTENT_VOLUME_CLAIMS, "c") == "Pending"
        await lab.create(PODS, pod("p", "c", nodeSelector={ZONE: "b"}))
        await lab.wait(10)
        assert await phase(lab, PODS, "p") == "Running"
        found = await lab.get(PERSISTENT_VOLUME_CLAIMS, "c")
        assert found["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == nodes[1]
        made = await lab.get(PERSISTENT_VOLUMES, found["spec"]["volumeName"])
        (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        assert term["matchExpressions"] == [{"key": ZONE, "operator": "In", "values": ["b"]}]
        await lab.create(PODS, pod("q", "c"))
        await lab.wait(5)
        assert (await lab.get(PODS, "q"))["spec"]["nodeName"] == nodes[1]

    simulate(scenario)


def test_a_claim_that_waits_takes_a_volume_that_is_there(simulate: Any) -> None:
    """KEP-490: local volumes, one to a node, each for one pod."""

    async def scenario(lab: Any) -> None:
        nodes = await lab.names(NODES)
        static = storage_class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer")
        await lab.create(STORAGE_CLASSES, static)
        for node in nodes[:2]:
            here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]
            affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}}
            disk = volume(
                f"disk-{node}", local={"path": "/mnt"}, storageClassName="local", nodeAffinity=affinity
            )
            await lab.create(PERSISTENT_VOLUMES, disk)
        for number in range(3):
            await lab.create(PERSISTENT_VOLUME_CLAIMS, claim(f"c{number}", "local"))
            await lab.create(PODS, pod(f"p{number}", f"c{number}"))
        await lab.wait(20)
        placed = {}
        for number in range(3):
            found = await lab.get(PODS, f"p{number}")
            bound = await lab.get(PERSISTENT_VOLUME_CLAIMS, f"c{number}")
            if found["status"]["phase"] == "Running":
                placed[found["spec"]["nodeName"]] = bound["spec"]["volumeName"]
            else:
                (condition,) = found["status"]["conditions"]
                assert "3 node(s) didn't find available persistent volumes to bind" in condition["message"]
        assert placed == {node: f"disk-{node}" for node in nodes[:2]}

    simulate(scenario)


def test_a_pod_whose_volume_is_never_made_tries_again(simulate: Any) -> None:
    """VolumeBinding's bindTimeoutSeconds is ten minutes."""

    async def scenario(lab: Any) -> None:
        await lab.create(STORAGE_CLASSES, storage_class("dead", "csi.example.com", "WaitForFirstConsumer"))
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("c", "dead"))
        await lab.create(PODS, pod("p", "c"))
        await lab.wait(590)
        assert not any(reason == "FailedScheduling" for reason, _ in await told(lab, "p"))
        await lab.wait(30)
        why = 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
        assert ("FailedScheduling", why) in await told(lab, "p")
        assert "nodeName" not in (await lab.get(PODS, "p"))["spec"]

    simulate(scenario)


def test_an_ephemeral_volume_lives_as_long_as_its_pod(simulate: Any) -> None:
    """https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes"""

    async def scenario(lab: Any) -> None:
        await lab.create(
            STORAGE_CLASSES, storage_class("late", "pilothouse.dev/simulated", "WaitForFirstConsumer")
        )
        template = {"metadata": {"labels": {"k": "v"}}, "spec": claim("", "late")["spec"]}
        scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
        await lab.create(PODS, pod("p", volumes=[scratch]))
        await lab.wait(10)
        assert await phase(lab, PODS, "p") == "Running"
        made = await lab.get(PERSISTENT_VOLUME_CLAIMS, "p-scratch")
        assert made["metadata"]["labels"] == {"k": "v"}
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["controller"]) == ("Pod", "p", True)
        await lab.delete(PODS, "p")
        await lab.wait(40)
        assert not await lab.exists(PERSISTENT_VOLUME_CLAIMS, "p-scratch")

    simulate(scenario)


def test_a_pod_does_not_take_a_foreign_claim_for_its_ephemeral_volume(simulate: Any) -> None:
    async def scenario(lab: Any) -> None:
        await lab.create(PERSISTENT_VOLUME_CLAIMS, claim("p-scratch"))
        scratch = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim("")["spec"]}}}
        await lab.create(PODS, pod("p", volumes=[scratch]))
        await lab.wait(5)
        foreign = "PVC default/p-scratch was not created for pod default/p (pod is not owner)"
        assert ("FailedBinding", f"ephemeral volume scratch: {foreign}") in await told(lab, "p")
        assert await phase(lab, PODS, "p") == "Pending"

    simulate(scenario)
