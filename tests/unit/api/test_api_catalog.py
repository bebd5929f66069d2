"""The table of built-in resources (what /apis of a default 1.36 lists)."""

from __future__ import annotations

import pytest

from pilothouse.api.catalog import Catalog, version_priority


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


def test_only_ga_versions_are_on_by_default(catalog: Catalog) -> None:
    assert {s.resource.version for s in catalog} == {"v1", "v2"}
    assert catalog.groups()["autoscaling"] == ["v2", "v1"]


def test_a_resource_with_all_its_names(catalog: Catalog) -> None:
    deployments = catalog.find("apps", "v1", "deployments")
    assert deployments is not None
    assert deployments is catalog.by_kind("apps", "v1", "Deployment")
    assert (deployments.singular, deployments.short_names, deployments.categories) == (
        "deployment", ("deploy",), ("all",),
    )  # fmt: skip
    assert deployments.verbs == (
        "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
    )  # fmt: skip
    scale = deployments.subresources["scale"]
    assert (scale.group, scale.version, scale.kind) == ("autoscaling", "v1", "Scale")


def test_reviews_can_only_be_created(catalog: Catalog) -> None:
    review = catalog.find("authorization.k8s.io", "v1", "subjectaccessreviews")
    assert review is not None
    assert review.verbs == ("create",)
    assert review.storage is None


def test_kinds_of_two_versions_share_a_storage(catalog: Catalog) -> None:
    one = catalog.find("autoscaling", "v1", "horizontalpodautoscalers")
    two = catalog.find("autoscaling", "v2", "horizontalpodautoscalers")
    assert one is not None
    assert two is not None
    assert one.storage == two.storage == two.resource


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("api/beta=true", {"v1", "v1beta1"}),
        ("resource.k8s.io/v1beta1=true", {"v1", "v1beta1"}),
        ("resource.k8s.io/v1beta1/deviceclasses=true", {"v1", "v1beta1"}),
        ("api/all=true,api/alpha=false", {"v1", "v1beta1", "v1beta2"}),
        ("resource.k8s.io/v1=false", set()),
    ],
)
def test_runtime_config_turns_versions_on_and_off(said: str, expected: set[str]) -> None:
    found = {
        s.resource.version
        for s in Catalog(runtime_config=said)
        if s.resource.group == "resource.k8s.io" and s.resource.plural == "deviceclasses"
    }
    if said == "api/beta=true":
        expected = expected | {"v1beta2"}
    assert found == expected


def test_versions_that_newer_models_dropped_are_kept() -> None:
    everything = Catalog(runtime_config="api/all=true")
    known = {(s.resource.group, s.resource.version, s.resource.kind) for s in everything}
    assert set(everything.definitions.listed_kinds()) - known == {("", "v1", "APIGroup")}


def test_a_value_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(ValueError, match="api/beta=true"):
        Catalog(runtime_config="api/all=yes")


def test_ga_comes_before_beta_before_alpha() -> None:
    versions = ["v1alpha1", "v2beta1", "v1", "v1beta2", "v2"]
    assert sorted(versions, key=version_priority) == ["v2", "v1", "v2beta1", "v1beta2", "v1alpha1"]
