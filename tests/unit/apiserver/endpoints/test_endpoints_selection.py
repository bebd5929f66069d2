"""Field selectors: which fields a version offers, and how it refuses the others."""

from __future__ import annotations

import pytest

from tests.unit.apiserver.conftest import Api


@pytest.mark.parametrize(
    ("path", "selector", "message"),
    [
        (
            "/api/v1/persistentvolumeclaims",
            "status.phase",
            '"status.phase" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (
            "/api/v1/persistentvolumes",
            "name",
            '"name" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("/api/v1/namespaces", "name", "field label not supported: name"),
        ("/api/v1/nodes", "metadata.namespace", "field label not supported: metadata.namespace"),
        ("/apis/batch/v1/jobs", "status.failed", 'field label "status.failed" not supported for batchv1.Job'),
        (
            "/apis/resource.k8s.io/v1/resourceslices",
            "spec.pool",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.pool",
        ),
        (
            "/apis/events.k8s.io/v1/events",
            "involvedObject.kind",
            "field label not supported: involvedObject.kind",
        ),
    ],
)
def test_a_field_that_is_not_offered(api: Api, path: str, selector: str, message: str) -> None:
    answer = api("GET", f"{path}?fieldSelector={selector}=x")
    assert (answer.code, answer.message) == (400, message)


def test_events_are_selected_by_the_names_of_the_version(api: Api) -> None:
    event = {
        "metadata": {"name": "selected", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "golden-pod"},
        "reason": "Because",
        "type": "Normal",
    }
    assert api("POST", "/api/v1/namespaces/default/events", event).code == 201
    for path, field in (("/api/v1", "involvedObject"), ("/apis/events.k8s.io/v1", "regarding")):
        found = api("GET", f"{path}/events?fieldSelector={field}.name=golden-pod,reason=Because")
        assert [item["metadata"]["name"] for item in found.body["items"]] == ["selected"]


def test_the_name_that_old_clients_use_for_a_pods_node(api: Api) -> None:
    assert api("GET", "/api/v1/pods?fieldSelector=spec.host=n").code == 200
