"""What admission is asked about, and when (k8s.io/apiserver/pkg/endpoints/handlers, pkg/registry/core/pod/storage)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import ClassVar

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import chain
from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

NS = "ns"


class Recorder(Plugin):
    """Stands in for AlwaysAdmit, and writes down what it is asked."""

    name: ClassVar[str] = "AlwaysAdmit"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.names: list[str] = []
        self.labels: Obj = {}

    async def admit(self, a: Attributes) -> None:
        self._note("admit", a)
        if a.obj is not None and self.labels and a.kind.kind == "ConfigMap":
            a.obj["metadata"]["labels"] = dict(self.labels)

    async def validate(self, a: Attributes) -> None:
        self._note("validate", a)

    def _note(self, phase: str, a: Attributes) -> None:
        if a.resource.plural in ("events", "leases"):
            return
        what = f"{a.resource.plural}/{a.subresource}" if a.subresource else a.resource.plural
        old = " old" if a.old is not None else ""
        self.asked.append(f"{phase} {a.operation} {what} {a.kind.kind}{old}")
        self.names.append(a.name)

    def taken(self) -> list[str]:
        """What was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    made = Recorder()
    monkeypatch.setitem(chain.ORDERED, made.name, chain.Entry(lambda env: made, chain.ON))
    yield made


@asynccontextmanager
async def server(recorder: Recorder) -> AsyncIterator[ResourceClient]:
    options = ClusterOptions(secure_port=None, nodes=0)
    running = Cluster(options, simulated_world(1))
    await running.start_server()
    try:
        client = running.client()
        await client.create(NAMESPACES, {"metadata": {"name": NS}})
        await client.create(SERVICE_ACCOUNTS, {"metadata": {"name": "default"}}, NS)
        recorder.taken()
        yield client
    finally:
        await running.stop()


def both(what: str) -> list[str]:
    return [f"admit {what}", f"validate {what}"]


POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


def test_creates_updates_and_deletes_are_asked_about_as_what_they_are(recorder: Recorder) -> None:
    async def main() -> None:
        async with server(recorder) as client:
            made = await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
            assert recorder.taken() == both("CREATE configmaps ConfigMap")
            await client.update(CONFIG_MAPS, {**made, "data": {"a": "b"}})
            assert recorder.taken() == both("UPDATE configmaps ConfigMap old")
            await client.patch(CONFIG_MAPS, "m", {"data": {"a": "c"}}, NS)
            assert recorder.taken() == both("UPDATE configmaps ConfigMap old")
            applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}}
            for what in ("CREATE configmaps ConfigMap", "UPDATE configmaps ConfigMap old"):
                await client.patch(CONFIG_MAPS, "n", applied, NS, patch_type="apply", fieldManager="me")
                assert recorder.taken() == both(what)
            await client.delete(CONFIG_MAPS, "m", NS)
            assert recorder.taken() == both("DELETE configmaps ConfigMap old")
            await client.delete_collection(CONFIG_MAPS, NS)
            assert recorder.taken() == both("DELETE configmaps ConfigMap old")

    run_virtual(main())


def test_a_name_is_generated_between_both_admissions(recorder: Recorder) -> None:
    async def main() -> None:
        async with server(recorder) as client:
            recorder.names.clear()
            made = await client.create(CONFIG_MAPS, {"metadata": {"generateName": "m-"}}, NS)
            assert recorder.names == ["", made["metadata"]["name"]]

    run_virtual(main())


def test_subresources_are_asked_about_with_objects_of_their_own(recorder: Recorder) -> None:
    async def main() -> None:
        async with server(recorder) as client:
            await client.create(NODES, {"metadata": {"name": "n"}})
            await client.create(PODS, POD, NS)
            recorder.taken()
            binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
            await client.create(PODS, binding, NS, name="p", subresource="binding")
            assert recorder.taken() == both("CREATE pods/binding Binding")
            found = await client.get(PODS, "p", NS)
            await client.update(PODS, {**found, "status": {"phase": "Running"}}, subresource="status")
            assert recorder.taken() == both("UPDATE pods/status Pod old")
            request: Obj = {"spec": {"audiences": ["a"]}}
            await client.create(SERVICE_ACCOUNTS, request, NS, name="default", subresource="token")
            assert recorder.taken() == both("CREATE serviceaccounts/token TokenRequest")
            eviction = {"metadata": {"name": "p"}}
            await client.create(PODS, eviction, NS, name="p", subresource="eviction")
            assert recorder.taken() == both("CREATE pods/eviction Eviction")
            template = {"metadata": {"labels": {"a": "b"}}, "spec": POD["spec"]}
            spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
            await client.create(DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": spec}, NS)
            recorder.taken()
            scale = {"spec": {"replicas": 3}}
            scaled = await client.patch(DEPLOYMENTS, "d", scale, NS, subresource="scale")
            assert recorder.taken() == both("UPDATE deployments/scale Scale old")
            assert scaled["spec"]["replicas"] == 3

    run_virtual(main())


def test_a_pod_that_goes_already_is_not_asked_about_again(recorder: Recorder) -> None:
    async def main() -> None:
        async with server(recorder) as client:
            await client.create(PODS, {**POD, "spec": {**POD["spec"], "nodeName": "n"}}, NS)
            await client.delete(PODS, "p", NS)
            recorder.taken()
            await client.delete(PODS, "p", NS)
            assert recorder.taken() == []
            await client.delete(PODS, "p", NS, {"gracePeriodSeconds": 0})
            assert recorder.taken() == both("DELETE pods Pod old")

    run_virtual(main())


def test_connections_and_reviews_are_asked_about_too(recorder: Recorder) -> None:
    async def main() -> None:
        async with server(recorder) as client:
            await client.create(PODS, POD, NS)
            recorder.taken()
            with pytest.raises(ApiError):
                await client.raw("POST", f"/api/v1/namespaces/{NS}/pods/p/exec")
            assert recorder.taken() == both("CONNECT pods/exec PodExecOptions")
            review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
            await client.raw("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            assert recorder.taken() == both("CREATE selfsubjectaccessreviews SelfSubjectAccessReview")

    run_virtual(main())


def test_what_admission_changes_is_stored_and_belongs_to_nobody_at_creation(recorder: Recorder) -> None:
    """Upstream notes field owners before mutating admission on creates."""

    async def main() -> None:
        async with server(recorder) as client:
            recorder.labels = {"by": "admission"}
            made = await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}, "data": {"a": "b"}}, NS)
            assert made["metadata"]["labels"] == {"by": "admission"}
            fields = [entry["fieldsV1"] for entry in made["metadata"]["managedFields"]]
            assert fields == [{"f:data": {".": {}, "f:a": {}}}]

    run_virtual(main())


def test_owners_that_stand_there_twice_are_dropped_with_a_warning(recorder: Recorder) -> None:
    async def main() -> None:
        async with server(recorder) as client:
            owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
            made = await client.create(
                CONFIG_MAPS, {"metadata": {"name": "m", "ownerReferences": [owner, owner]}}, NS
            )
            assert made["metadata"]["ownerReferences"] == [owner]

    run_virtual(main())
