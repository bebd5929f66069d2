"""Owners and dependents that are custom resources, whose kinds come and go
(https://kubernetes.io/docs/concepts/architecture/garbage-collection/)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, Resource
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

WIDGETS = Resource("g.example.com", "v1", "widgets", "Widget")
_NS = "default"
_DEFINITION: dict[str, Any] = {
    "metadata": {"name": "widgets.g.example.com"},
    "spec": {
        "group": "g.example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


def collected(test: Callable[[ResourceClient], Awaitable[None]]) -> None:
    async def main() -> None:
        options = ClusterOptions(secure_port=None, nodes=0, controllers=("garbage-collector-controller",))
        async with Cluster(options, simulated_world(1)) as cluster:
            await asyncio.sleep(1)
            await test(cluster.client())

    run_virtual(main())


def owner(resource: Resource, name: str, uid: str) -> dict[str, Any]:
    return {"apiVersion": resource.group_version, "kind": resource.kind, "name": name, "uid": uid}


def config_map(name: str, *owners: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "ownerReferences": list(owners)}}


def widget(name: str, *owners: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "ownerReferences": list(owners)}
    return {"apiVersion": WIDGETS.group_version, "kind": "Widget", "metadata": meta}


async def gone(client: ResourceClient, resource: Resource, name: str) -> bool:
    try:
        await client.get(resource, name, _NS)
    except ApiError as error:
        return error.code == 404
    return False


def test_a_chain_through_custom_resources_goes_with_its_head() -> None:
    async def test(client: ResourceClient) -> None:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)
        await asyncio.sleep(3)
        head = await client.create(WIDGETS, widget("head"), _NS)
        middle = owner(WIDGETS, "head", head["metadata"]["uid"])
        made = await client.create(CONFIG_MAPS, config_map("middle", middle), _NS)
        end = owner(CONFIG_MAPS, "middle", made["metadata"]["uid"])
        await client.create(WIDGETS, widget("end", end), _NS)
        await client.delete(WIDGETS, "head", _NS)
        await asyncio.sleep(3)
        assert await gone(client, CONFIG_MAPS, "middle")
        assert await gone(client, WIDGETS, "end")

    collected(test)


def test_dependents_of_a_kind_that_is_not_served_wait_until_it_is() -> None:
    async def test(client: ResourceClient) -> None:
        lost = owner(WIDGETS, "lost", "no-such-uid")
        await client.create(CONFIG_MAPS, config_map("waits", lost), _NS)
        await asyncio.sleep(60)
        assert not await gone(client, CONFIG_MAPS, "waits")
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)
        await asyncio.sleep(60)
        assert await gone(client, CONFIG_MAPS, "waits")

    collected(test)


def test_a_kind_that_comes_back_is_followed_anew() -> None:
    async def test(client: ResourceClient) -> None:
        for _ in range(2):
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, _DEFINITION)
            await asyncio.sleep(3)
            made = await client.create(WIDGETS, widget("w"), _NS)
            held = owner(WIDGETS, "w", made["metadata"]["uid"])
            await client.create(CONFIG_MAPS, config_map("held", held), _NS)
            await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "widgets.g.example.com")
            await asyncio.sleep(5)
            with pytest.raises(ApiError):
                await client.list(WIDGETS)
            assert await gone(client, CONFIG_MAPS, "held")

    collected(test)
