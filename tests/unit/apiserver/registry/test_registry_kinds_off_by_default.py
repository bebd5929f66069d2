"""Kinds that --runtime-config turns on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.apiserver.server import Options
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.kit.virtual_loop import VirtualLoop
from pilothouse.kit.world import simulated_world
from tests.unit.apiserver.conftest import Api


@pytest.fixture(scope="module")
def everything() -> Iterator[Api]:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        serving = Serving(listen=False, server=Options(runtime_config="api/all=true"))
        served = ServedApi(serving, simulated_world(1), CollectorRegistry())
        runner.run(served.start())
        yield Api(runner, served)
        runner.run(served.stop())


def test_a_claim_of_v1beta1_is_stored_in_the_shape_of_v1(everything: Api) -> None:
    claims = "namespaces/default/resourceclaims"
    request = {"name": "r", "deviceClassName": "gpu"}
    body = {"metadata": {"name": "old"}, "spec": {"devices": {"requests": [request]}}}
    made = everything("POST", f"/apis/resource.k8s.io/v1beta1/{claims}", body)
    assert made.code == 201
    exact = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
    assert made.body["spec"]["devices"]["requests"] == [{"name": "r", **exact}]
    stored = everything("GET", f"/apis/resource.k8s.io/v1/{claims}/old")
    assert stored.body["spec"]["devices"]["requests"] == [{"name": "r", "exactly": exact}]


def test_a_slice_of_v1beta1_describes_its_devices_under_basic(everything: Api) -> None:
    basic = {"attributes": {"a": {"string": "x"}}}
    pool = {"name": "p", "resourceSliceCount": 1, "generation": 0}
    spec = {
        "driver": "d.example.com",
        "pool": pool,
        "nodeName": "n",
        "devices": [{"name": "d", "basic": basic}],
    }
    made = everything(
        "POST", "/apis/resource.k8s.io/v1beta1/resourceslices", {"metadata": {"name": "s"}, "spec": spec}
    )
    assert made.body["spec"]["devices"] == [{"name": "d", "basic": basic}]
    stored = everything("GET", "/apis/resource.k8s.io/v1/resourceslices/s")
    assert stored.body["spec"]["devices"] == [{"name": "d", **basic}]


@pytest.mark.parametrize(
    ("name", "spec", "causes"),
    [
        (
            "bundle",
            {"signerName": "example.com/foo", "trustBundle": ""},
            [
                'Invalid value: "bundle": ClusterTrustBundle for signerName example.com/foo must be named with prefix '
                "example.com:foo:",
                'Invalid value: "<value omitted>": at least one trust anchor must be provided',
            ],
        ),
        (
            "a:b",
            {"trustBundle": "-----BEGIN X-----\nAAAA\n-----END X-----\n"},
            [
                'Invalid value: "a:b": ClusterTrustBundle without signer name must not have ":" in its name',
                'Invalid value: "<value omitted>": entry 0 has bad block type: X',
            ],
        ),
    ],
)
def test_trust_bundles(everything: Api, name: str, spec: dict[str, str], causes: list[str]) -> None:
    path = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles"
    answer = everything("POST", path, {"metadata": {"name": name}, "spec": spec})
    assert [message.replace('\\"', '"') for _, message in answer.causes] == [
        c.replace('\\"', '"') for c in causes
    ]


CANDIDATE = {"leaseName": "l", "binaryVersion": "1.36.0", "emulationVersion": "1.35.0"}


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        (
            {
                "leaseName": "l",
                "binaryVersion": "1.36.0",
                "emulationVersion": "1.35.0",
                "strategy": "OldestEmulationVersion",
            },
            [],
        ),
        ({}, ["spec.leaseName", "spec.binaryVersion", "spec.strategy"]),
        (
            {**CANDIDATE, "binaryVersion": "1.34.0", "strategy": "Odd"},
            ["spec.binaryVersion", "spec.strategy.strategy"],
        ),
        (
            {"leaseName": "l", "binaryVersion": "v1", "strategy": "OldestEmulationVersion"},
            ["spec.binaryVersion", "spec.emulationVersion"],
        ),
    ],
)
def test_lease_candidates(everything: Api, spec: dict[str, str], causes: list[str]) -> None:
    path = "/apis/coordination.k8s.io/v1beta1/namespaces/default/leasecandidates?dryRun=All"
    answer = everything("POST", path, {"metadata": {"name": "Upper_is.fine"}, "spec": spec})
    assert [field for field, _ in answer.causes] == causes if causes else answer.code == 201


def test_device_taint_rules(everything: Api) -> None:
    path = "/apis/resource.k8s.io/v1beta2/devicetaintrules"
    spec = {"deviceSelector": {"driver": "d.example.com"}, "taint": {"key": "k", "effect": "NoExecute"}}
    made = everything("POST", path, {"metadata": {"name": "rule"}, "spec": spec})
    assert (made.code, made.body["metadata"]["generation"]) == (201, 1)
    assert made.body["spec"]["taint"]["timeAdded"]
    answer = everything(
        "POST", path, {"metadata": {"name": "bad"}, "spec": {"taint": {"key": "k", "effect": "Odd"}}}
    )
    assert [field for field, _ in answer.causes] == ["spec.taint.effect"]


# -- scheduling.k8s.io/v1alpha2 (zz_generated.validations.go) ---------------------------------------------------------

GROUPS = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/podgroups"
WORKLOADS = "/apis/scheduling.k8s.io/v1alpha2/namespaces/default/workloads"
GANG = {"gang": {"minCount": 2}}
_POLICY = "spec.schedulingPolicy"


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        ({"schedulingPolicy": {}}, [f'{_POLICY}: Invalid value: "": must specify one of: `basic`, `gang`']),
        (
            {"schedulingPolicy": {"basic": {}, **GANG}},
            [f'{_POLICY}: Invalid value: "{{basic, gang}}": must specify exactly one of: `basic`, `gang`'],
        ),
        ({"schedulingPolicy": {"gang": {"minCount": 0}}}, [f"{_POLICY}.gang.minCount: Required value"]),
        (
            {"schedulingPolicy": {"gang": {"minCount": -1}}},
            [f"{_POLICY}.gang.minCount: Invalid value: -1: must be greater than or equal to 1"],
        ),
        (
            {"schedulingPolicy": GANG, "podGroupTemplateRef": {"workload": {"workloadName": ""}}},
            [
                "spec.podGroupTemplateRef.workload.workloadName: Required value",
                "spec.podGroupTemplateRef.workload.podGroupTemplateName: Required value",
            ],
        ),
    ],
)
def test_what_a_pod_group_may_not_say(everything: Api, spec: dict[str, Any], causes: list[str]) -> None:
    refused = everything("POST", GROUPS, {"metadata": {"name": "g"}, "spec": spec})
    assert refused.code == 422
    assert [f"{c['field']}: {c['message']}" for c in refused.body["details"]["causes"]] == causes


def test_a_pod_group_keeps_its_policy_and_loses_what_gates_would_give_it(everything: Api) -> None:
    gated = {
        "schedulingConstraints": {"topology": [{"key": "zone"}]},
        "disruptionMode": "PodGroup",
        "priorityClassName": "system-node-critical",
        "priority": 3,
    }
    body = {"metadata": {"name": "kept"}, "spec": {"schedulingPolicy": GANG, **gated}}
    made = everything("POST", GROUPS, body)
    assert made.code == 201
    assert made.body["spec"] == {"schedulingPolicy": GANG}
    assert "generation" not in made.body["metadata"]
    changed = {**made.body, "spec": {"schedulingPolicy": {"gang": {"minCount": 3}}}}
    refused = everything("PUT", f"{GROUPS}/kept", changed)
    assert refused.body["details"]["causes"][0]["message"].endswith("field is immutable")
    wrong = {**made.body, "status": {"conditions": [{"type": "PodGroupScheduled", "status": "Perhaps"}]}}
    assert everything("PUT", f"{GROUPS}/kept/status", wrong).code == 422


def test_what_a_workload_may_say(everything: Api) -> None:
    workers = {"name": "workers", "schedulingPolicy": GANG}

    def posted(**spec: Any) -> list[str]:
        made = everything("POST", WORKLOADS, {"metadata": {"name": "w"}, "spec": spec})
        return [f"{c['field']}: {c['message']}" for c in made.body.get("details", {}).get("causes", ())]

    assert posted(podGroupTemplates=[]) == ["spec.podGroupTemplates: Required value"]
    assert posted(podGroupTemplates=[{**workers, "name": f"w{i}"} for i in range(9)]) == [
        "spec.podGroupTemplates: Too many: 9: must have at most 8 items"
    ]
    twice = posted(podGroupTemplates=[workers, workers])
    assert [each.partition(": ")[0] for each in twice] == ["spec.podGroupTemplates[1]"]
    assert posted(podGroupTemplates=[{"schedulingPolicy": GANG}], controllerRef={"kind": "a/b"}) == [
        "spec.controllerRef.kind: Invalid value: \"a/b\": may not contain '/'",
        "spec.controllerRef.name: Required value",
        "spec.podGroupTemplates[0].name: Required value",
    ]
    controller = {"apiGroup": "batch", "kind": "Job", "name": "j"}
    assert posted(podGroupTemplates=[{**workers, "priority": 1}], controllerRef=controller) == []
    made = everything("GET", f"{WORKLOADS}/w").body
    assert made["spec"] == {"podGroupTemplates": [workers], "controllerRef": controller}
    other = {**made, "spec": {**made["spec"], "podGroupTemplates": [{**workers, "name": "others"}]}}
    assert everything("PUT", f"{WORKLOADS}/w", other).code == 422
