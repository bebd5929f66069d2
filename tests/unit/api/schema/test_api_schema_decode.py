"""What Go's strict decoding followed by encoding makes of an object (k8s.io/apimachinery, sigs.k8s.io/json)."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.api.schema.decode import Decoders, Mismatch
from pilothouse.api.schema.definitions import Definitions
from pilothouse.api.schema.types import Types

TYPES = Types(Definitions.load("1.36"))
DECODERS = Decoders()
CORE = "io.k8s.api.core.v1."
APPS = "io.k8s.api.apps.v1."


def decode(definition: str, value: Any) -> Any:
    obj, unknown = report(definition, value)
    assert unknown == []
    return obj


def report(definition: str, value: Any) -> tuple[Any, list[str]]:
    unknown: list[str] = []
    return DECODERS.of(TYPES.get(definition))(value, unknown), unknown


def test_what_is_always_written_appears() -> None:
    assert decode(APPS + "Deployment", {"metadata": {"name": "a"}}) == {
        "metadata": {"name": "a"},
        "spec": {
            "selector": None,
            "strategy": {},
            "template": {"metadata": {}, "spec": {"containers": None}},
        },
        "status": {},
    }


@pytest.mark.parametrize(
    ("definition", "given", "expected"),
    [
        # values: zero is dropped
        (CORE + "PodSpec", {"containers": [], "hostNetwork": False}, {"containers": []}),
        (CORE + "EnvVar", {"name": "A", "value": ""}, {"name": "A"}),
        # pointers: zero is kept
        (APPS + "ReplicaSetSpec", {"replicas": 0}, {"replicas": 0}),
        (CORE + "SecurityContext", {"privileged": False}, {"privileged": False}),
        # null is absent
        (CORE + "EnvVar", {"name": "A", "value": None}, {"name": "A"}),
        (CORE + "Volume", {"name": "a", "emptyDir": None}, {"name": "a"}),
        # a struct that was given stays, however empty
        (CORE + "Volume", {"name": "a", "emptyDir": {}}, {"name": "a", "emptyDir": {}}),
        # maps and lists with omitempty vanish when empty
        (CORE + "ConfigMap", {"data": {}}, {"metadata": {}}),
        # a quantity that is no pointer is written
        (
            CORE + "ResourceFieldSelector",
            {"resource": "limits.cpu"},
            {"resource": "limits.cpu", "divisor": "0"},
        ),
    ],
)
def test_zeros(definition: str, given: Any, expected: Any) -> None:
    found = decode(definition, given)
    if definition.endswith(("ReplicaSetSpec", "ConfigMap")):
        assert {k: found[k] for k in expected} == expected
        assert "data" not in found
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("1000m", "1"), ("1024Mi", "1Gi"), (1, "1"), (0.5, "500m"), ("1.5Gi", "1536Mi"), ("1e3", "1e3"),
        ("0.1m", "100u"), (" 2 ", "2"), ("1.1Mi", "1153433600m"),
    ],
)  # fmt: skip
def test_quantities_become_canonical(given: Any, canonical: str) -> None:
    assert decode(CORE + "ResourceRequirements", {"limits": {"cpu": given}}) == {"limits": {"cpu": canonical}}


def test_times_become_utc_seconds() -> None:
    meta = decode(
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        {"creationTimestamp": "2020-01-01T02:00:00.5+02:00"},
    )
    assert meta == {"creationTimestamp": "2020-01-01T00:00:00Z"}


def test_unknown_fields_are_reported_in_the_order_of_the_text() -> None:
    obj, unknown = report(
        CORE + "Pod",
        {
            "bogus": 1,
            "metadata": {"name": "a", "oops": 1},
            "spec": {"foo": 1, "containers": [{"name": "c"}, {"name": "d", "nope": []}]},
        },
    )
    assert unknown == ["bogus", "metadata.oops", "spec.foo", "spec.containers[1].nope"]
    assert "bogus" not in obj


@pytest.mark.parametrize(
    ("definition", "given", "text"),
    [
        (
            CORE + "ConfigMap",
            {"metadata": {"labels": []}},
            "json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type "
            "map[string]string",
        ),
        (
            CORE + "ConfigMap",
            {"data": {"a": 5}},
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        (
            CORE + "Pod",
            {"spec": {"containers": [{"command": "x"}]}},
            "json: cannot unmarshal string into Go struct field Container.spec.containers.command of type "
            "[]string",
        ),
        (
            APPS + "Deployment",
            {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1.5}}}},
            "json: cannot unmarshal number 1.5 into Go struct field "
            "RollingUpdateDeployment.spec.strategy.rollingUpdate.maxSurge of type int32",
        ),
        (
            APPS + "Deployment",
            {"spec": {"replicas": 2**31}},
            "json: cannot unmarshal number 2147483648 into Go struct field DeploymentSpec.spec.replicas of "
            "type int32",
        ),
        (
            APPS + "Deployment",
            {"spec": {"strategy": 5}},
            "json: cannot unmarshal number into Go struct field DeploymentSpec.spec.strategy of type "
            "v1.DeploymentStrategy",
        ),
        (
            "io.k8s.api.coordination.v1.Lease",
            {"spec": {"acquireTime": 5}},
            "json: cannot unmarshal number into Go struct field LeaseSpec.spec.acquireTime of type string",
        ),
        (CORE + "Secret", {"data": {"a": "%"}}, "illegal base64 data at input byte 0"),
        (
            CORE + "ResourceRequirements",
            {"limits": {"cpu": "1x"}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            "io.k8s.api.coordination.v1.Lease",
            {"spec": {"renewTime": "2020-01-01T00:00:00Z"}},
            'parsing time "2020-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as '
            '".000000"',
        ),
        (
            CORE + "ConfigMap",
            {"metadata": {"creationTimestamp": "2020-13-01T00:00:00Z"}},
            'parsing time "2020-13-01T00:00:00Z": month out of range',
        ),
    ],
)
def test_misfits_read_as_go_says_them(definition: str, given: Any, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        report(definition, given)
    assert str(caught.value) == text


def test_beta_versions_have_the_facts_of_their_ga_version() -> None:
    claim = decode("io.k8s.api.resource.v1beta1.ResourceClaim", {})
    assert claim["spec"] == {"devices": {"requests": None}}


def test_a_schema_may_hold_itself() -> None:
    schema = {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}
    found = decode("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps", schema)
    assert found == schema


EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # a schema inside a schema is decoded as one
        ({"items": {"type": "string", "nullable": False, "enum": []}}, {"items": {"type": "string"}}),
        ({"items": [{"type": "string", "title": ""}]}, {"items": [{"type": "string"}]}),
        (
            {"additionalProperties": {"type": "string", "id": ""}},
            {"additionalProperties": {"type": "string"}},
        ),
        ({"additionalProperties": False}, {"additionalProperties": False}),
        ({"dependencies": {"a": ["b"]}}, {"dependencies": {"a": ["b"]}}),
        ({"dependencies": {"a": {"type": "string", "id": ""}}}, {"dependencies": {"a": {"type": "string"}}}),
        # and so are those inside that one
        ({"items": {"items": {"items": {"id": ""}}}}, {"items": {"items": {"items": {}}}}),
        # values are kept as they are
        ({"default": {"a": None, "b": []}}, {"default": {"a": None, "b": []}}),
    ],
)
def test_schemas_that_may_stand_for_something_else(given: Any, expected: Any) -> None:
    assert decode(EXTENSIONS + "JSONSchemaProps", given) == expected


def test_unknown_fields_in_them_go_without_a_word() -> None:
    """Their Go types unmarshal themselves, which is never strict (apiextensions/v1/marshal.go)."""
    obj, unknown = report(EXTENSIONS + "JSONSchemaProps", {"items": {"odd": 1, "type": "string"}, "other": 1})
    assert obj == {"items": {"type": "string"}}
    assert unknown == ["other"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"additionalProperties": "x"}, "boolean or JSON schema expected"),
        (
            {"properties": {"a": {"items": {"type": 1}}}},
            "json: cannot unmarshal number into Go struct field JSONSchemaProps.type of type string",
        ),
    ],
)
def test_what_is_wrong_in_them_is_told_without_the_way_there(given: Any, why: str) -> None:
    with pytest.raises(Mismatch) as caught:
        decode(EXTENSIONS + "JSONSchemaProps", given)
    assert str(caught.value) == why
