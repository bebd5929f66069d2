"""The OpenAPI documents, as kubectl and client generators read them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from pilothouse.api.catalog import Catalog, Served
from pilothouse.api.errors import ApiError
from pilothouse.api.protobuf import fields
from pilothouse.api.resources import Resource
from pilothouse.api.schema.types import Types
from pilothouse.apiserver.endpoints.openapi import OpenApi
from pilothouse.apiserver.request import Request, Response

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
PROTOBUF_ANSWER = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def make() -> OpenApi:
    catalog = Catalog()
    made = OpenApi(catalog.definitions, Types(catalog.definitions), "v1.36.1")
    for served in catalog:
        made.add(served)
    return made


@pytest.fixture(scope="module")
def openapi() -> OpenApi:
    return make()


async def get(openapi: OpenApi, path: str, hash_: str = "", **headers: str) -> Response:
    query = {"hash": [hash_]} if hash_ else {}
    return await openapi.handle(
        Request("GET", path, query, {k.replace("_", "-"): v for k, v in headers.items()})
    )


async def document(openapi: OpenApi, path: str) -> Any:
    response = await get(openapi, path)
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


async def test_the_index_lists_every_document(openapi: OpenApi) -> None:
    paths = (await document(openapi, "/openapi/v3"))["paths"]
    assert {"api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version", "openid/v1/jwks"} <= set(paths)
    url = paths["apis/apps/v1"]["serverRelativeURL"]
    assert url.startswith("/openapi/v3/apis/apps/v1?hash=")


async def test_a_hash_that_fits_may_be_kept_forever_and_one_that_does_not_is_sent_on(
    openapi: OpenApi,
) -> None:
    paths = (await document(openapi, "/openapi/v3"))["paths"]
    digest = paths["api/v1"]["serverRelativeURL"].partition("=")[2]
    kept = await get(openapi, "/openapi/v3/api/v1", digest)
    assert kept.headers["Cache-Control"] == "public, immutable"
    moved = await get(openapi, "/openapi/v3/api/v1", "OLD")
    assert (moved.status, moved.headers["Location"]) == (301, f"/openapi/v3/api/v1?hash={digest}")
    same = await get(openapi, "/openapi/v3/api/v1", if_none_match=kept.headers["ETag"])
    assert (same.status, same.body) == (304, b"")


async def test_v3_schemas_tell_defaults_and_enumerations(openapi: OpenApi) -> None:
    schemas = (await document(openapi, "/openapi/v3/apis/apps/v1"))["components"]["schemas"]
    deployment = schemas["io.k8s.api.apps.v1.Deployment"]["properties"]
    assert deployment["spec"]["default"] == {}
    assert deployment["spec"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec"}]
    assert "default" not in schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["selector"]
    assert schemas["io.k8s.api.apps.v1.DeploymentStrategy"]["properties"]["type"]["enum"] == [
        "Recreate",
        "RollingUpdate",
    ]
    port = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]
    assert port["protocol"]["default"] == "TCP"
    assert port["containerPort"] == {
        "description": port["containerPort"]["description"],
        "type": "integer",
        "format": "int32",
        "default": 0,
    }
    number = schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert number["oneOf"] == [{"type": "integer"}, {"type": "string"}]


async def test_a_patch_operation_tells_that_it_validates_fields_and_knows_dry_run(openapi: OpenApi) -> None:
    """kubectl decides by these whether it validates on the server."""
    paths = (await document(openapi, "/openapi/v3/apis/apps/v1"))["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    names = {p["name"] for p in patch["parameters"]}
    assert names == {"dryRun", "fieldManager", "fieldValidation", "force"}
    assert patch["operationId"] == "patchAppsV1NamespacedDeployment"
    assert patch["x-kubernetes-action"] == "patch"
    assert patch["x-kubernetes-group-version-kind"] == {
        "group": "apps",
        "kind": "Deployment",
        "version": "v1",
    }


async def test_no_reference_leads_nowhere(openapi: OpenApi) -> None:
    for name in (await document(openapi, "/openapi/v3"))["paths"]:
        found = await document(openapi, f"/openapi/v3/{name}")
        known = found["components"].get("schemas", {})
        assert {r.removeprefix("#/components/schemas/") for r in references(found)} <= set(known), name
    v2 = await document(openapi, "/openapi/v2")
    targets = {f"#/definitions/{n}" for n in v2["definitions"]} | {
        f"#/parameters/{n}" for n in v2["parameters"]
    }
    assert set(references(v2)) <= targets


async def test_operation_ids_are_unique(openapi: OpenApi) -> None:
    v2 = await document(openapi, "/openapi/v2")
    ids = [
        operation["operationId"]
        for path in v2["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))
    assert {
        "listCoreV1PodForAllNamespaces", "readCoreV1NamespacedPodLog", "createCoreV1NamespacedPodEviction",
        "connectCoreV1GetNamespacedPodExec", "watchCoreV1NamespacedPodList", "replaceCoreV1NodeStatus",
        "deleteRbacAuthorizationV1CollectionNamespacedRole", "getAppsV1APIResources",
    } <= set(ids)  # fmt: skip


async def test_v2_as_protobuf_says_the_same(openapi: OpenApi) -> None:
    v2 = await document(openapi, "/openapi/v2")
    response = await get(openapi, "/openapi/v2", accept=PROTOBUF, accept_encoding="gzip")
    assert response.headers["Content-Type"] == PROTOBUF_ANSWER
    assert response.headers["Content-Encoding"] == "gzip"
    assert isinstance(response.body, bytes)
    found: dict[int, Any] = {}
    for number, content in fields(gzip.decompress(response.body)):
        found.setdefault(number, []).append(content)
    assert found[1] == [b"2.0"]
    definitions = {
        dict(fields(entry))[1].decode(): dict(fields(entry))[2] for _, entry in fields(found[9][0])
    }
    assert set(definitions) == set(v2["definitions"])
    config_map = dict(fields(definitions["io.k8s.api.core.v1.ConfigMap"]))
    properties = {dict(fields(entry))[1] for _, entry in fields(config_map[25])}
    assert properties == {p.encode() for p in v2["definitions"]["io.k8s.api.core.v1.ConfigMap"]["properties"]}
    extension = dict(fields(config_map[31]))
    assert extension[1] == b"x-kubernetes-group-version-kind"
    assert json.loads(dict(fields(extension[2]))[2]) == [{"group": "", "kind": "ConfigMap", "version": "v1"}]
    paths = {dict(fields(entry))[1].decode() for number, entry in fields(found[8][0]) if number == 2}
    assert paths == set(v2["paths"])


async def test_custom_resources_come_and_go() -> None:
    openapi = make()
    before = (await document(openapi, "/openapi/v3"))["paths"]
    resource = Resource("stable.example.com", "v1", "crontabs", "CronTab")
    served = Served(resource, "crontab", ("create", "get", "list", "patch", "watch"))
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"n": {"type": "integer", "nullable": True}}}
        },
    }
    openapi.add(served, schema)
    found = await document(openapi, "/openapi/v3/apis/stable.example.com/v1")
    kind = found["components"]["schemas"]["com.example.stable.v1.CronTab"]
    assert kind["properties"]["spec"]["properties"]["n"] == {"type": "integer", "nullable": True}
    assert kind["x-kubernetes-group-version-kind"] == [
        {"group": "stable.example.com", "kind": "CronTab", "version": "v1"}
    ]
    v2 = await document(openapi, "/openapi/v2")
    simple = v2["definitions"]["com.example.stable.v1.CronTab"]
    assert simple["properties"]["spec"]["properties"]["n"] == {}
    patch = v2["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["consumes"]
    openapi.remove(served)
    assert (await document(openapi, "/openapi/v3"))["paths"] == before
    assert "com.example.stable.v1.CronTab" not in (await document(openapi, "/openapi/v2"))["definitions"]


async def test_what_is_not_there(openapi: OpenApi) -> None:
    missing = await get(openapi, "/openapi/v3/apis/nosuch")
    assert (missing.status, missing.body) == (404, b"")
    other = await get(openapi, "/openapi/v4")
    assert (other.status, other.body) == (404, b"404 page not found\n")


async def test_a_type_that_nobody_has_is_not_acceptable(openapi: OpenApi) -> None:
    with pytest.raises(ApiError) as caught:
        await get(openapi, "/openapi/v3/api/v1", accept="text/html")
    assert caught.value.code == 406
