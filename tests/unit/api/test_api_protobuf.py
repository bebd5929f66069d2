"""Kubernetes' protobuf bodies. The golden bytes are put together by hand from the published field numbers."""

from __future__ import annotations

import pytest

from pilothouse.api.protobuf import MAGIC, Codec, fields, varint
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.types import Obj

CODEC = Codec(Definitions.load("1.36"))


def test_a_config_map_byte_by_byte() -> None:
    obj = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": {"k": "v"}}
    message = b"\x0a\x03\x0a\x01c" + b"\x12\x06\x0a\x01k\x12\x01v"
    unknown = b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap" + b"\x12\x0d" + message + b"\x1a\x00\x22\x00"
    assert CODEC.encode(obj) == MAGIC + unknown
    assert CODEC.decode(MAGIC + unknown) == obj


@pytest.mark.parametrize(
    "obj",
    [
        {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                "name": "p",
                "creationTimestamp": "2020-01-01T00:00:00Z",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:x": {}}}}],
            },
            "spec": {
                "volumes": [
                    {"name": "a", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "b", "configMap": {"name": "c", "defaultMode": 420}},
                ],
                "containers": [
                    {
                        "name": "c",
                        "resources": {"limits": {"cpu": "500m"}},
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                        "env": [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                        "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 5},
                        "readinessProbe": {"tcpSocket": {"port": 80}},
                        "stdin": False,
                    }
                ],
                "ephemeralContainers": [{"name": "e", "image": "i", "targetContainerName": "c"}],
                "priority": -5,
            },
        },
        {
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": "s"},
            "data": {"a": "AAE="},
            "immutable": True,
        },
        {
            "kind": "Lease",
            "apiVersion": "coordination.k8s.io/v1",
            "metadata": {},
            "spec": {"renewTime": "2020-01-01T00:00:00.000001Z"},
        },
        {
            "kind": "SubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"extra": {"scopes": ["a", "b"]}, "user": "u"},
        },
        {
            "kind": "CustomResourceDefinition",
            "apiVersion": "apiextensions.k8s.io/v1",
            "spec": {
                "versions": [
                    {
                        "name": "v1",
                        "schema": {
                            "openAPIV3Schema": {
                                "$ref": "x",
                                "maximum": 1.5,
                                "items": {"type": "string"},
                                "enum": ["a", 1, None],
                                "default": {"a": [1]},
                                "additionalProperties": False,
                                "properties": {"a": {"additionalProperties": {"type": "integer"}}},
                                "x-kubernetes-validations": [{"rule": "true"}],
                            }
                        },
                    }
                ]
            },
        },
        {
            "kind": "ValidatingWebhookConfiguration",
            "apiVersion": "admissionregistration.k8s.io/v1",
            "webhooks": [{"name": "w", "rules": [{"apiGroups": ["*"], "operations": ["CREATE"]}]}],
        },
        {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0},
        {"kind": "Status", "apiVersion": "v1", "metadata": {}, "code": 404, "details": {"name": "x"}},
        {
            "kind": "PodList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": "5"},
            "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}],
        },
    ],
    ids=lambda obj: obj["kind"],
)
def test_there_and_back(obj: Obj) -> None:
    assert CODEC.decode(CODEC.encode(obj)) == obj


def test_every_kind_of_the_catalog_has_a_message() -> None:
    definitions = Definitions.load("1.36")
    missing = [k for k in definitions.listed_kinds() if not CODEC.knows(*k)]
    assert missing == []
    assert not CODEC.knows("example.com", "v1", "Status")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "expected prefix [107 56 115 0]"),
        (MAGIC, "empty body"),
        (MAGIC + b"\x0a\x7f", "unexpected EOF"),
        (MAGIC + b"\x0a\x05\x12\x03Foo", 'no kind "Foo" is registered'),
        (MAGIC + b"\x0f", "illegal wireType 7"),
    ],
)
def test_broken_bodies(body: bytes, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        CODEC.decode(body)
    assert text in str(caught.value)


def test_a_field_of_the_wrong_type_is_refused() -> None:
    body = MAGIC + b"\x0a\x0f\x0a\x02v1\x12\x09ConfigMap" + b"\x12\x02\x08\x01"
    with pytest.raises(ValueError, match="wireType"):
        CODEC.decode(body)


def test_a_watch_frame_tells_its_length() -> None:
    frame = CODEC.watch_frame("ADDED", b"body")
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert dict(fields(frame[4:])) == {1: b"ADDED", 2: b"\x0a\x04body"}


@pytest.mark.parametrize(
    ("value", "encoded"), [(0, b"\x00"), (300, b"\xac\x02"), (-1, b"\xff" * 9 + b"\x01")]
)
def test_varints(value: int, encoded: bytes) -> None:
    assert varint(value) == encoded
