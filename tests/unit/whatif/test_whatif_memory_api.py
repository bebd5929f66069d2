"""The client whose server is a snapshot answers as a server does, as far as a scheduler asks."""

from __future__ import annotations

import asyncio

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informers
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world
from pilothouse.whatif import Snapshot, volumes
from pilothouse.whatif.memory_api import MemoryApi
from tests.unit.whatif.clusters import node, pod


def made(*objects: Obj) -> MemoryApi:
    return MemoryApi(Snapshot(objects), simulated_world(1), (volumes.react,))


def test_an_informer_follows_it() -> None:
    async def main() -> None:
        api = made(node("a"))
        informers = Informers(api, simulated_world(1))
        pods, nodes = informers.informer(PODS), informers.informer(NODES)
        informers.start()
        await informers.synced()
        assert list(nodes.keys()) == ["a"]
        await api.create(PODS, pod("web"), "default")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert list(pods.keys()) == ["default/web"]
        await api.delete(PODS, "web", "default")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert list(pods.keys()) == []
        assert [gone["metadata"]["name"] for gone in api.deleted] == ["web"]
        await informers.stop()

    run_virtual(main())


def code_of(work: object) -> int:
    with pytest.raises(ApiError) as caught:
        run_virtual(work)  # type: ignore[arg-type]
    return caught.value.code


def test_it_refuses_what_a_server_refuses() -> None:
    api = made(node("a"), pod("web", on="a"))
    binding = {"metadata": {"name": "web"}, "target": {"name": "a"}}
    stale = {**pod("web"), "metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"}}
    assert code_of(api.get(PODS, "nope", "default")) == 404
    assert code_of(api.create(PODS, pod("web"), "default")) == 409
    assert code_of(api.create(PODS, binding, "default", name="web", subresource="binding")) == 409
    assert code_of(api.update(PODS, stale)) == 409
    assert code_of(api.delete(PODS, "web", "default", {"preconditions": {"uid": "another"}})) == 409


def test_a_status_patch_leaves_the_rest() -> None:
    api = made(pod("web"))
    body = {
        "status": {"conditions": [{"type": "PodScheduled", "status": "False"}]},
        "spec": {"nodeName": "x"},
    }
    patched = run_virtual(
        api.patch(PODS, "web", body, "default", patch_type="strategic", subresource="status")
    )
    assert patched["status"]["conditions"] == body["status"]["conditions"]
    assert "nodeName" not in patched["spec"]


def claim(**annotations: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": "default", "annotations": annotations},
        "spec": {"storageClassName": "late", "resources": {"requests": {"storage": "1Gi"}}},
    }


LATE: Obj = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "late"},
    "provisioner": "example.com/disks",
    "volumeBindingMode": "WaitForFirstConsumer",
}


def test_a_claim_gets_a_volume_when_its_node_is_chosen() -> None:
    api = made(LATE, claim())
    assert not list(api.snapshot.list(PERSISTENT_VOLUMES))
    body = {"metadata": {"annotations": {volumes.SELECTED_NODE: "a"}}}
    run_virtual(api.patch(PERSISTENT_VOLUME_CLAIMS, "data", body, "default"))
    found = api.snapshot.get(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    assert found is not None
    assert found["status"]["phase"] == "Bound"
    (volume,) = api.snapshot.list(PERSISTENT_VOLUMES)
    assert found["spec"]["volumeName"] == volume["metadata"]["name"]
    assert volume["spec"]["capacity"] == {"storage": "1Gi"}


def test_a_volume_that_is_set_aside_binds_its_claim() -> None:
    api = made(claim())
    volume: Obj = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "disk"},
        "spec": {"claimRef": {"namespace": "default", "name": "data"}},
    }
    run_virtual(api.create(PERSISTENT_VOLUMES, volume))
    found = api.snapshot.get(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    assert found is not None
    assert found["spec"]["volumeName"] == "disk"


def test_no_provisioner_makes_no_volume() -> None:
    api = made(
        {**LATE, "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"}, claim()
    )
    volumes.claim_written(api, next(iter(api.snapshot.list(PERSISTENT_VOLUME_CLAIMS))))
    assert list(api.snapshot.list(STORAGE_CLASSES))
    assert not list(api.snapshot.list(PERSISTENT_VOLUMES))
