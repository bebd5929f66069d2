"""Discovery, plain and aggregated (k8s.io/apiserver/pkg/endpoints/discovery)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pilothouse.api.catalog import Catalog, Served
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.apiserver.endpoints.discovery import Discovery
from pilothouse.apiserver.request import Request, Response

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@pytest.fixture
def discovery() -> Discovery:
    made = Discovery("127.0.0.1:6443")
    for served in Catalog():
        made.add(served)
    return made


def get(discovery: Discovery, path: str, **headers: str) -> Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    response = discovery.handle(Request("GET", path, headers=names))
    assert response is not None
    return response


def document(discovery: Discovery, path: str, accept: str = "") -> Any:
    body = get(discovery, path, accept=accept).body
    assert isinstance(body, bytes)
    return json.loads(body)


def test_groups_are_in_upstream_s_order_with_their_preferred_version_first(discovery: Discovery) -> None:
    groups = document(discovery, "/apis")["groups"]
    assert [g["name"] for g in groups[:4]] == [
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
    ]
    autoscaling = next(g for g in groups if g["name"] == "autoscaling")
    assert [v["version"] for v in autoscaling["versions"]] == ["v2", "v1"]
    assert autoscaling["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}


def test_a_group_says_first_what_it_is(discovery: Discovery) -> None:
    """People read it raw: the order of Go's struct."""
    assert list(document(discovery, "/apis/apps"))[:3] == ["kind", "apiVersion", "name"]


def test_a_subresource_of_another_group_names_it(discovery: Discovery) -> None:
    resources = document(discovery, "/apis/apps/v1")["resources"]
    scale = next(r for r in resources if r["name"] == "deployments/scale")
    assert (scale["group"], scale["version"], scale["kind"]) == ("autoscaling", "v1", "Scale")


def test_aggregated_discovery_is_one_document_that_can_be_asked_about(discovery: Discovery) -> None:
    first = get(discovery, "/apis", accept=f"{AGGREGATED},application/json")
    assert first.headers["Content-Type"] == AGGREGATED
    assert isinstance(first.body, bytes)
    apps = next(i for i in json.loads(first.body)["items"] if i["metadata"]["name"] == "apps")
    deployments = next(r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments")
    assert deployments["scope"] == "Namespaced"
    assert [s["subresource"] for s in deployments["subresources"]] == ["scale", "status"]
    again = get(discovery, "/apis", accept=AGGREGATED, if_none_match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


def test_plain_discovery_when_it_is_asked_for_first(discovery: Discovery) -> None:
    assert document(discovery, "/apis", f"application/json,{AGGREGATED}")["kind"] == "APIGroupList"


def test_an_aggregated_version_that_is_not_spoken_is_not_acceptable(discovery: Discovery) -> None:
    with pytest.raises(ApiError) as caught:
        get(discovery, "/apis", accept=AGGREGATED.replace("v=v2", "v=v2beta1"))
    assert caught.value.code == 406


def test_custom_groups_come_last_and_go_again(discovery: Discovery) -> None:
    served = Served(Resource("a.example.com", "v1", "things", "Thing"), "thing", ("get", "list"))
    tag = get(discovery, "/apis", accept=AGGREGATED).headers["ETag"]
    discovery.add(served)
    assert document(discovery, "/apis")["groups"][-1]["name"] == "a.example.com"
    assert document(discovery, "/apis/a.example.com/v1")["resources"][0]["name"] == "things"
    assert get(discovery, "/apis", accept=AGGREGATED).headers["ETag"] != tag
    discovery.remove(served)
    assert discovery.handle(Request("GET", "/apis/a.example.com")) is None
    assert get(discovery, "/apis", accept=AGGREGATED).headers["ETag"] == tag


def test_a_version_that_a_known_group_does_not_have(discovery: Discovery) -> None:
    with pytest.raises(ApiError) as caught:
        get(discovery, "/apis/apps/v9")
    assert caught.value.code == 404
