"""What other servers left in a store: protobuf is read as upstream's kube-apiserver would, what cannot be read is said
to be what it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from pilothouse.api.catalog import Catalog
from pilothouse.api.protobuf import MAGIC, Codec
from pilothouse.api.types import Obj
from pilothouse.apiserver.request import Request
from pilothouse.apiserver.server import Options
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.etcd.contract import KeyValue, Put, Range
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.kit.world import World
from tests.served import ADMIN

_AS_JSON = (b"/registry/apiextensions.k8s.io/", b"/registry/apiregistration.k8s.io/")
"""Upstream stores these as JSON."""

POD: Obj = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "nginx",
                "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "100m", "memory": "1Gi"}},
                "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            }
        ],
    },
}
TARGET = {"type": "Utilization", "averageUtilization": 5}
HPA: Obj = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "h", "namespace": "default"},
    "spec": {
        "minReplicas": 1,
        "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": TARGET}}],
    },
}
LISTED = (
    "/api/v1/pods",
    "/api/v1/namespaces",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/autoscaling/v1/horizontalpodautoscalers",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/networking.k8s.io/v1/ipaddresses",
    "/apis/apiregistration.k8s.io/v1/apiservices",
)


class Opened:
    """A server on a store that the test fills and looks into."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.store: EmbeddedBackend = self.runner.run(_open())
        serving = Serving(listen=False, server=Options())
        self.served = ServedApi(serving, World(), CollectorRegistry(auto_describe=True), self.store)

    def start(self) -> None:
        self.runner.run(self.served.start())

    def close(self) -> None:
        self.runner.run(self.served.stop())
        self.runner.run(self.store.close())
        self.runner.close()

    def ask(self, method: str, path: str, body: Obj | None = None) -> tuple[int, Obj]:
        sent = None if body is None else json.dumps(body).encode()
        path, _, query = path.partition("?")
        headers = {"content-type": "application/json"}
        request = Request(method, path, {"labelSelector": [query]} if query else {}, headers, sent, ADMIN)
        response = self.runner.run(self.served.api.handle(request))
        assert isinstance(response.body, bytes)
        return response.status, json.loads(response.body)

    def put(self, key: bytes, value: bytes) -> None:
        self.runner.run(self.store.put(Put(key, value)))

    def rows(self) -> list[KeyValue]:
        return self.runner.run(self.store.range(Range(b"/registry/", b"/registry0"))).kvs


async def _open() -> EmbeddedBackend:
    return await open_backend(World(), NoLog())


@pytest.fixture
def ours() -> Iterator[Opened]:
    opened = Opened()
    opened.start()
    yield opened
    opened.close()


@pytest.fixture
def fresh() -> Iterator[Opened]:
    opened = Opened()
    yield opened
    opened.close()


def _content(found: Obj) -> list[Obj]:
    items: list[Obj] = found["items"]
    for item in items:
        item["metadata"].pop("resourceVersion")
    return items


def test_a_store_full_of_protobuf_answers_as_one_of_json(ours: Opened, fresh: Opened) -> None:
    assert ours.ask("POST", "/api/v1/namespaces/default/serviceaccounts", _account())[0] in (201, 409)
    status, answer = ours.ask("POST", "/api/v1/namespaces/default/pods", POD)
    assert status == 201, answer
    assert ours.ask("POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", HPA)[0] == 201
    codec = Codec(Catalog().definitions)
    encoded = 0
    for kv in ours.rows():
        value = kv.value
        if not kv.key.startswith(_AS_JSON):
            value = codec.encode(msgspec.json.decode(value))
            encoded += value.startswith(MAGIC)
        fresh.put(kv.key, value)
    assert encoded > 100
    fresh.start()
    for path in LISTED:
        assert _content(fresh.ask("GET", path)[1]) == _content(ours.ask("GET", path)[1]), path
    assert [i["metadata"]["name"] for i in fresh.ask("GET", "/api/v1/pods?app=web")[1]["items"]] == ["web"]


