"""The kr8s package as its users use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import kr8s
import kr8s.asyncio
import pytest
import pytest_asyncio
from kr8s.asyncio.objects import APIObject, ConfigMap, Deployment, Pod, Service

from tests.conftest import Running

pytestmark = pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning")


@pytest_asyncio.fixture
async def api(shared: Running, namespace: str) -> AsyncIterator[Any]:
    yield await kr8s.asyncio.api(kubeconfig=str(shared.kubeconfig), namespace=namespace)


async def made(kind: type[APIObject], api: Any, name: str, **obj: Any) -> Any:
    new = await kind({"metadata": {"name": name, "namespace": api.namespace}, **obj}, api=api)
    await new.create()
    return new


async def pod(api: Any, name: str = "p") -> Any:
    meta = {"name": name, "namespace": api.namespace, "annotations": {"pilothouse.dev/log-lines": "one\ntwo"}}
    new = await Pod({"metadata": meta, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}, api=api)
    await new.create()
    await new.wait("condition=Ready", timeout=20)
    return new


async def deployment(api: Any, replicas: int) -> Any:
    labels = {"app": "web"}
    port = {"containerPort": 80}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [port]}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return await made(Deployment, api, "web", spec=spec)


async def test_create_change_delete(api: Any) -> None:
    a = await made(ConfigMap, api, "a", data={"k": "1"})
    await a.patch({"data": {"k": "2"}})
    await a.patch([{"op": "add", "path": "/data/j", "value": "3"}], type="json")
    await a.label(color="red")
    await a.annotate({"note": "b"})
    assert (dict(a.data), dict(a.labels)) == ({"k": "2", "j": "3"}, {"color": "red"})
    found = [m.name async for m in api.get("configmaps", label_selector={"color": "red"})]
    assert found == ["a"]
    await a.delete()
    await a.wait("delete", timeout=10)
    assert not await a.exists()
    with pytest.raises(kr8s.NotFoundError):
        await a.refresh()


async def test_what_the_server_refuses(api: Any) -> None:
    await made(ConfigMap, api, "a")
    with pytest.raises(kr8s.ServerError, match='configmaps "a" already exists') as caught:
        await made(ConfigMap, api, "a")
    assert caught.value.status["reason"] == "AlreadyExists"


async def test_waiting_and_scaling(api: Any) -> None:
    web = await deployment(api, 1)
    await web.wait("condition=Available", timeout=20)
    await web.scale(3)
    await web.wait("jsonpath='{.status.readyReplicas}'=3", timeout=20)
    assert await web.ready()
    assert len(await web.pods()) == 3
    with pytest.raises(TimeoutError):
        await web.wait("condition=Never", timeout=1)


async def test_a_service_finds_its_pods(api: Any) -> None:
    web = await deployment(api, 1)
    await web.wait("condition=Available", timeout=20)
    port = {"port": 80, "targetPort": 80}
    service = await made(Service, api, "web", spec={"selector": {"app": "web"}, "ports": [port]})
    (found,) = await service.ready_pods()
    assert found.labels.app == "web"


async def test_watching(api: Any) -> None:
    a = await made(ConfigMap, api, "a")
    await a.label(mine="yes")
    changes = [a.patch({"data": {"k": "1"}}), a.label(mine="no")]
    seen = []
    async with asyncio.timeout(20):
        async with aclosing(api.watch("configmaps", label_selector={"mine": "yes"})) as events:
            async for kind, found in events:
                seen.append((kind, found.name))
                if not changes:
                    break
                await changes.pop(0)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_logs_and_commands(api: Any) -> None:
    p = await pod(api)
    assert [line async for line in p.logs()] == ["one", "two"]
    done = await p.exec(["echo", "hi"])
    assert (done.stdout, done.returncode) == (b"hi\n", 0)
    failed = await p.exec(["sh", "-c", "exit 3"], check=False)
    assert failed.returncode == 3


async def test_what_the_server_says_of_itself(api: Any) -> None:
    assert (await api.version())["gitVersion"].startswith("v1.36.")
    assert await api.whoami() == "kubernetes-admin"
    kinds = {r["kind"] for r in await api.api_resources()}
    assert {"Pod", "Deployment", "Lease", "EndpointSlice"} <= kinds
    assert (await api.lookup_kind("deploy"))[1:] == ("deployments", True)
