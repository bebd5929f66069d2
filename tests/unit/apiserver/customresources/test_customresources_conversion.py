"""Conversion webhooks (https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/
custom-resource-definition-versioning/#webhook-conversion): a real HTTPS server that knows `size` as `large` or not."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from pilothouse.apiserver.customresources.conversion import ByWebhook
from pilothouse.apiserver.webhook_client import WebhookClient, WebhookError
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World, simulated_world

_OLD, _NEW = (Resource("g.example.com", v, "things", "Thing") for v in ("v1", "v2"))
_LARGE = 10


def convert(obj: dict[str, Any], desired: str) -> dict[str, Any]:
    """v1 says spec.size, v2 spec.large."""
    spec = dict(obj.get("spec") or {})
    if desired.endswith("/v2"):
        spec = {"large": spec.get("size", 0) >= _LARGE}
    else:
        spec = {"size": _LARGE if spec.get("large") else 1}
    meta = {**obj["metadata"], "annotations": {"converted": "yes"}}
    return {**obj, "apiVersion": desired, "metadata": meta, "spec": spec}


async def _handle(request: web.Request) -> web.Response:
    review = await request.json()
    asked = review["request"]
    objects = [convert(obj, asked["desiredAPIVersion"]) for obj in asked["objects"]]
    response = {"uid": asked["uid"], "result": {"status": "Success"}, "convertedObjects": objects}
    return web.json_response({**review, "request": None, "response": response})


@asynccontextmanager
async def webhook(directory: Path) -> AsyncIterator[tuple[int, str]]:
    """Its port, and the authority that it is known by."""
    authority = Authority(directory, World())
    pair = authority.server("webhook", ["127.0.0.1", "hook.default.svc"], directory)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pair.certificate, pair.key)
    app = web.Application()
    app.router.add_post("/convert", _handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield runner.addresses[0][1], base64.b64encode(authority.pem.encode()).decode()
    finally:
        await runner.cleanup()


def definition(client_config: dict[str, Any]) -> dict[str, Any]:
    def version(name: str, field: str, kind: str) -> dict[str, Any]:
        spec = {"type": "object", "properties": {field: {"type": kind}}}
        status = {"type": "object", "properties": {"phase": {"type": "string"}}}
        schema = {"type": "object", "properties": {"spec": spec, "status": status}}
        return {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }

    return {
        "metadata": {"name": "things.g.example.com"},
        "spec": {
            "group": "g.example.com",
            "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [version("v1", "size", "integer"), version("v2", "large", "boolean")],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": client_config, "conversionReviewVersions": ["v1"]},
            },
        },
    }


@asynccontextmanager
async def serving(crd: dict[str, Any]) -> AsyncIterator[ResourceClient]:
    cluster = Cluster(ClusterOptions(secure_port=None))
    await cluster.start_server()
    try:
        client = cluster.client()
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
        async with asyncio.timeout(5):
            await _established(client)
        yield client
    finally:
        await cluster.stop()


async def _established(client: ResourceClient) -> None:
    async for batch in client.watch(CUSTOM_RESOURCE_DEFINITIONS):
        for event in batch:
            found = event.object["status"]["conditions"] or ()
            if any(c["type"] == "Established" and c["status"] == "True" for c in found):
                return


def thing(name: str, resource: Resource, **spec: Any) -> dict[str, Any]:
    meta = {"name": name}
    return {"apiVersion": resource.group_version, "kind": "Thing", "metadata": meta, "spec": spec}


async def test_every_version_reads_and_writes_what_another_one_wrote(tmp_path: Path) -> None:
    async with webhook(tmp_path) as (port, bundle):
        config = {"url": f"https://127.0.0.1:{port}/convert", "caBundle": bundle}
        async with serving(definition(config)) as client:
            made = await client.create(_OLD, thing("a", _OLD, size=12), "default")
            assert made["spec"] == {"size": 12}
            seen = await client.get(_NEW, "a", "default")
            assert (seen["apiVersion"], seen["spec"]) == ("g.example.com/v2", {"large": True})
            assert seen["metadata"]["annotations"] == {"converted": "yes"}
            made = await client.create(_NEW, thing("b", _NEW, large=True), "default")
            assert made["spec"] == {"large": True}
            assert (await client.get(_OLD, "b", "default"))["spec"] == {"size": _LARGE}

            changed = await client.patch(_NEW, "a", {"spec": {"large": False}}, "default")
            assert (changed["spec"], changed["metadata"]["generation"]) == ({"large": False}, 2)
            assert (await client.get(_OLD, "a", "default"))["spec"] == {"size": 1}
            status = {"status": {"phase": "Up"}}
            after = await client.patch(_NEW, "a", status, "default", subresource="status")
            assert (after["status"], after["spec"]) == ({"phase": "Up"}, {"large": False})

            listed = await client.list(_NEW)
            assert [item["spec"] for item in listed["items"]] == [{"large": False}, {"large": True}]
            watched = aiter(client.watch(_NEW, "default"))
            assert [event.object["spec"] for event in await anext(watched)] == [
                {"large": False},
                {"large": True},
            ]


class _Known:
    """A lister of one service and its endpoints."""

    def __init__(self, **found: Any) -> None:
        self._found = found

    def get(self, resource: Resource, name: str, namespace: str = "") -> dict[str, Any] | None:
        found: dict[str, Any] | None = self._found.get(resource.plural)
        return found

    def list(self, resource: Resource, namespace: str = "") -> tuple[()]:
        return ()

    def revision(self, resource: Resource) -> int:
        return 0


_SERVICE = {"spec": {"ports": [{"name": "https", "port": 443}]}}


async def test_a_webhook_behind_a_service_is_asked_by_the_service_s_name(tmp_path: Path) -> None:
    review = {"request": {"uid": "u", "desiredAPIVersion": "g/v2", "objects": []}}
    async with webhook(tmp_path) as (port, bundle):
        service = {"namespace": "default", "name": "hook", "path": "/convert"}
        config = {"service": service, "caBundle": bundle}
        there = {"addresses": [{"ip": "127.0.0.1"}], "ports": [{"name": "https", "port": port}]}
        client = WebhookClient(_Known(services=_SERVICE, endpoints={"subsets": [there]}))
        answer = msgspec.json.decode(await client.post(config, msgspec.json.encode(review), 5.0))
        assert answer["response"]["uid"] == "u"
        await client.close()


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({}, 'service "hook" not found'),
        ({"services": {"spec": {"ports": []}}}, 'no service port 443 found for service "hook"'),
        ({"services": _SERVICE}, 'no endpoints available for service "hook"'),
    ],
)
async def test_a_service_that_leads_nowhere(known: dict[str, Any], told: str) -> None:
    client = WebhookClient(_Known(**known))
    with pytest.raises(WebhookError) as caught:
        await client.post({"service": {"namespace": "default", "name": "hook"}}, b"", 1.0)
    assert str(caught.value) == f'Post "https://hook.default.svc:443/": {told}'


_OBJECT = {"apiVersion": "g/v1", "kind": "Thing", "metadata": {"name": "x", "uid": "u"}}
_PREFIX = "conversion webhook for g/v1, Kind=Thing"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda uid: {}, f"{_PREFIX} failed: no response provided"),
        (
            lambda uid: {"response": {"uid": "other"}},
            f'{_PREFIX} failed: expected response.uid="UID", got "other"',
        ),
        (
            lambda uid: {"response": {"uid": uid, "result": {"status": "Failure", "message": "no idea"}}},
            f"{_PREFIX} failed: no idea",
        ),
        (
            lambda uid: {"response": {"uid": uid, "result": {"status": "Success"}}},
            f"{_PREFIX} returned 0 objects, expected 1",
        ),
        (
            lambda uid: _converted(uid, {**_OBJECT, "apiVersion": "g/v3"}),
            f"{_PREFIX} returned invalid converted object at index 0: invalid apiVersion, expected=g/v2, got=g/v3",
        ),
        (
            lambda uid: _converted(
                uid, {**_OBJECT, "apiVersion": "g/v2", "metadata": {"name": "y", "uid": "u"}}
            ),
            f'{_PREFIX} returned invalid converted object at index 0: metadata.name mismatch: "x" != "y"',
        ),
    ],
)
async def test_answers_that_are_none(answer: Callable[[str], dict[str, Any]], told: str) -> None:
    uids: list[str] = []

    async def post(config: dict[str, Any], body: bytes, timeout_s: float) -> bytes:
        uids.append(msgspec.json.decode(body)["request"]["uid"])
        return msgspec.json.encode(answer(uids[0]))

    webhook_ = ByWebhook({"clientConfig": {}, "conversionReviewVersions": ["v1"]}, post, simulated_world(1))
    with pytest.raises(ApiError) as caught:
        await webhook_.convert([_OBJECT], "g/v2")
    assert (caught.value.code, caught.value.message) == (500, told.replace("UID", uids[0]))


def _converted(uid: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"response": {"uid": uid, "result": {"status": "Success"}, "convertedObjects": [obj]}}
