"""What a simulation says is what then happens: the same objects, once in a snapshot, once in an API server with its
controllers and scheduler. A plugin makes every score different, so that nothing is left to chance."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from pilothouse.api.resources import NODES, PODS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.components.controller_manager import USER as MANAGER
from pilothouse.components.controller_manager import ControllerManager
from pilothouse.components.scheduler import USER, SchedulerComponent
from pilothouse.controllers.manager import Settings
from pilothouse.controllers.simulated_provisioner import DRIVER
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from pilothouse.scheduler.config import load
from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.per_node import per_node
from pilothouse.whatif import Snapshot, simulate
from pilothouse.whatif.kinds import kinds
from tests.unit.whatif.clusters import node, pod

CONTROLLERS = (
    "persistentvolume-binder-controller",
    "ephemeral-volume-controller",
    "resourceclaim-controller",
    "simulated-provisioner-controller",
)
CONFIG = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- plugins: {multiPoint: {enabled: [{name: InOrder, weight: 1000}]}}
"""
ZONE = "topology.kubernetes.io/zone"


def in_order(args: Obj, handle: Handle) -> Plugin:
    """Nodes n0, n1, …: the last one is the best."""
    return per_node("InOrder", score=lambda pod, node: 10 * int(node["metadata"]["name"][1:]))


def simulated(cluster: list[Obj], pods: list[Obj]) -> dict[str, tuple[str, str]]:
    """By pod its node, or what it is told."""
    config = load.parse(CONFIG.encode())
    found = simulate(Snapshot(cluster), pods, config=config, plugins={"InOrder": in_order})
    return {each.name: (each.node, each.message) for each in found.placements}


def scheduled(cluster: list[Obj], pods: list[Obj]) -> dict[str, tuple[str, str]]:
    return run_virtual(_scheduled(cluster, pods))


async def _scheduled(objects: list[Obj], pods: list[Obj]) -> dict[str, tuple[str, str]]:
    world = simulated_world(1)
    cluster = Cluster(ClusterOptions(secure_port=None, nodes=0), world)
    await cluster.start_server()
    try:
        client = cluster.client()
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await client.create(SERVICE_ACCOUNTS, account, "default")
        manager = ControllerManager(
            cluster.client(MANAGER, ()),
            lambda name: cluster.client(f"system:serviceaccount:kube-system:{name}", ("system:masters",)),
            world,
            CollectorRegistry(),
            Settings(b"", None),
            CONTROLLERS,
        )
        scheduler = SchedulerComponent(
            cluster.client(USER, ()),
            world,
            CollectorRegistry(),
            load.parse(CONFIG.encode()),
            plugins={"InOrder": in_order},
        )
        tasks = [asyncio.create_task(manager.run())]
        try:
            for obj in (*objects, *pods):
                await _create(client, obj)
            await world.clock.sleep(20)
            tasks.append(asyncio.create_task(scheduler.run()))
            await world.clock.sleep(60)
            found = await client.list(PODS, "default")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await cluster.stop()
    return {each["metadata"]["name"]: _outcome(each) for each in found["items"]}


async def _create(client: ResourceClient, obj: Obj) -> None:
    resource = kinds().resource(obj)
    assert resource is not None
    name = obj["metadata"]["name"]
    await client.create(resource, obj, "default" if resource.namespaced else "")
    if resource == NODES:
        await client.patch(NODES, name, {"status": obj["status"]}, subresource="status")
        await client.patch(NODES, name, {"spec": {"taints": None}})


def _outcome(pod: Obj) -> tuple[str, str]:
    node = pod["spec"].get("nodeName", "")
    conditions = (pod.get("status") or {}).get("conditions") or ()
    told = next((c.get("message", "") for c in conditions if c["type"] == "PodScheduled"), "")
    return node, "" if node else told


# -- generated ------------------------------------------------------------------------------------------------


def _object(kind: str, version: str, name: str, **fields: Any) -> Obj:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **fields}


def _class(name: str, provisioner: str, mode: str, **fields: Any) -> Obj:
    return _object(
        "StorageClass",
        "storage.k8s.io/v1",
        name,
        provisioner=provisioner,
        volumeBindingMode=mode,
        reclaimPolicy="Delete",
        **fields,
    )


