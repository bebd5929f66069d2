"""The lightkube package as its users use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from lightkube import ApiError, AsyncClient, Client, KubeConfig
from lightkube import operators as op
from lightkube.core.exceptions import ConditionError, ObjectDeleted
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType, PatchType

from tests.conftest import Running
from tests.scenarios.processes import eventually


@pytest.fixture
def client(shared: Running, namespace: str) -> Client:
    return Client(KubeConfig.from_file(str(shared.kubeconfig)), namespace=namespace, field_manager="here")


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, labels={"set": "x"}), data=data)


def pod(name: str, **annotations: str) -> Pod:
    meta = {
        "name": name,
        "annotations": {f"pilothouse.dev/{k.replace('_', '-')}": v for k, v in annotations.items()},
    }
    spec = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx"}]}
    return Pod.from_dict({"metadata": meta, "spec": spec})


def deployment(replicas: int) -> Deployment:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return Deployment.from_dict({"metadata": {"name": "web"}, "spec": spec})


def refusal(call: Callable[..., Any], *args: Any, **named: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as caught:
        call(*args, **named)
    return caught.value.status.code, caught.value.status.message


def test_create_replace_delete(client: Client) -> None:
    made = client.create(config_map("a", k="1"))
    stale = client.get(ConfigMap, "a")
    made.data["k"] = "2"
    assert client.replace(made).metadata.resourceVersion != stale.metadata.resourceVersion
    assert refusal(client.replace, stale)[0] == 409
    client.delete(ConfigMap, "a")
    assert refusal(client.get, ConfigMap, "a") == (404, 'configmaps "a" not found')


def test_patches_of_each_type(client: Client) -> None:
    client.create(config_map("a", k="1"))

    def patch(body: Any, kind: PatchType, **named: Any) -> Any:
        return client.patch(ConfigMap, "a", body, patch_type=kind, **named).data

    assert patch({"data": {"s": "2"}}, PatchType.STRATEGIC) == {"k": "1", "s": "2"}
    assert patch({"data": {"k": None}}, PatchType.MERGE) == {"s": "2"}
    assert patch([{"op": "add", "path": "/data/j", "value": "3"}], PatchType.JSON) == {"s": "2", "j": "3"}
    applied = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="a"), data={"j": "4"})
    assert refusal(patch, applied, PatchType.APPLY, field_manager="other")[0] == 409
    assert patch(applied, PatchType.APPLY, field_manager="other", force=True) == {"s": "2", "j": "4"}


def test_apply_keeps_to_its_own(client: Client) -> None:
    assert client.apply(config_map("a", k="1", gone="soon")).data == {"k": "1", "gone": "soon"}
    client.apply(config_map("a", other="2"), field_manager="other")
    assert client.apply(config_map("a", k="1")).data == {"k": "1", "other": "2"}
    assert refusal(client.apply, config_map("a", other="3")) == (
        409,
        'Apply failed with 1 conflict: conflict with "other": .data.other',
    )


def test_lists_in_chunks_and_selections(client: Client) -> None:
    for n in range(5):
        client.create(config_map(f"p{n}"))
    listed = client.list(ConfigMap, chunk_size=2)
    assert [m.metadata.name for m in listed] == ["kube-root-ca.crt", *(f"p{n}" for n in range(5))]
    assert listed.resourceVersion is not None
    chosen = client.list(ConfigMap, labels={"set": op.in_(["x", "y"])}, fields={"metadata.name": "p3"})
    assert [m.metadata.name for m in chosen] == ["p3"]
    assert [m.metadata.name for m in client.list(ConfigMap, labels={"set": op.not_exists()})] == [
        "kube-root-ca.crt"
    ]
    client.delete(ConfigMap, "p0")
    kind, gone = next(iter(client.watch(ConfigMap, resource_version=listed.resourceVersion)))
    assert (kind, gone.metadata.name) == ("DELETED", "p0")


def test_waiting(client: Client) -> None:
    client.create(deployment(1))
    assert client.wait(Deployment, "web", for_conditions=["Available"]).status.readyReplicas == 1
    client.create(pod("fails", exit_code="1", run_seconds="1"))
    with pytest.raises(ConditionError):
        client.wait(Pod, "fails", for_conditions=["Never"], raise_for_conditions=["Ready"])


def test_waiting_for_what_is_deleted(shared: Running, namespace: str) -> None:
    async def scene() -> None:
        client = AsyncClient(KubeConfig.from_file(str(shared.kubeconfig)), namespace=namespace)
        await client.create(pod("slow", stop_seconds="1"))
        await client.wait(Pod, "slow", for_conditions=["Ready"])
        waiting = asyncio.create_task(client.wait(Pod, "slow", for_conditions=["Never"]))
        await client.delete(Pod, "slow")
        with pytest.raises(ObjectDeleted):
            await asyncio.wait_for(waiting, 10)

    asyncio.run(scene())


def test_subresources(client: Client) -> None:
    client.create(deployment(0))
    assert (
        client.replace(
            Deployment.Scale(metadata=ObjectMeta(name="web"), spec=ScaleSpec(replicas=1)), "web"
        ).spec.replicas
        == 1
    )
    assert client.get(Deployment.Scale, "web").status.selector == "app=web"
    eventually(lambda: (client.get(Deployment, "web").status.readyReplicas or 0) == 1)
    condition = {"type": "Mine", "status": "True"}
    told = client.patch(Deployment.Status, "web", {"status": {"conditions": [condition]}})
    assert "Mine" in {c.type for c in told.status.conditions}
    (one,) = client.list(Pod)
    client.create(Pod.Eviction(metadata=ObjectMeta(name=one.metadata.name)), one.metadata.name)
    eventually(lambda: one.metadata.name not in {p.metadata.name for p in client.list(Pod)})
    client.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    eventually(lambda: not list(client.list(Pod)))


def test_a_log_is_followed_to_its_end(client: Client) -> None:
    client.create(pod("p", log_lines="one\ntwo", run_seconds="1"))
    client.wait(Pod, "p", for_conditions=["Ready"])
    assert list(client.log("p", follow=True)) == ["one\n", "two\n"]
