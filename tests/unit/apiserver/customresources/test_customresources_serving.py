"""Definitions that come, change and go while the server runs (apiextensions-apiserver's customresource_handler and
controllers), through the front door and in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

WIDGETS = Resource("g.example.com", "v1", "widgets", "Widget")
BETA = Resource("g.example.com", "v1beta1", "widgets", "Widget")
_NAME = "widgets.g.example.com"
NS = "default"
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"size": {"type": "integer", "default": 1}, "a": {"type": "string"}},
        },
        "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
    },
}

Test = Callable[[ResourceClient], Awaitable[None]]


def version(name: str = "v1", schema: dict[str, Any] = _SCHEMA, **parts: Any) -> dict[str, Any]:
    made = {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}}
    return {**made, "subresources": {"status": {}}, **parts}


def definition(
    *versions: dict[str, Any], plural: str = "widgets", kind: str = "Widget", **names: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": f"{plural}.g.example.com"},
        "spec": {
            "group": "g.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": list(versions) or [version()],
        },
    }


def widget(name: str = "w", resource: Resource = WIDGETS, **parts: Any) -> dict[str, Any]:
    return {"apiVersion": resource.group_version, "kind": "Widget", "metadata": {"name": name}, **parts}


def served(test: Test) -> None:
    async def main() -> None:
        cluster = Cluster(ClusterOptions(secure_port=None), simulated_world(1))
        await cluster.start_server()
        try:
            await test(cluster.client())
        finally:
            await cluster.stop()

    run_virtual(main())


async def condition(client: ResourceClient, kind: str, name: str = _NAME) -> tuple[str, str, str]:
    crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, name)
    found = next(c for c in crd["status"]["conditions"] if c["type"] == kind)
    return found["status"], found["reason"], found["message"]


async def define(client: ResourceClient, crd: dict[str, Any]) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, crd)
    await asyncio.sleep(1)


@contextmanager
def refused(code: int, message: str) -> Iterator[None]:
    with pytest.raises(ApiError) as caught:
        yield
    assert (caught.value.code, caught.value.message) == (code, message)


def test_a_definition_is_established_and_tells_its_names() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        assert await condition(client, "NamesAccepted") == ("True", "NoConflicts", "no conflicts found")
        established = ("True", "InitialNamesAccepted", "the initial names have been accepted")
        assert await condition(client, "Established") == established
        crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, _NAME)
        names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
        assert crd["status"]["acceptedNames"] == names
        listed = await client.raw("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1.g.example.com")
        assert listed["spec"]["groupPriorityMinimum"] == 1000

    served(test)


def test_names_that_are_taken_become_free_when_their_owner_goes() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition(shortNames=["wd"]))
        await define(client, definition(plural="others", kind="Other", shortNames=["wd", "widgets"]))
        other = "others.g.example.com"
        why = '["wd" is already in use, "widgets" is already in use]'
        assert await condition(client, "NamesAccepted", other) == ("False", "ShortNamesConflict", why)
        told = ("False", "NotAccepted", "not all names are accepted")
        assert await condition(client, "Established", other) == told
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, _NAME)
        await asyncio.sleep(3)
        assert (await condition(client, "Established", other))[0] == "True"

    served(test)


def test_status_belongs_to_its_subresource_and_generation_to_all_but_metadata() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        made = await client.create(WIDGETS, widget(spec={}, status={"phase": "x"}), NS)
        assert (made["spec"], made.get("status"), made["metadata"]["generation"]) == ({"size": 1}, None, 1)
        labelled = {"metadata": {"labels": {"a": "b"}}}
        assert (await client.patch(WIDGETS, "w", labelled, NS))["metadata"]["generation"] == 1
        status = {"status": {"phase": "Up"}, "spec": {"size": 9}, "metadata": {"labels": {"a": "c"}}}
        after = await client.patch(WIDGETS, "w", status, NS, subresource="status")
        assert (after["status"], after["spec"]["size"]) == ({"phase": "Up"}, 1)
        assert (after["metadata"]["labels"], after["metadata"]["generation"]) == ({"a": "b"}, 1)
        assert (await client.patch(WIDGETS, "w", {"spec": {"size": 2}}, NS))["metadata"]["generation"] == 2

    served(test)


def test_without_the_subresource_the_status_is_like_any_field() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition(version(subresources={})))
        made = await client.create(WIDGETS, widget(status={"phase": "x"}), NS)
        assert made["status"] == {"phase": "x"}
        changed = await client.patch(WIDGETS, "w", {"status": {"phase": "y"}}, NS)
        assert changed["metadata"]["generation"] == 2
        with refused(404, 'widgets.g.example.com "w" not found'):
            await client.get(WIDGETS, "w", NS, subresource="status")

    served(test)


def test_versions_show_one_object_each_in_its_own_way() -> None:
    beta = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }

    async def test(client: ResourceClient) -> None:
        await define(client, definition(version(), version("v1beta1", beta)))
        await client.create(WIDGETS, widget(spec={"size": 5, "a": "x"}), NS)
        seen = await client.get(BETA, "w", NS)
        assert (seen["apiVersion"], seen["spec"]) == ("g.example.com/v1beta1", {"a": "x"})
        await client.create(BETA, widget("b", BETA, spec={"a": "y"}), NS)
        assert (await client.get(WIDGETS, "b", NS))["spec"] == {"a": "y", "size": 1}

    served(test)


def test_a_changed_schema_is_in_force_at_once_also_for_what_is_stored() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        await client.create(WIDGETS, widget(spec={"a": "x"}), NS)
        watched = client.watch(WIDGETS, NS)
        first = await anext(aiter(watched))
        assert first[0].type == "ADDED"
        spec = {"type": "object", "properties": {"b": {"type": "string", "default": "new"}}}
        changed = version(schema={"type": "object", "properties": {"spec": spec}})
        patch = {"spec": {"versions": [changed]}}
        await client.patch(CUSTOM_RESOURCE_DEFINITIONS, _NAME, patch)
        await asyncio.sleep(1)
        assert (await client.get(WIDGETS, "w", NS))["spec"] == {"b": "new"}
        with pytest.raises(StopAsyncIteration):
            await anext(aiter(watched))

    served(test)


def test_a_definition_takes_its_objects_with_it() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        held = widget()
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await client.create(WIDGETS, held, NS)
        await client.create(WIDGETS, widget("other"), NS)
        marked = await client.delete(CUSTOM_RESOURCE_DEFINITIONS, _NAME)
        assert marked["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
        await asyncio.sleep(1)
        going = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress")
        assert await condition(client, "Terminating") == going
        with refused(405, "create not allowed while custom resource definition is terminating"):
            await client.create(WIDGETS, widget("late"), NS)
        assert [w["metadata"]["name"] for w in (await client.list(WIDGETS))["items"]] == ["w"]
        await client.patch(WIDGETS, "w", {"metadata": {"finalizers": None}}, NS)
        await asyncio.sleep(2)
        with refused(404, f'customresourcedefinitions.apiextensions.k8s.io "{_NAME}" not found'):
            await client.get(CUSTOM_RESOURCE_DEFINITIONS, _NAME)
        with pytest.raises(ApiError, match="404"):
            await client.list(WIDGETS)

    served(test)


def test_objects_that_do_not_go_hold_the_definition_up() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        held = widget()
        held["metadata"]["finalizers"] = ["example.com/hold"]
        await client.create(WIDGETS, held, NS)
        await client.delete(CUSTOM_RESOURCE_DEFINITIONS, _NAME)
        await asyncio.sleep(60.5)
        assert await condition(client, "Terminating") == (
            "True",
            "InstanceDeletionCheck",
            "could not confirm zero CustomResources remaining: timed out waiting for the condition",
        )

    served(test)


_SCALE = {
    "specReplicasPath": ".spec.size",
    "statusReplicasPath": ".status.n",
    "labelSelectorPath": ".status.s",
}


def test_scale_reads_and_writes_at_the_paths_that_the_definition_names() -> None:
    status = {"type": "object", "properties": {"n": {"type": "integer"}, "s": {"type": "string"}}}
    schema = {"type": "object", "properties": {**_SCHEMA["properties"], "status": status}}

    async def test(client: ResourceClient) -> None:
        await define(client, definition(version(schema=schema, subresources={"scale": _SCALE, "status": {}})))
        await client.create(WIDGETS, widget(spec={"size": 2}), NS)
        await client.patch(WIDGETS, "w", {"status": {"n": 1, "s": "a=b"}}, NS, subresource="status")
        scale = await client.get(WIDGETS, "w", NS, subresource="scale")
        assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
        await client.patch(WIDGETS, "w", {"spec": {"replicas": 7}}, NS, subresource="scale")
        assert (await client.get(WIDGETS, "w", NS))["spec"]["size"] == 7
        await client.create(WIDGETS, widget("none"), NS)
        with refused(500, 'Internal error occurred: the spec replicas field ".spec.size" does not exist'):
            await client.get(WIDGETS, "none", NS, subresource="scale")
        with pytest.raises(ApiError, match="should be a non-negative integer"):
            await client.create(WIDGETS, widget("low", spec={"size": -1}), NS)

    served(test)


def test_selectable_fields_select() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition(version(selectableFields=[{"jsonPath": ".spec.size"}])))
        for name, size in (("one", 1), ("two", 2)):
            await client.create(WIDGETS, widget(name, spec={"size": size}), NS)
        found = await client.list(WIDGETS, fieldSelector="spec.size=2")
        assert [w["metadata"]["name"] for w in found["items"]] == ["two"]
        with refused(400, "field label not supported: spec.a"):
            await client.list(WIDGETS, fieldSelector="spec.a=x")

    served(test)


def test_what_is_not_there_is_nobodys_path() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        base = "/apis/g.example.com"
        for path in (f"{base}/v2/widgets", f"{base}/v2", f"{base}/v1/nothing", f"{base}/v1/widgets/w"):
            with pytest.raises(ApiError, match="404 page not found"):
                await client.raw("GET", path)

    served(test)


def test_what_an_older_storage_version_stored_is_read_like_the_rest() -> None:
    async def test(client: ResourceClient) -> None:
        await define(client, definition(version(), version("v2", storage=False)))
        await client.create(WIDGETS, widget(spec={"a": "x"}), NS)
        later = [version(storage=False), version("v2", storage=True)]
        await client.patch(CUSTOM_RESOURCE_DEFINITIONS, _NAME, {"spec": {"versions": later}})
        await asyncio.sleep(1)
        second = Resource("g.example.com", "v2", "widgets", "Widget")
        assert (await client.get(second, "w", NS))["apiVersion"] == "g.example.com/v2"
        assert (await client.get(WIDGETS, "w", NS))["apiVersion"] == "g.example.com/v1"
        crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, _NAME)
        assert crd["status"]["storedVersions"] == ["v1", "v2"]

    served(test)


def test_an_update_is_not_blamed_for_what_a_new_rule_finds_elsewhere() -> None:
    """KEP-4008."""

    async def test(client: ResourceClient) -> None:
        await define(client, definition())
        await client.create(WIDGETS, widget(spec={"a": "long", "size": 1}), NS)
        spec = _SCHEMA["properties"]["spec"]
        strict = {**spec, "properties": {**spec["properties"], "a": {"type": "string", "maxLength": 2}}}
        changed = version(schema={"type": "object", "properties": {"spec": strict}})
        await client.patch(CUSTOM_RESOURCE_DEFINITIONS, _NAME, {"spec": {"versions": [changed]}})
        await asyncio.sleep(1)
        assert (await client.patch(WIDGETS, "w", {"spec": {"size": 2}}, NS))["spec"]["a"] == "long"
        with pytest.raises(ApiError, match=r"spec\.a: Too long: may not be more than 2 bytes"):
            await client.patch(WIDGETS, "w", {"spec": {"a": "longer"}}, NS)

    served(test)
