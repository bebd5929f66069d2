"""Two API servers on one store: what is written through one is seen through the other, and neither gives away what
the other gave."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prometheus_client import CollectorRegistry

from pilothouse.apiserver.request import Request, Response
from pilothouse.apiserver.server import Options
from pilothouse.components.api_server import ServedApi, Serving
from pilothouse.etcd.contract import Put
from pilothouse.etcd.embedded.backend import EmbeddedBackend, open_backend
from pilothouse.etcd.embedded.log import NoLog
from pilothouse.kit.world import World
from tests.served import ADMIN, Answer
from tests.shared_store import Client

MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"


class Server:
    def __init__(self, store: EmbeddedBackend, **options: Any) -> None:
        self.client = Client(store)
        serving = Serving(listen=False, server=Options(**options))
        self.served = ServedApi(serving, World(), CollectorRegistry(auto_describe=True), self.client)  # type: ignore[arg-type]

    async def raw(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        parts = urlsplit(path)
        request = Request(
            method,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {"content-type": headers.pop("content_type", "application/json"), **headers},
            body if body is None else json.dumps(body).encode(),
            ADMIN,
        )
        return await self.served.api.handle(request)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        response = await self.raw(method, path, body, **headers)
        assert isinstance(response.body, bytes)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return Answer(response.status, json.loads(response.body) if is_json else response.body)


class Pair:
    def __init__(self, store: EmbeddedBackend, **options: Any) -> None:
        self.store = store
        self.a = Server(store, advertise_address="10.0.0.1", **options)
        self.b = Server(store, advertise_address="10.0.0.2", **options)


@contextlib.asynccontextmanager
async def two(**options: Any) -> AsyncIterator[Pair]:
    store = await open_backend(World(), NoLog())
    pair = Pair(store, **options)
    servers = (pair.a, pair.b)
    try:
        # At once: what both make sure of must not be in the other's way.
        await asyncio.gather(*(server.served.start() for server in servers))
        yield pair
    finally:
        for server in servers:
            server.client.release()
            server.client.away = False
            await server.served.stop()
        await store.close()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [item["metadata"]["name"] for item in answer.body["items"]]


async def test_a_list_shows_at_once_what_another_server_stored() -> None:
    async with two() as pair:
        for n in range(20):
            assert (await pair.a.ask("POST", MAPS, config_map(f"m{n:02}"))).status == 201
            assert names(await pair.b.ask("GET", MAPS))[-1] == f"m{n:02}"
            assert (await pair.b.ask("GET", f"{MAPS}/m{n:02}")).status == 200


async def test_a_read_waits_for_a_watch_that_lags_behind() -> None:
    async with two() as pair:
        pair.b.client.hold()
        await pair.a.ask("POST", MAPS, config_map("late"))
        old = await pair.b.ask("GET", f"{MAPS}?resourceVersion=0")
        assert "late" not in names(old)
        reading = asyncio.ensure_future(pair.b.ask("GET", MAPS))
        getting = asyncio.ensure_future(pair.b.ask("GET", f"{MAPS}/late"))
        await asyncio.sleep(0.05)
        assert not reading.done()
        assert not getting.done()
        pair.b.client.release()
        assert "late" in names(await reading)
        assert (await getting).status == 200


async def test_reads_at_once_ask_the_store_once() -> None:
    async with two() as pair:
        before = pair.b.client.revision_reads
        await asyncio.gather(*(pair.b.ask("GET", MAPS) for _ in range(100)))
        assert pair.b.client.revision_reads - before <= 2


async def test_a_read_does_not_wait_for_an_event_when_the_revision_moved_elsewhere() -> None:
    async with two() as pair:
        await pair.store.put(Put(b"somebody's", b"else"))
        assert (await asyncio.wait_for(pair.b.ask("GET", MAPS), 1)).status == 200


async def test_a_read_says_so_when_the_store_cannot_be_asked() -> None:
    async with two() as pair:
        pair.b.client.away = True
        answer = await pair.b.ask("GET", MAPS)
        assert answer.status == 503
        assert "etcdserver: request timed out" in answer.message
        assert (await pair.b.ask("GET", f"{MAPS}?resourceVersion=0")).status == 200
        pair.b.client.away = False
        assert (await pair.b.ask("GET", MAPS)).status == 200


async def test_an_update_of_an_old_state_is_made_on_the_new_one() -> None:
    async with two() as pair:
        await pair.a.ask("POST", MAPS, config_map("shared", a="0"))
        await pair.b.ask("GET", f"{MAPS}/shared")
        pair.b.client.hold()
        assert (await pair.a.ask("PUT", f"{MAPS}/shared", config_map("shared", a="1"))).status == 200
        patching = asyncio.ensure_future(
            pair.b.ask(
                "PATCH",
                f"{MAPS}/shared",
                {"data": {"b": "1"}},
                content_type="application/merge-patch+json",
            )
        )
        await asyncio.sleep(0.02)
        pair.b.client.release()
        answer = await patching
        assert answer.status == 200, answer
        assert answer.body["data"] == {"a": "1", "b": "1"}


async def test_a_new_resource_version_is_no_conflict_for_a_server_that_lags_behind() -> None:
    async with two() as pair:
        created = (await pair.a.ask("POST", MAPS, config_map("shared"))).body
        await pair.b.ask("GET", f"{MAPS}/shared")
        pair.b.client.hold()
        updated = (await pair.a.ask("PUT", f"{MAPS}/shared", {**created, "data": {"a": "1"}})).body
        writing = asyncio.ensure_future(pair.b.ask("PUT", f"{MAPS}/shared", {**updated, "data": {"a": "2"}}))
        await asyncio.sleep(0.02)
        pair.b.client.release()
        assert (await writing).status == 200
        assert (await pair.b.ask("PUT", f"{MAPS}/shared", {**updated, "data": {"a": "3"}})).status == 409


async def test_counters_that_both_raise_lose_nothing() -> None:
    async with two() as pair:
        await pair.a.ask("POST", MAPS, config_map("counter", n="0"))

        async def raise_(server: Server) -> None:
            done = 0
            while done < 20:
                found = (await server.ask("GET", f"{MAPS}/counter")).body
                found["data"]["n"] = str(int(found["data"]["n"]) + 1)
                done += (await server.ask("PUT", f"{MAPS}/counter", found)).status == 200

        await asyncio.gather(raise_(pair.a), raise_(pair.b))
        assert (await pair.a.ask("GET", f"{MAPS}/counter")).body["data"]["n"] == "40"


async def test_deleting_what_the_other_server_just_made_and_making_it_again() -> None:
    async with two() as pair:
        for _ in range(5):
            assert (await pair.a.ask("POST", MAPS, config_map("m"))).status == 201
            assert (await pair.b.ask("POST", MAPS, config_map("m"))).status == 409
            assert (await pair.b.ask("DELETE", f"{MAPS}/m")).status == 200
            assert (await pair.a.ask("DELETE", f"{MAPS}/m")).status == 404


async def test_an_object_goes_into_a_namespace_that_the_other_server_just_made() -> None:
    async with two() as pair:
        for n in range(5):
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns{n}"}}
            assert (await pair.a.ask("POST", "/api/v1/namespaces", space)).status == 201
            made = await pair.b.ask("POST", f"/api/v1/namespaces/ns{n}/configmaps", config_map("m"))
            assert made.status == 201, made


async def test_a_custom_resource_is_served_by_the_other_server_too() -> None:
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    boats = "/apis/example.com/v1/namespaces/default/boats"
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    async with two() as pair:
        assert (await pair.a.ask("POST", definitions, definition)).status == 201
        await served(pair.a, boats)
        assert names(await pair.b.ask("GET", boats)) == []
        boat = {"apiVersion": "example.com/v1", "kind": "Boat", "metadata": {"name": "ark"}}
        assert (await pair.b.ask("POST", boats, boat)).status == 201
        assert names(await pair.a.ask("GET", boats)) == ["ark"]

        assert (await pair.b.ask("DELETE", f"{definitions}/boats.example.com")).status == 200
        for server in (pair.a, pair.b):
            await gone(server, f"{definitions}/boats.example.com")
            await gone(server, boats)
            await gone(server, "/apis/apiregistration.k8s.io/v1/apiservices/v1.example.com")
        assert not (await pair.store.range(_under(b"/registry/example.com/"))).kvs


async def served(server: Server, path: str) -> None:
    async with asyncio.timeout(10):
        while (await server.ask("GET", path)).status == 404:  # noqa: ASYNC110 - a client sees no more
            await asyncio.sleep(0.01)


async def gone(server: Server, path: str) -> None:
    async with asyncio.timeout(10):
        while (await server.ask("GET", path)).status != 404:  # noqa: ASYNC110 - a client sees no more
            await asyncio.sleep(0.01)


def _under(prefix: bytes) -> Any:
    from pilothouse.etcd.contract import Range, prefix_end

    return Range(prefix, prefix_end(prefix))


def service(name: str, kind: str = "NodePort", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": kind, "ports": [{"port": 80}], **spec},
    }


async def test_no_address_and_no_port_is_given_twice() -> None:
    async with two(service_range="10.0.0.0/26", service_node_ports=(30000, 30039)) as pair:
        pair.a.client.hold()
        pair.b.client.hold()
        asked = [
            asyncio.ensure_future(server.ask("POST", SERVICES, service(f"{who}{n}")))
            for n in range(18)
            for who, server in (("a", pair.a), ("b", pair.b))
        ]
        await asyncio.sleep(0.1)
        pair.a.client.release()
        pair.b.client.release()
        answers = await asyncio.gather(*asked)
        made = [answer.body for answer in answers if answer.status == 201]
        assert len(made) == 36, [a for a in answers if a.status != 201][:1]
        assert len({s["spec"]["clusterIP"] for s in made}) == 36
        assert len({s["spec"]["ports"][0]["nodePort"] for s in made}) == 36


async def test_a_port_that_was_chosen_goes_to_one_of_two_servers_and_comes_back() -> None:
    async with two() as pair:
        chosen = {"ports": [{"port": 80, "nodePort": 30080}]}
        answers = await asyncio.gather(
            pair.a.ask("POST", SERVICES, service("a", **chosen)),
            pair.b.ask("POST", SERVICES, service("b", **chosen)),
        )
        assert sorted(answer.status for answer in answers) == [201, 422]
        refused = next(answer for answer in answers if answer.status == 422)
        assert "provided port is already allocated" in refused.message
        winner = "a" if answers[0].status == 201 else "b"
        assert (await pair.b.ask("DELETE", f"{SERVICES}/{winner}")).status == 200
        assert (await pair.a.ask("POST", SERVICES, service("c", **chosen))).status == 201
        assert (await pair.b.ask("DELETE", f"{SERVICES}/c")).status == 200
        assert (await pair.b.ask("POST", SERVICES, service("d", **chosen))).status == 201


async def test_what_another_server_just_freed_can_be_had_at_once() -> None:
    async with two(service_range="10.0.0.0/28") as pair:
        chosen = {"ports": [{"port": 80, "nodePort": 30080}], "clusterIP": "10.0.0.9"}
        assert (await pair.a.ask("POST", SERVICES, service("old", **chosen))).status == 201
        await pair.b.ask("GET", SERVICES)
        pair.b.client.hold()
        assert (await pair.a.ask("DELETE", f"{SERVICES}/old")).status == 200
        making = asyncio.ensure_future(pair.b.ask("POST", SERVICES, service("new", **chosen)))
        await asyncio.sleep(0.02)
        pair.b.client.release()
        answer = await making
        assert answer.status == 201, answer


async def test_the_endpoints_of_the_api_are_those_of_both_servers() -> None:
    async with two() as pair:
        for server in (pair.a, pair.b):
            await server.served.api._endpoints._try_reconcile()  # type: ignore[union-attr]
        endpoints = (await pair.a.ask("GET", "/api/v1/namespaces/default/endpoints/kubernetes")).body
        assert [a["ip"] for a in endpoints["subsets"][0]["addresses"]] == ["10.0.0.1", "10.0.0.2"]
        await pair.b.served.stop()
        endpoints = (await pair.a.ask("GET", "/api/v1/namespaces/default/endpoints/kubernetes")).body
        assert [a["ip"] for a in endpoints["subsets"][0]["addresses"]] == ["10.0.0.1"]
        slices = await pair.a.ask(
            "GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
        )
        assert [e["addresses"] for e in slices.body["endpoints"]] == [["10.0.0.1"]]


async def test_a_write_whose_answer_is_lost_is_an_error_and_keeps_its_address() -> None:
    async with two() as pair:
        made = asyncio.ensure_future(pair.a.ask("POST", MAPS, config_map("unsure")))
        pair.a.client.lost_answers = 1
        answer = await made
        assert answer.status == 500
        assert answer.message.startswith("etcdserver: request timed out")
        assert (await pair.a.ask("POST", MAPS, config_map("unsure"))).status == 409


async def test_a_quota_holds_for_both_servers_together() -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"configmaps": "5"}},
        "status": {"hard": {"configmaps": "5"}, "used": {"configmaps": "0"}},
    }
    async with two() as pair:
        quotas = "/api/v1/namespaces/default/resourcequotas"
        created = (await pair.a.ask("POST", quotas, quota)).body
        status = {**created, "status": quota["status"]}
        assert (await pair.a.ask("PUT", f"{quotas}/q/status", status)).status == 200
        await pair.b.ask("GET", quotas)
        answers = await asyncio.gather(
            *(
                server.ask("POST", MAPS, config_map(f"{who}{n}"))
                for n in range(8)
                for who, server in (("a", pair.a), ("b", pair.b))
            )
        )
        assert sum(answer.status == 201 for answer in answers) <= 5


@pytest.mark.parametrize("path", ["/readyz", "/livez", "/healthz"])
async def test_health_tells_of_a_store_that_is_away_and_comes_back(path: str) -> None:
    async with two() as pair:
        assert (await pair.a.ask("GET", path)).status == 200
        pair.a.client.away = True
        assert (await pair.a.ask("GET", path)).status == 500
        one = await pair.a.ask("GET", f"{path}/etcd")
        assert one.status == 500
        assert b"error getting data from etcd" in one.body
        pair.a.client.away = False
        assert (await pair.a.ask("GET", path)).status == 200


async def test_keys_stand_under_the_prefix_that_was_chosen() -> None:
    async with two(etcd_prefix="/mine") as pair:
        assert (await pair.a.ask("POST", SERVICES, service("s"))).status == 201
        assert names(await pair.b.ask("GET", SERVICES)) == ["kubernetes", "s"]
        found = (await pair.store.range(_under(b"/"))).kvs
        assert {kv.key.split(b"/")[1] for kv in found} == {b"mine"}
        assert b"/mine/ranges/servicenodeports" in {kv.key for kv in found}


async def test_what_a_crash_left_taken_comes_back_when_it_is_seen_twice() -> None:
    """Not at once: another server may be about to store the service that it was taken for."""
    async with two() as pair:
        services = pair.a.served.api._shared.services
        await services.ports.book.take([30111])  # type: ignore[union-attr]
        assert await services.ips.claim("10.96.77.77", {"metadata": {"namespace": "default", "name": "gone"}})
        assert await services.repair(alone=False) == 0
        assert (await pair.b.ask("GET", "/apis/networking.k8s.io/v1/ipaddresses/10.96.77.77")).status == 200
        assert await services.repair(alone=False) == 2
        assert (await pair.b.ask("GET", "/apis/networking.k8s.io/v1/ipaddresses/10.96.77.77")).status == 404
        chosen = service("now", ports=[{"port": 80, "nodePort": 30111}])
        assert (await pair.b.ask("POST", SERVICES, chosen)).status == 201


async def test_a_list_of_another_servers_revision_is_the_same_list() -> None:
    """A continue token and an exact revision hold for both, however far one lags behind."""
    async with two() as pair:
        for n in range(6):
            await pair.a.ask("POST", MAPS, config_map(f"m{n}"))
        first = (await pair.a.ask("GET", f"{MAPS}?limit=3")).body
        token, revision = first["metadata"]["continue"], first["metadata"]["resourceVersion"]
        await pair.a.ask("DELETE", f"{MAPS}/m5")
        rest = await pair.b.ask("GET", f"{MAPS}?limit=10&continue={token}")
        shown = [i["metadata"]["name"] for i in first["items"]] + names(rest)
        assert [name for name in shown if name.startswith("m")] == [f"m{n}" for n in range(6)]
        exact = await pair.b.ask("GET", f"{MAPS}?resourceVersion={revision}&resourceVersionMatch=Exact")
        assert "m5" in names(exact)


async def test_a_watch_that_was_begun_on_one_server_goes_on_at_the_other() -> None:
    async with two() as pair:
        revision = (await pair.a.ask("GET", MAPS)).body["metadata"]["resourceVersion"]
        pair.b.client.hold()
        created = (await pair.a.ask("POST", MAPS, config_map("one"))).body["metadata"]["resourceVersion"]
        lines = {}
        for since in (revision, created):
            response = await pair.b.raw("GET", f"{MAPS}?watch=1&resourceVersion={since}&timeoutSeconds=2")
            lines[since] = asyncio.ensure_future(_watched(response))
        await asyncio.sleep(0.02)
        pair.b.client.release()
        await pair.a.ask("POST", MAPS, config_map("two"))
        assert await lines[revision] == ["one", "two"]
        assert await lines[created] == ["two"]


async def _watched(response: Response) -> list[str]:
    assert response.status == 200
    assert not isinstance(response.body, bytes)
    text = b"".join([piece async for piece in response.body])
    return [json.loads(line)["object"]["metadata"].get("name", "") for line in text.splitlines()]


async def test_a_watch_with_initial_events_begins_with_what_the_store_has() -> None:
    async with two() as pair:
        pair.b.client.hold()
        await pair.a.ask("POST", MAPS, config_map("fresh"))
        opening = asyncio.ensure_future(
            pair.b.raw(
                "GET",
                f"{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
                "&allowWatchBookmarks=true&timeoutSeconds=1",
            )
        )
        await asyncio.sleep(0.02)
        assert not opening.done()
        pair.b.client.release()
        assert "fresh" in await _watched(await opening)


async def test_a_server_of_another_authority_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with two():
        pass
    assert "another certificate authority" in caplog.text
