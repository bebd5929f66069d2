"""Cells that `kubectl get` shows (pkg/printers/internalversion and apimachinery's duration)."""

from __future__ import annotations

import pytest

from pilothouse.apiserver.registry.tables.admissionregistration import go_label_selector
from pilothouse.apiserver.registry.tables.cells import human_duration, since
from pilothouse.apiserver.registry.tables.certificates import TABLES
from tests.unit.apiserver.conftest import Api


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-2, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (121, "2m1s"), (600, "10m"),
        (10799, "179m"), (10800, "3h"), (11160, "3h6m"), (28800, "8h"), (172799, "47h"),
        (172800, "2d"), (180000, "2d2h"), (691200, "8d"), (63072000, "2y"), (63158400, "2y1d"),
        (252288000, "8y"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units_at_most(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown


def test_an_age_that_is_not_known() -> None:
    assert since(None, 0) == "<unknown>"
    assert since("1970-01-01T00:00:00Z", 60) == "60s"


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({}, "Pending"),
        ({"conditions": [{"type": "Approved"}], "certificate": "x"}, "Approved,Issued"),
        ({"conditions": [{"type": "Approved"}, {"type": "Failed"}]}, "Approved,Failed"),
        ({"conditions": [{"type": "Denied"}]}, "Denied"),
    ],
)
def test_what_became_of_a_signing_request(status: dict[str, object], shown: str) -> None:
    row = TABLES["certificates.k8s.io", "CertificateSigningRequest"].row
    obj = {"metadata": {"name": "r"}, "spec": {"username": "u"}, "status": status}
    assert row(obj, 0)[-1] == shown


def test_a_selector_as_go_prints_it() -> None:
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "Exists"}]}
    assert go_label_selector(selector) == (
        "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{"
        "LabelSelectorRequirement{Key:k,Operator:Exists,Values:[],},},}"
    )


def test_columns_that_upstream_describes_by_an_older_version(api: Api) -> None:
    def described(path: str, column: str) -> str:
        answer = api("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
        found = {c["name"]: c["description"] for c in answer.body["columnDefinitions"]}
        return str(found[column])

    group = "/apis/rbac.authorization.k8s.io/v1"
    assert not described(f"{group}/rolebindings", "Role").endswith("This field is immutable.")
    assert described(f"{group}/clusterrolebindings", "Role").startswith(
        "RoleRef can only reference a ClusterRole"
    )
    requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    assert described(requests, "Requestor") == "Base64-encoded PKCS#10 CSR data"


def test_a_scale_has_a_table_of_its_own(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/default/replicasets"
    labels = {"app": "scaled"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    assert api("POST", path, {"metadata": {"name": "scaled"}, "spec": spec}).code == 201
    answer = api("GET", f"{path}/scaled/scale", accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert [c["name"] for c in answer.body["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert answer.body["rows"][0]["cells"] == ["scaled", 2, 0, "0s"]
