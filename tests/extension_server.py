"""A small extension API server over HTTPS: fruits with list and watch, custom and external metrics, discovery, OpenAPI.

It believes who asks only of a front proxy whose certificate it checks, as k8s.io/apiserver does with what it reads in
kube-system/extension-apiserver-authentication."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from pilothouse.kit.certificates import Authority
from pilothouse.kit.world import World

GROUP, VERSION = "garden.example.com", "v1alpha1"
PREFIX = f"/apis/{GROUP}/{VERSION}"
_GROUPS = {
    (GROUP, VERSION): [
        {
            "name": "fruits",
            "singularName": "fruit",
            "namespaced": True,
            "kind": "Fruit",
            "verbs": ["create", "get", "list", "watch"],
            "shortNames": ["fr"],
        }
    ],
    ("custom.metrics.k8s.io", "v1beta2"): [
        {
            "name": "pods/requests",
            "singularName": "",
            "namespaced": True,
            "kind": "MetricValueList",
            "verbs": ["get"],
        }
    ],
    ("external.metrics.k8s.io", "v1beta1"): [
        {
            "name": "depth",
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
    ],
}


class ExtensionServer:
    """`known` are the PEM of the front proxies' CA and the names that are allowed; `host` is where it listens."""

    def __init__(
        self, directory: Path, services: list[str], known: dict[str, str], host: str = "127.0.0.1"
    ) -> None:
        self.authority = Authority(directory / "extension", World())
        pair = self.authority.server("serving", services)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*pair)
        self._tls.load_verify_locations(cadata=known["requestheader-client-ca-file"])
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._allowed = json.loads(known["requestheader-allowed-names"])
        self._host = host
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.aggregated_discovery = False
        self.fruits: list[dict[str, Any]] = [{"metadata": {"name": "apple"}, "colour": "red"}]
        self.talks_nonsense = False
        """About what it serves."""
        self.more = asyncio.Event()
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        """Method, path with query, identity and forwarding headers (lower-case names)."""
        self.pod_metric = "1"
        self.external_metric = "1"

    @property
    def ca_bundle(self) -> str:
        return base64.b64encode(self.authority.pem.encode()).decode()

    async def __aenter__(self) -> ExtensionServer:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._runner is not None
        self.more.set()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        subject = dict(pair[0] for pair in request.transport.get_extra_info("peercert")["subject"])
        if subject["commonName"] not in self._allowed:
            return web.json_response({"kind": "Status", "status": "Failure", "code": 401}, status=401)
        told: dict[str, list[str]] = {}
        for name, value in request.headers.items():
            told.setdefault(name.lower(), []).append(value)
        self.requests.append((request.method, request.path_qs, told))
        path = request.path
        if self.talks_nonsense and not path.startswith(f"{PREFIX}/"):
            return web.json_response({"resources": [7], "paths": [[]], "items": "x"})
        if path == "/apis" and self.aggregated_discovery:
            return self._aggregated()
        for (group, version), resources in _GROUPS.items():
            if path == f"/apis/{group}/{version}":
                return web.json_response(
                    {"kind": "APIResourceList", "groupVersion": f"{group}/{version}", "resources": resources}
                )
        if path == "/openapi/v3":
            url = f"/openapi/v3{PREFIX}?hash=1"
            return web.json_response({"paths": {PREFIX[1:]: {"serverRelativeURL": url}}})
        if path == f"/openapi/v3{PREFIX}":
            return web.json_response({"openapi": "3.0.0", "paths": {f"{PREFIX}/fruits": {}}})
        if path == "/openapi/v2":
            return web.json_response(_v2())
        if path.startswith("/apis/custom.metrics.k8s.io"):
            return web.json_response(self._pod_metrics(path))
        if path.startswith("/apis/external.metrics.k8s.io"):
            return web.json_response(self._external_metrics())
        if path.startswith(f"{PREFIX}/namespaces/default/fruits"):
            return await self._fruits(request)
        return web.json_response({"kind": "Status", "status": "Failure", "code": 404}, status=404)

    async def _fruits(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/fruits/echo"):
            return await self._echo(request)
        if request.method == "POST":
            fruit = await request.json()
            self.fruits.append(fruit)
            return web.json_response(self._fruit(fruit), status=201)
        if request.query.get("watch") == "true":
            return await self._watch(request)
        name = request.path.rpartition("/fruits")[2].strip("/")
        if name:
            return web.json_response(
                self._fruit(next(f for f in self.fruits if f["metadata"]["name"] == name))
            )
        items = [self._fruit(f) for f in self.fruits]
        head = {"kind": "FruitList", "apiVersion": f"{GROUP}/{VERSION}", "metadata": {"resourceVersion": "7"}}
        return web.json_response({**head, "items": items})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "application/json"})
        await stream.prepare(request)
        for fruit in self.fruits:
            event = {"type": "ADDED", "object": self._fruit(fruit)}
            await stream.write(json.dumps(event).encode() + b"\n")
        await self.more.wait()
        return stream

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("echo.example.com",))
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(b"you said " + message.data)
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(f"you wrote {message.data}")
        return socket

    def _fruit(self, fruit: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "Fruit", "apiVersion": f"{GROUP}/{VERSION}", **fruit}

    def _aggregated(self) -> web.Response:
        resources = [
            {
                "resource": "fruits",
                "responseKind": {"group": GROUP, "version": VERSION, "kind": "Fruit"},
                "scope": "Namespaced",
                "singularResource": "fruit",
                "verbs": ["get", "list"],
            }
        ]
        items = [{"metadata": {"name": GROUP}, "versions": [{"version": VERSION, "resources": resources}]}]
        body = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items}
        media_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        return web.Response(body=json.dumps(body).encode(), headers={"Content-Type": media_type})

    def _pod_metrics(self, path: str) -> dict[str, Any]:
        namespace = path.split("/namespaces/")[1].split("/")[0]
        item = {
            "describedObject": {"kind": "Pod", "namespace": namespace, "name": self.pod, "apiVersion": "/v1"},
            "metric": {"name": "requests"},
            "timestamp": "2026-01-01T00:00:00Z",
            "value": self.pod_metric,
        }
        return {
            "kind": "MetricValueList",
            "apiVersion": "custom.metrics.k8s.io/v1beta2",
            "metadata": {},
            "items": [item],
        }

    pod = "p"
    """Whose metric is told."""

    def _external_metrics(self) -> dict[str, Any]:
        item = {
            "metricName": "depth",
            "metricLabels": {},
            "timestamp": "2026-01-01T00:00:00Z",
            "value": self.external_metric,
        }
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": "external.metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": [item],
        }


def _v2() -> dict[str, Any]:
    meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    fruit = "com.example.garden.v1alpha1.Fruit"
    answer = {"description": "OK", "schema": {"$ref": f"#/definitions/{fruit}"}}
    return {
        "swagger": "2.0",
        "paths": {
            f"{PREFIX}/fruits": {"get": {"responses": {"200": answer}}},
            "/version/": {"get": {"responses": {}}},
        },
        "definitions": {
            fruit: {"properties": {"metadata": {"$ref": f"#/definitions/{meta}"}}},
            meta: {"description": "Another one than the server's own."},
            "unused": {},
        },
    }


def api_service(
    server: ExtensionServer, service: str, group: str = GROUP, version: str = VERSION
) -> dict[str, Any]:
    """Of a group's version that `server` serves, behind a service of `default`."""
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": server.ca_bundle,
            "service": {"namespace": "default", "name": service, "port": server.port},
        },
    }


def external_service(name: str, host: str) -> dict[str, Any]:
    """Named by a host that is no pod."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "ExternalName", "externalName": host},
    }
