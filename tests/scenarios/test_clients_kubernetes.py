"""The `kubernetes` package (the official Python client) as its users use it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from kubernetes.aio import watch as aio_watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError
from kubernetes.informer.informer import SharedInformer
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock
from kubernetes.stream import stream

from tests.conftest import Running, start, stop
from tests.scenarios.processes import eventually

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_REMEMBERED = 1024
"""How many events of a resource a server keeps at hand, compacted or not."""


@pytest.fixture(autouse=True)
def configured(shared: Running) -> None:
    config.load_kube_config(str(shared.kubeconfig))


@pytest.fixture
def core() -> client.CoreV1Api:
    return client.CoreV1Api()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"made": "here"}}, "data": data}


def deployment(name: str, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": {"name": name}, "spec": spec}


def refusal(call: Callable[..., Any], *args: Any, **named: Any) -> tuple[int, str, str]:
    """Code, reason and message of a refused call."""
    with pytest.raises(ApiException) as caught:
        call(*args, **named)
    status = json.loads(caught.value.body)
    return caught.value.status, status["reason"], status["message"]


def test_create_read_update_delete(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, config_map("a", k="1"))
    assert made.metadata.uid
    stale = core.read_namespaced_config_map("a", namespace)
    made.data["k"] = "2"
    core.replace_namespaced_config_map("a", namespace, made)
    stale.data["k"] = "3"
    code, reason, message = refusal(core.replace_namespaced_config_map, "a", namespace, stale)
    assert (code, reason) == (409, "Conflict")
    assert message.startswith('Operation cannot be fulfilled on configmaps "a": the object has been modified')
    assert refusal(core.create_namespaced_config_map, namespace, config_map("a"))[:2] == (
        409,
        "AlreadyExists",
    )
    assert core.delete_namespaced_config_map("a", namespace)["status"] == "Success"
    assert refusal(core.read_namespaced_config_map, "a", namespace) == (
        404,
        "NotFound",
        'configmaps "a" not found',
    )


def test_patches_of_each_type(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, config_map("a", k="1"))

    def patch(body: Any, **named: Any) -> dict[str, str]:
        return core.patch_namespaced_config_map("a", namespace, body, **named).data  # type: ignore[no-any-return]

    assert patch({"data": {"s": "2"}}, _content_type=STRATEGIC) == {"k": "1", "s": "2"}
    assert patch({"data": {"k": None}}, _content_type=MERGE) == {"s": "2"}
    assert patch([{"op": "move", "from": "/data/s", "path": "/data/j"}]) == {"j": "2"}
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"j": "3"}}
    named = {"field_manager": "here", "_content_type": APPLY}
    code, reason, message = refusal(core.patch_namespaced_config_map, "a", namespace, applied, **named)
    assert (code, reason) == (409, "Conflict")
    assert message == ('Apply failed with 1 conflict: conflict with "OpenAPI-Generator" using v1: .data.j')
    assert patch(applied, force=True, **named) == {"j": "3"}


def test_pages(core: client.CoreV1Api, namespace: str) -> None:
    for n in range(5):
        core.create_namespaced_config_map(namespace, config_map(f"p{n}"))
    page = core.list_namespaced_config_map(namespace, limit=2)
    assert page.metadata.remaining_item_count == 4  # with kube-root-ca.crt
    names, revision = [m.metadata.name for m in page.items], page.metadata.resource_version
    core.delete_namespaced_config_map("p4", namespace)
    while page.metadata._continue:
        page = core.list_namespaced_config_map(namespace, limit=2, _continue=page.metadata._continue)
        assert page.metadata.resource_version == revision
        names += [m.metadata.name for m in page.items]
    assert names == ["kube-root-ca.crt", "p0", "p1", "p2", "p3", "p4"]


def test_a_watch_goes_on_where_a_list_ended(core: client.CoreV1Api, namespace: str) -> None:
    listed = core.list_namespaced_config_map(namespace, label_selector="made=here")
    core.create_namespaced_config_map(namespace, config_map("a"))
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "1"}})
    core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"made": "there"}}})
    events = watch.Watch().stream(
        core.list_namespaced_config_map,
        namespace,
        label_selector="made=here",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=5,
    )
    seen = [(e["type"], e["object"].data) for _, e in zip(range(3), events, strict=False)]
    assert seen == [("ADDED", None), ("MODIFIED", {"k": "1"}), ("DELETED", {"k": "1"})]


def test_a_watch_is_taken_up_again_when_the_server_ends_it(core: client.CoreV1Api, namespace: str) -> None:
    """`Watch` asks again from the last event's revision; nothing is missed and nothing comes twice."""
    watcher, seen = watch.Watch(return_type="V1ConfigMap"), []
    began = core.list_namespaced_config_map(namespace).metadata.resource_version

    def listing(*args: Any, **named: Any) -> Any:
        """As the client's own call, but the server ends each watch after a second."""
        core.create_namespaced_config_map(namespace, config_map(f"w{len(rounds)}"))
        rounds.append(named.get("resource_version"))
        return core.list_namespaced_config_map(*args, **named, timeout_seconds=1)

    rounds: list[str | None] = []
    for event in watcher.stream(listing, namespace, resource_version=began, deserialize=True):
        seen.append((event["type"], event["raw_object"]["metadata"]["name"]))
        if len(seen) == 2:
            watcher.stop()
    assert seen == [("ADDED", "w0"), ("ADDED", "w1")]
    assert rounds[0] == began
    assert rounds[1] is not None and int(rounds[1]) > int(began)


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cluster that forgets the past after a moment."""
    running = start(
        tmp_path_factory.mktemp("forgetful"), "--ephemeral", "--nodes=0", "--etcd-compaction-interval=500ms"
    )
    yield running
    assert stop(running) == 0


def test_a_revision_of_long_ago_is_gone(forgetful: Running) -> None:
    """410, for a watch as an event, for the rest of a list with a token to go on inconsistently."""
    core = client.CoreV1Api(config.new_client_from_config(str(forgetful.kubeconfig)))
    for n in range(3):
        core.create_namespaced_config_map("default", config_map(f"g{n}"))
    page = core.list_namespaced_config_map("default", limit=1)

    def expired() -> bool:
        core.patch_namespaced_config_map("g0", "default", {"data": {"now": str(time.monotonic())}})
        try:
            core.list_namespaced_config_map("default", limit=1, _continue=page.metadata._continue)
        except ApiException as error:
            told.append(json.loads(error.body))
        return bool(told)

    told: list[dict[str, Any]] = []
    eventually(expired)
    assert (told[0]["code"], told[0]["reason"]) == (410, "Expired")
    rest = core.list_namespaced_config_map("default", _continue=told[0]["metadata"]["continue"])
    assert [m.metadata.name for m in rest.items] == ["g1", "g2", "kube-root-ca.crt"]
    for n in range(_REMEMBERED + 1):
        core.patch_namespaced_config_map("g0", "default", {"data": {"n": str(n)}})
    began = page.metadata.resource_version
    with pytest.raises(ApiException, match="too old resource version") as caught:
        next(watch.Watch().stream(core.list_namespaced_config_map, "default", resource_version=began))
    assert caught.value.status == 410


def test_subresources(core: client.CoreV1Api, namespace: str) -> None:
    apps = client.AppsV1Api()
    apps.create_namespaced_deployment(namespace, deployment("web"))
    scaled = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
    assert (scaled.spec.replicas, scaled.status.selector) == (2, "app=web")
    for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=20):
        if event["object"].status.ready_replicas == 2:
            break
    condition = {"type": "Mine", "status": "True"}
    status = {"spec": {"replicas": 9}, "status": {"conditions": [condition]}}
    patched = apps.patch_namespaced_deployment_status("web", namespace, status)
    assert patched.spec.replicas == 2
    assert "Mine" in {c.type for c in patched.status.conditions}
    pod = core.list_namespaced_pod(namespace, label_selector="app=web").items[0].metadata.name
    eviction = {"metadata": {"name": pod}}
    assert core.create_namespaced_pod_eviction(pod, namespace, eviction).kind == "Status"
    eventually(lambda: pod not in {p.metadata.name for p in core.list_namespaced_pod(namespace).items})
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    eventually(lambda: not core.list_namespaced_pod(namespace).items)


def test_logs_and_streams(core: client.CoreV1Api, namespace: str) -> None:
    pod = {
        "metadata": {"name": "p", "annotations": {"pilothouse.dev/log-lines": "one\ntwo"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    }
    core.create_namespaced_pod(namespace, pod)
    eventually(lambda: core.read_namespaced_pod("p", namespace).status.phase == "Running")
    assert core.read_namespaced_pod_log("p", namespace, tail_lines=1) == "two\n"
    followed = watch.Watch().stream(core.read_namespaced_pod_log, name="p", namespace=namespace)
    assert next(followed) == "one"
    exec_ = core.connect_get_namespaced_pod_exec
    assert stream(exec_, "p", namespace, command=["echo", "hi"], stdout=True, stderr=True) == "hi\n"
    session = stream(
        exec_, "p", namespace, command=["sh", "-c", "exit 3"], stdout=True, _preload_content=False
    )
    session.run_forever(timeout=10)
    assert session.returncode == 3


def test_the_dynamic_client_and_what_it_remembers_of_discovery(
    shared: Running, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "discovery.json"
    first = dynamic.DynamicClient(client.ApiClient(), cache_file=str(file))
    assert first.version["kubernetes"]["gitVersion"].startswith("v1.36.")
    assert file.exists()
    again = dynamic.DynamicClient(client.ApiClient(), cache_file=str(file))
    deployments = again.resources.get(api_version="apps/v1", kind="Deployment")
    assert set(deployments.subresources) == {"status", "scale"}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment("web", replicas=0)}
    deployments.create(body=body, namespace=namespace)
    assert deployments.scale.get(name="web", namespace=namespace).status.selector == "app=web"
    applied = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 2},
    }
    named = {"namespace": namespace, "field_manager": "dynamic"}
    with pytest.raises(ConflictError):
        again.server_side_apply(deployments, applied, **named)
    assert again.server_side_apply(deployments, applied, force_conflicts=True, **named).spec.replicas == 2
    events = again.watch(deployments, namespace=namespace, timeout=5)
    assert next(iter(events))["object"].metadata.name == "web"
    with pytest.raises(NotFoundError):
        deployments.get(name="none", namespace=namespace)


def test_create_from_a_manifest_of_many(namespace: str, core: client.CoreV1Api, tmp_path: Path) -> None:
    scaled_down = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment("d", 0)}
    documents = [
        {"apiVersion": "v1", "kind": "ConfigMap", **config_map("a")},
        {"apiVersion": "v1", "kind": "List", "items": [scaled_down]},
    ]
    file = tmp_path / "all.yaml"
    file.write_text("\n---\n".join(map(json.dumps, documents)))
    utils.create_from_yaml(client.ApiClient(), str(file), namespace=namespace)
    assert core.read_namespaced_config_map("a", namespace)
    assert client.AppsV1Api().read_namespaced_deployment("d", namespace)
    with pytest.raises(utils.FailToCreateError, match="already exists"):
        utils.create_from_yaml(client.ApiClient(), str(file), namespace=namespace)


def test_an_informer_follows_and_looks_at_all_again(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, config_map("a"))
    informer = SharedInformer(
        core.list_namespaced_config_map, namespace=namespace, label_selector="made=here", resync_period=1
    )
    told: list[tuple[str, str]] = []
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        informer.add_event_handler(kind, lambda obj, kind=kind: told.append((kind, obj.metadata.name)))
    informer.start()
    try:
        eventually(lambda: told == [("ADDED", "a")])
        core.create_namespaced_config_map(namespace, config_map("b"))
        core.delete_namespaced_config_map("a", namespace)
        eventually(lambda: ("ADDED", "b") in told and ("DELETED", "a") in told)
        assert informer.cache.list_keys() == [f"{namespace}/b"]
        eventually(lambda: ("MODIFIED", "b") in told)  # the list that comes with each resync
    finally:
        informer.stop()


async def test_the_asynchronous_client(shared: Running, namespace: str) -> None:
    await aio_config.load_kube_config(str(shared.kubeconfig))
    async with aio_client.ApiClient() as api:
        core = aio_client.CoreV1Api(api)
        made = await core.create_namespaced_config_map(namespace, config_map("a", k="1"))
        await core.patch_namespaced_config_map("a", namespace, {"data": {"k": "2"}})
        began = made.metadata.resource_version
        async with aio_watch.Watch() as watcher:
            async for event in watcher.stream(
                core.list_namespaced_config_map, namespace, resource_version=began, timeout_seconds=10
            ):
                assert (event["type"], event["object"].data) == ("MODIFIED", {"k": "2"})
                break


class _Lock(LeaseLock):  # type: ignore[misc]
    """A lock whose holder can lose its network."""

    cut_off = False

    def update(self, *args: Any, **named: Any) -> Any:
        return False if self.cut_off else super().update(*args, **named)


def _run(lock: _Lock, told: list[str]) -> None:
    settings = Config(
        lock,
        lease_duration=3,
        renew_deadline=2,
        retry_period=1,
        onstarted_leading=lambda: told.append(f"{lock.identity} leads"),
        onstopped_leading=lambda: told.append(f"{lock.identity} stopped"),
    )
    # The package takes whole seconds only; here it need not be so slow.
    settings.lease_duration, settings.renew_deadline, settings.retry_period = 1, 0.5, 0.1
    threading.Thread(target=LeaderElection(settings).run, daemon=True).start()


def test_leader_election(namespace: str) -> None:
    told: list[str] = []
    first, second = (_Lock("leader", namespace, name) for name in ("first", "second"))
    _run(first, told)
    eventually(lambda: told == ["first leads"])
    _run(second, told)
    leases = client.CoordinationV1Api()
    assert leases.read_namespaced_lease("leader", namespace).spec.holder_identity == "first"
    first.cut_off = True
    eventually(lambda: told == ["first leads", "first stopped", "second leads"])
    spec = leases.read_namespaced_lease("leader", namespace).spec
    assert spec.holder_identity == "second"
    second.cut_off = True
    eventually(lambda: told[-1] == "second stopped")
