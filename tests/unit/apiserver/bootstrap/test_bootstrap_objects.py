"""The objects that exist from the start."""

from __future__ import annotations

from pilothouse.api.catalog import Catalog
from pilothouse.apiserver.bootstrap.objects import Facts, objects


def test_every_group_has_its_api_service_but_the_aggregators_own() -> None:
    facts = Facts("10.96.0.0/12", "127.0.0.1", 6443, "", "", "2026-01-01T00:00:00Z")
    made = [m.obj for m in objects(facts, Catalog())]
    names = {o["metadata"]["name"] for o in made if o["kind"] == "APIService"}
    assert {"v1.", "v1.apps", "v2.autoscaling"} <= names
    assert "v1.apiregistration.k8s.io" not in names


def _rules(name: str) -> list[tuple[set[str], set[str], set[str]]]:
    facts = Facts("10.96.0.0/12", "127.0.0.1", 6443, "", "", "2026-01-01T00:00:00Z")
    made = [m.obj for m in objects(facts, Catalog())]
    role = next(o for o in made if o["kind"] == "ClusterRole" and o["metadata"]["name"] == name)
    return [(set(r["apiGroups"]), set(r["resources"]), set(r["verbs"])) for r in role["rules"]]


def test_the_scheduler_may_make_claims_for_extended_resources_and_bind_them() -> None:
    """Gates DRAExtendedResource and DRAResourceClaimGranularStatusAuthorization, on in 1.36 (bootstrappolicy)."""
    rules = _rules("system:kube-scheduler")
    assert ({"resource.k8s.io"}, {"resourceclaims"}, {"create", "delete"}) in rules
    assert ({"resource.k8s.io"}, {"resourceclaims/binding"}, {"patch", "update"}) in rules
    assert ({""}, {"pods/finalizers"}, {"update"}) in rules


def test_editors_may_not_write_the_status_of_claims() -> None:
    rules = _rules("system:aggregate-to-edit")
    assert not any("resourceclaims/status" in resources for _, resources, _ in rules)
    assert ({"", "events.k8s.io"}, {"events"}) in [(groups, resources) for groups, resources, _ in rules]
    assert all(rule in _rules("edit") for rule in rules)
    assert all(rule in _rules("admin") for rule in _rules("edit"))
