"""Typed Go clients ask for protobuf and get it, from the same answers that others get as JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest_asyncio

from pilothouse.api.protobuf import MAGIC, Codec, fields
from pilothouse.apiserver.request import Request, Response, UserInfo
from pilothouse.cluster import Cluster, ClusterOptions

PROTOBUF = "application/vnd.kubernetes.protobuf"
MAPS = "/api/v1/namespaces/default/configmaps"
ADMIN = UserInfo("admin", "", ("system:masters", "system:authenticated"))


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    options = ClusterOptions(secure_port=None, nodes=0, controllers=())
    async with Cluster(options) as running:
        yield running


def request(method: str, path: str, accept: str, body: object = None, **query: str) -> Request:
    headers = {"accept": accept, "content-type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()
    return Request(method, path, {k: [v] for k, v in query.items()}, headers, sent, ADMIN)


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}}


def decoded(cluster: Cluster, response: Response) -> dict[str, object]:
    assert response.headers["Content-Type"] == PROTOBUF
    assert isinstance(response.body, bytes)
    return Codec(cluster.api.catalog.definitions).decode(response.body)


async def test_objects_lists_and_errors(cluster: Cluster) -> None:
    made = await cluster.api.handle(request("POST", MAPS, PROTOBUF, config_map("one")))
    assert made.status == 201
    assert decoded(cluster, made)["data"] == {"a": "b"}
    listed = decoded(cluster, await cluster.api.handle(request("GET", MAPS, f"{PROTOBUF},application/json")))
    assert listed["kind"] == "ConfigMapList"
    assert [i["metadata"]["name"] for i in listed["items"]] == ["one"]  # type: ignore[attr-defined]
    missing = await cluster.api.handle(request("GET", f"{MAPS}/absent", PROTOBUF))
    assert missing.status == 404
    assert decoded(cluster, missing)["reason"] == "NotFound"


async def test_what_stands_first_wins(cluster: Cluster) -> None:
    answer = await cluster.api.handle(request("GET", MAPS, f"application/json,{PROTOBUF}"))
    assert answer.headers["Content-Type"] == "application/json"


async def test_tables_stay_json(cluster: Cluster) -> None:
    accept = f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io"
    answer = await cluster.api.handle(request("GET", MAPS, accept))
    assert answer.headers["Content-Type"] == "application/json"
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["kind"] == "Table"


async def test_a_watch_is_a_row_of_frames(cluster: Cluster) -> None:
    watch = await cluster.api.handle(request("GET", MAPS, f"{PROTOBUF};stream=watch", watch="true"))
    assert watch.headers["Content-Type"] == f"{PROTOBUF};stream=watch"
    await cluster.api.handle(request("POST", MAPS, PROTOBUF, config_map("seen")))
    assert not isinstance(watch.body, bytes)
    async for chunk in watch.body:
        length = int.from_bytes(chunk[:4], "big")
        event = dict(fields(chunk[4 : 4 + length]))
        assert event[1] == b"ADDED"
        assert MAGIC in event[2]  # type: ignore[operator]
        assert b"seen" in event[2]  # type: ignore[operator]
        break
    await watch.body.aclose()  # type: ignore[attr-defined]