def _account() -> Obj:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}


def test_protobuf_becomes_json_when_it_is_written(ours: Opened) -> None:
    codec = Codec(Catalog().definitions)
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}}
    key = b"/registry/configmaps/default/m"
    ours.put(key, codec.encode({**obj, "data": {"a": "1"}}))
    status, found = ours.ask("GET", "/api/v1/namespaces/default/configmaps/m")
    assert (status, found["data"]) == (200, {"a": "1"})
    found["data"]["b"] = "2"
    assert ours.ask("PUT", "/api/v1/namespaces/default/configmaps/m", found)[0] == 200
    stored = msgspec.json.decode(next(kv.value for kv in ours.rows() if kv.key == key))
    assert stored["data"] == {"a": "1", "b": "2"}


@pytest.mark.parametrize("protobuf", [False, True])
def test_a_value_of_another_version_is_served_in_each(ours: Opened, protobuf: bool) -> None:
    """As a cluster keeps that was upgraded and whose objects nobody wrote since."""
    old = {
        "kind": "HorizontalPodAutoscaler",
        "apiVersion": "autoscaling/v1",
        "metadata": {"name": "h", "namespace": "default", "uid": "u"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "targetCPUUtilizationPercentage": 70,
        },
    }
    value = Codec(Catalog().definitions).encode(old) if protobuf else msgspec.json.encode(old)
    ours.put(b"/registry/horizontalpodautoscalers/default/h", value)
    path = "/namespaces/default/horizontalpodautoscalers/h"
    status, new = ours.ask("GET", f"/apis/autoscaling/v2{path}")
    assert (status, new["apiVersion"]) == (200, "autoscaling/v2")
    assert new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    same = ours.ask("GET", f"/apis/autoscaling/v1{path}")[1]
    assert same["spec"]["targetCPUUtilizationPercentage"] == 70


def test_a_version_that_is_not_served_is_read_where_its_shape_is_the_same(ours: Opened) -> None:
    """1.36 stores these policies as v1beta1."""
    binding = {
        "kind": "MutatingAdmissionPolicyBinding",
        "apiVersion": "admissionregistration.k8s.io/v1beta1",
        "metadata": {"name": "b", "uid": "u"},
        "spec": {"policyName": "p"},
    }
    ours.put(b"/registry/mutatingadmissionpolicybindings/b", msgspec.json.encode(binding))
    path = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings/b"
    status, found = ours.ask("GET", path)
    assert (status, found["apiVersion"]) == (200, "admissionregistration.k8s.io/v1")
    assert found["spec"] == {"policyName": "p"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"k8s:enc:aescbc:v1:key1:\x00\x01\x02", "it is encrypted (aescbc)"),
        (MAGIC + b"\x0a\x0b\x0a\x02v9\x12\x05Thing\x12\x00", "it is protobuf of a kind or version"),
        (b"{broken", "holds no object"),
        (b"", "holds no object"),
    ],
)
def test_what_cannot_be_read_is_called_by_its_name(ours: Opened, value: bytes, said: str) -> None:
    ours.put(b"/registry/secrets/default/s", value)
    status, answer = ours.ask("GET", "/api/v1/namespaces/default/secrets/s")
    assert status == 500
    assert "/registry/secrets/default/s" in answer["message"]
    assert said in answer["message"]
    assert ours.ask("GET", "/api/v1/namespaces/default/configmaps")[0] == 200


def test_stored_values_are_what_an_upstream_server_decodes(ours: Opened) -> None:
    """JSON with kind and version, and without what only an answer has."""
    for kv in ours.rows():
        value = msgspec.json.decode(kv.value)
        assert value["kind"], kv.key
        assert value["apiVersion"], kv.key
        meta = value["metadata"]
        assert "resourceVersion" not in meta, kv.key
        assert "selfLink" not in meta, kv.key
        assert meta["creationTimestamp"], kv.key
        assert meta["uid"], kv.key
