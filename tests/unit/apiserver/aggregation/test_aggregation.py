"""API services of others, with a real extension API server over HTTPS."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.apiserver.request import Request, Response, UserInfo
from pilothouse.apiserver.server import Options
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.kit.world import World
from tests.extension_server import GROUP, PREFIX, VERSION, ExtensionServer, api_service, external_service
from tests.served import ADMIN

NAME = f"{VERSION}.{GROUP}"
SERVICES = "/api/v1/namespaces/default/services"
API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
FRUITS = f"{PREFIX}/namespaces/default/fruits"
ANN = UserInfo("ann", "u-1", ("gardeners, old", "system:masters"), {"example.com/Role%": ("a", "b")})


class Garden:
    """A server, and an extension behind the service `garden`."""

    def __init__(self, served: ServedApi, extension: ExtensionServer) -> None:
        self.served = served
        self.extension = extension

    async def ask(
        self, method: str, path: str, body: Any = None, user: UserInfo = ADMIN, **headers: str
    ) -> Response:
        parts = urlsplit(path)
        sent = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        data = None if body is None else json.dumps(body).encode()
        query = parse_qs(parts.query, keep_blank_values=True)
        return await self.served.api.handle(Request(method, parts.path, query, sent, data, user))

    async def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        response = await self.ask(method, path, body, **headers)
        assert response.status < 300, response.body
        return json.loads(await whole(response))

    async def condition(self) -> dict[str, str]:
        found = await self.json("GET", f"{API_SERVICES}/{NAME}")
        conditions = found.get("status", {}).get("conditions") or [{}]
        return {k: v for k, v in conditions[0].items() if k != "lastTransitionTime"}

    async def is_reached(self) -> bool:
        """The condition is written before the proxy has read it."""
        return (await self.ask("GET", PREFIX)).status == 200

    async def becomes(self, reason: str) -> dict[str, str]:
        async def there() -> bool:
            return (await self.condition()).get("reason") == reason

        await eventually(there)
        return await self.condition()


async def whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


async def eventually(condition: Callable[[], Any], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not await condition():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def garden(tmp_path: Path, *, published: bool = True, listen: bool = False) -> AsyncIterator[Garden]:
    served = ServedApi(
        Serving(listen=listen, server=Options(secure_port=0)), World(), CollectorRegistry(auto_describe=True)
    )
    await served.start()
    try:
        path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
        found = await served.api.handle(Request("GET", path, {}, {}, None, ADMIN))
        assert isinstance(found.body, bytes)
        known = json.loads(found.body)["data"]
        async with ExtensionServer(tmp_path, ["garden.default.svc"], known) as extension:
            made = Garden(served, extension)
            await made.json("POST", SERVICES, external_service("garden", "127.0.0.1"))
            await made.json("POST", API_SERVICES, api_service(extension, "garden"))
            if published:
                await made.becomes("Passed")
                await eventually(made.is_reached)
            yield made
    finally:
        await served.stop()


async def test_a_request_goes_to_the_extension_with_who_asks(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        g.extension.requests.clear()
        response = await g.ask(
            "GET",
            f"{FRUITS}?labelSelector=a%3Db%2Cc&limit=5",
            user=ANN,
            accept="application/json",
            authorization="Bearer secret",
            x_remote_user="root",
            x_own="kept",
        )
        assert response.status == 200
        assert json.loads(await whole(response))["items"][0]["colour"] == "red"
        [(method, path, told)] = [r for r in g.extension.requests if "/fruits" in r[1]]
        assert (method, path) == ("GET", f"{FRUITS}?labelSelector=a%3Db%2Cc&limit=5")
        assert told["x-remote-user"] == ["ann"]
        assert told["x-remote-uid"] == ["u-1"]
        assert told["x-remote-group"] == ["gardeners, old", "system:masters"]
        assert told["x-remote-extra-example.com%2frole%25"] == ["a", "b"]
        assert told["x-own"] == ["kept"]
        assert "authorization" not in told
        assert not any(name.startswith("impersonate") for name in told)
        assert told["x-forwarded-uri"] == [FRUITS]


async def test_writes_go_through_and_refusals_of_this_server_come_first(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        pear = {"metadata": {"name": "pear"}, "colour": "green"}
        assert (await g.ask("POST", FRUITS, pear)).status == 201
        assert (await g.json("GET", f"{FRUITS}/pear"))["colour"] == "green"
        before = len(g.extension.requests)
        refused = await g.ask("GET", FRUITS, user=UserInfo("alice", groups=("system:authenticated",)))
        assert refused.status == 403
        assert len(g.extension.requests) == before


async def test_a_watch_streams(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        response = await g.ask("GET", f"{FRUITS}?watch=true")
        assert not isinstance(response.body, bytes)
        chunks = aiter(response.body)
        event = json.loads(await anext(chunks))
        assert event["type"] == "ADDED" and event["object"]["metadata"]["name"] == "apple"
        await response.body.aclose()  # type: ignore[attr-defined]


async def test_clients_in_the_process_watch_as_well(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        request = Request("GET", FRUITS, {"watch": ["true"]}, {}, None, ADMIN, in_process=True)
        response = await g.served.api.handle(request)
        assert response.stream is not None
        [(kind, fruit)] = await anext(response.stream)
        assert (kind, fruit["metadata"]["name"]) == ("ADDED", "apple")
        await response.stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("aggregated", [False, True])
async def test_discovery_has_the_extensions_groups(tmp_path: Path, aggregated: bool) -> None:
    async with garden(tmp_path, published=False) as g:
        g.extension.aggregated_discovery = aggregated
        await g.becomes("Passed")

        async def entry() -> Any:
            found = await g.json("GET", "/apis", accept=AGGREGATED)
            return next((i for i in found["items"] if i["metadata"]["name"] == GROUP), None)

        async def current() -> bool:
            found = await entry()
            return bool(found) and found["versions"][0]["freshness"] == "Current"

        await eventually(current)
        [version] = (await entry())["versions"]
        [fruits] = version["resources"]
        assert fruits["resource"] == "fruits"
        assert fruits["responseKind"]["kind"] == "Fruit"
        assert fruits["scope"] == "Namespaced"
        groups = [i["name"] for i in (await g.json("GET", "/apis"))["groups"]]
        assert GROUP in groups
        assert (await g.json("GET", f"/apis/{GROUP}"))["preferredVersion"]["version"] == VERSION
        assert (await g.json("GET", PREFIX))["resources"][0]["name"] == "fruits"


async def test_openapi_has_what_the_extension_says(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:

        async def listed() -> bool:
            return PREFIX[1:] in (await g.json("GET", "/openapi/v3"))["paths"]

        await eventually(listed)
        index = (await g.json("GET", "/openapi/v3"))["paths"]
        document = await g.json("GET", index[PREFIX[1:]]["serverRelativeURL"])
        assert f"{PREFIX}/fruits" in document["paths"]
        v2 = await g.json("GET", "/openapi/v2")
        assert f"{PREFIX}/fruits" in v2["paths"]
        assert "/api/v1/pods" in v2["paths"]
        fruit = v2["definitions"]["com.example.garden.v1alpha1.Fruit"]
        assert fruit["properties"]["metadata"]["$ref"].endswith("ObjectMeta_v2")
        assert "unused" not in v2["definitions"]
        assert (
            "annotations"
            in v2["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
        )


async def test_what_cannot_be_reached_is_not_available(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        await g.ask("DELETE", f"{SERVICES}/garden")
        assert await g.becomes("ServiceNotFound") == {
            "type": "Available",
            "status": "False",
            "reason": "ServiceNotFound",
            "message": 'service/garden in "default" is not present',
        }
        response = await g.ask("GET", FRUITS)
        assert (response.status, response.body) == (503, b"service unavailable\n")
        stale = await g.json("GET", "/apis", accept=AGGREGATED)
        [version] = next(i for i in stale["items"] if i["metadata"]["name"] == GROUP)["versions"]
        assert version["freshness"] == "Stale"

        spec = {"ports": [{"name": "https", "port": g.extension.port + 1}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "garden"}, "spec": spec}
        await g.json("POST", SERVICES, service)
        port = g.extension.port
        found = await g.becomes("ServicePortError")
        assert found["message"] == f'service/garden in "default" is not listening on port {port}'
        path = [{"op": "replace", "path": "/spec/ports/0/port", "value": port}]
        await g.json("PATCH", f"{SERVICES}/garden", path, content_type="application/json-patch+json")
        found = await g.becomes("EndpointsNotFound")
        assert found["message"] == 'cannot find endpointslices for service/garden in "default"'
        piece = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "garden-1", "labels": {"kubernetes.io/service-name": "garden"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": False}}],
            "ports": [{"name": "https", "port": port}],
        }
        await g.json("POST", SLICES, piece)
        found = await g.becomes("MissingEndpoints")
        assert found["message"] == (
            'endpointslices for service/garden in "default" have no addresses with port name "https"'
        )


async def test_a_server_that_is_gone_fails_its_check(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        await g.extension.__aexit__()
        response = await g.ask("GET", FRUITS)
        where = f"127.0.0.1:{g.extension.port}"
        refused = f"error trying to reach service: dial tcp {where}: connect: connection refused\n"
        assert (response.status, response.body) == (503, refused.encode())
        # Something about the service changes: it is looked at again at once.
        patch = {"metadata": {"labels": {"looked": "at"}}}
        await g.json("PATCH", f"{SERVICES}/garden", patch, content_type="application/merge-patch+json")
        found = await g.becomes("FailedDiscoveryCheck")
        url = f"https://{where}{PREFIX}"
        assert found["message"] == (
            f'failing or missing response from {url}: Get "{url}": dial tcp {where}: connect: connection refused'
        )
        await g.extension.__aenter__()
        assert (await g.becomes("Passed"))["message"] == "all checks passed"


async def test_a_certificate_that_the_bundle_does_not_know_is_refused(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        other = api_service(g.extension, "garden")
        other["spec"]["caBundle"] = ""
        spec = {"spec": {"caBundle": None}}
        await g.json("PATCH", f"{API_SERVICES}/{NAME}", spec, content_type="application/merge-patch+json")
        text = b"error trying to reach service: tls: failed to verify certificate: x509: "

        async def refused() -> bool:
            return (
                await whole(await g.ask("GET", FRUITS)) == text + b"certificate signed by unknown authority\n"
            )

        await eventually(refused)
        spec = {"spec": {"insecureSkipTLSVerify": True}}
        await g.json("PATCH", f"{API_SERVICES}/{NAME}", spec, content_type="application/merge-patch+json")

        async def served() -> bool:
            return (await g.ask("GET", FRUITS)).status == 200

        await eventually(served)


async def test_an_extension_that_talks_nonsense_is_stale_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with garden(tmp_path, published=False) as g:
        g.extension.talks_nonsense = True
        await g.becomes("Passed")
        assert (await g.ask("GET", FRUITS)).status == 200
        found = await g.json("GET", "/apis", accept=AGGREGATED)
        [version] = next(i for i in found["items"] if i["metadata"]["name"] == GROUP)["versions"]
        assert version["freshness"] == "Stale"
        g.extension.talks_nonsense = False
        # Whatever changes about the API service has it looked at again.
        patch = {"metadata": {"labels": {"looked": "at"}}}
        merge = "application/merge-patch+json"
        await g.json("PATCH", f"{API_SERVICES}/{NAME}", patch, content_type=merge)

        async def current() -> bool:
            found = await g.json("GET", "/apis", accept=AGGREGATED)
            [version] = next(i for i in found["items"] if i["metadata"]["name"] == GROUP)["versions"]
            return bool(version["freshness"] == "Current")

        await eventually(current)


async def test_a_deleted_api_service_leaves_nothing(tmp_path: Path) -> None:
    async with garden(tmp_path) as g:
        await g.ask("DELETE", f"{API_SERVICES}/{NAME}")

        async def gone() -> bool:
            groups = (await g.json("GET", "/apis"))["groups"]
            return GROUP not in [i["name"] for i in groups] and (await g.ask("GET", FRUITS)).status == 404

        await eventually(gone)


async def test_a_simulated_pod_listens_on_no_port(tmp_path: Path) -> None:
    from pilothouse.cluster import Cluster, ClusterOptions

    async with Cluster(ClusterOptions(secure_port=None, nodes=1)) as cluster:
        client = cluster.client()

        async def post(path: str, body: Any) -> None:
            await client.raw("POST", path, body)

        spec = {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 443}]}]}
        await post(
            "/api/v1/namespaces/default/pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p", "labels": {"a": "b"}},
                "spec": spec,
            },
        )
        service = {"selector": {"a": "b"}, "ports": [{"port": 443}]}
        await post(
            SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": service}
        )
        body = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": NAME},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 1,
                "versionPriority": 1,
                "insecureSkipTLSVerify": True,
                "service": {"namespace": "default", "name": "s"},
            },
        }
        await post(API_SERVICES, body)

        async def told() -> bool:
            found = await client.raw("GET", f"{API_SERVICES}/{NAME}")
            conditions = found.get("status", {}).get("conditions") or [{}]
            return "pod default/p is simulated and listens on no port" in conditions[0].get("message", "")

        await eventually(told)


async def test_a_websocket_goes_through(tmp_path: Path) -> None:
    import ssl

    import aiohttp

    async with garden(tmp_path, listen=True) as g:
        pair = g.served.authority.client("ann", "ann", ("system:masters",))
        tls = ssl.create_default_context(cadata=g.served.authority.pem)
        tls.load_cert_chain(*pair)
        url = f"{g.served.url}{FRUITS}/echo"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, ssl=tls, protocols=("echo.example.com",)) as socket,
        ):
            assert socket.protocol == "echo.example.com"
            await socket.send_bytes(b"moo")
            assert await socket.receive_bytes() == b"you said moo"
            await socket.send_str("moo")
            assert await socket.receive_str() == "you wrote moo"
        [told] = [told for _, path, told in g.extension.requests if path.endswith("/echo")]
        assert told["x-remote-user"] == ["ann"]


async def test_over_the_wire_answers_are_as_the_extension_gave_them(tmp_path: Path) -> None:
    import ssl

    import aiohttp

    async with garden(tmp_path, listen=True) as g:
        pair = g.served.authority.client("ann", "ann", ("system:masters",))
        tls = ssl.create_default_context(cadata=g.served.authority.pem)
        tls.load_cert_chain(*pair)
        async with aiohttp.ClientSession() as session:
            url = f"{g.served.url}{FRUITS}"
            async with session.get(url, ssl=tls) as answer:
                assert answer.status == 200
                assert (await answer.json())["kind"] == "FruitList"
            pear = {"metadata": {"name": "pear"}}
            async with session.post(url, json=pear, ssl=tls) as answer:
                assert answer.status == 201
            async with session.get(f"{url}?watch=true", ssl=tls) as answer:
                names = [
                    json.loads(await answer.content.readline())["object"]["metadata"]["name"] for _ in (1, 2)
                ]
                assert names == ["apple", "pear"]
