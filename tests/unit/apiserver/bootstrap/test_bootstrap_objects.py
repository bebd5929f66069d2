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