CLASSES = [
    _class("made", DRIVER, "WaitForFirstConsumer", parameters={"topologyKey": ZONE}),
    _class("at-once", DRIVER, "Immediate"),
    _class("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"),
    _class("shelf", "kubernetes.io/no-provisioner", "Immediate"),
]
DEVICES = [
    _object("DeviceClass", "resource.k8s.io/v1", "gpu", spec={}),
    _object(
        "ResourceClaimTemplate",
        "resource.k8s.io/v1",
        "gpu",
        spec={"spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}},
    ),
]


def _claim_spec(class_name: str, size: int) -> Obj:
    return {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": class_name,
        "resources": {"requests": {"storage": f"{size}Gi"}},
    }


def _volume(name: str, class_name: str, size: int, on: str) -> Obj:
    spec = {
        "capacity": {"storage": f"{size}Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": class_name,
        "local": {"path": "/d"},
        "nodeAffinity": {
            "required": {
                "nodeSelectorTerms": [
                    {
                        "matchExpressions": [
                            {"key": "kubernetes.io/hostname", "operator": "In", "values": [on]}
                        ]
                    }
                ]
            }
        },
    }
    return _object("PersistentVolume", "v1", name, spec=spec)


def _slice(on: str, count: int) -> Obj:
    spec = {
        "driver": "d.example.com",
        "nodeName": on,
        "pool": {"name": on, "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": f"g{i}"} for i in range(count)],
    }
    return _object("ResourceSlice", "resource.k8s.io/v1", f"slice-{on}", spec=spec)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Obj], list[Obj]]:
    """What is there, and pods that come."""
    names = [f"n{i}" for i in range(draw(st.integers(1, 4)))]
    there = [
        node(name, str(draw(st.integers(1, 5))), labels={ZONE: draw(st.sampled_from("ab"))}) for name in names
    ]
    there += [*CLASSES, *DEVICES]
    there += [_slice(name, draw(st.integers(1, 2))) for name in names if draw(st.booleans())]
    for name in names:
        if draw(st.booleans()):
            driver = {"name": DRIVER, "nodeID": name, "allocatable": {"count": draw(st.integers(1, 2))}}
            there.append(_object("CSINode", "storage.k8s.io/v1", name, spec={"drivers": [driver]}))
    for number in range(draw(st.integers(0, 4))):
        class_name = draw(st.sampled_from(("local", "shelf")))
        size = 2 * number + draw(st.integers(1, 2))  # no two alike: upstream takes any of equals
        there.append(_volume(f"v{number}", class_name, size, draw(st.sampled_from(names))))
    pods = []
    for number in range(draw(st.integers(1, 5))):
        mounts: list[Obj] = []
        for at in range(draw(st.integers(0, 2))):
            wish = _claim_spec(
                draw(st.sampled_from(("made", "at-once", "local", "shelf"))), draw(st.integers(1, 4))
            )
            if draw(st.booleans()):
                mounts.append({"name": f"e{at}", "ephemeral": {"volumeClaimTemplate": {"spec": wish}}})
            else:
                claim = f"c{number}-{at}"
                there.append(_object("PersistentVolumeClaim", "v1", claim, spec=wish))
                mounts.append({"name": f"e{at}", "persistentVolumeClaim": {"claimName": claim}})
        fields: Obj = {"volumes": mounts}
        if draw(st.booleans()):
            fields["resourceClaims"] = [{"name": "g", "resourceClaimTemplateName": "gpu"}]
        pods.append(pod(f"p{number}", str(draw(st.integers(1, 3))), **fields))
    return there, pods


@settings(max_examples=15, deadline=None)
@given(case=clusters())
def test_pods_go_where_the_simulation_said(case: tuple[list[Obj], list[Obj]]) -> None:
    there, pods = case
    assert simulated(there, pods) == scheduled(there, pods)


def test_an_ephemeral_volume_brings_its_claim() -> None:
    """A pod that waits in the snapshot gets one too; a claim of that name that is somebody else's is in the way."""
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": _claim_spec("made", 1)}}}]
    foreign = _object("PersistentVolumeClaim", "v1", "third-scratch", spec=_claim_spec("made", 1))
    there = [node("n0"), *CLASSES, foreign, pod("first", volumes=volumes)]
    found = simulated(there, [pod("second", volumes=volumes), pod("third", volumes=volumes)])
    assert found["first"] == found["second"] == ("n0", "")
    assert (
        "PVC default/third-scratch was not created for pod default/third (pod is not owner)"
        in found["third"][1]
    )
