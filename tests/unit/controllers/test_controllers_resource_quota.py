"""The quota controller with a whole API server, in virtual time (pkg/controller/resourcequota)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    NAMESPACES,
    PODS,
    RESOURCE_QUOTAS,
    SERVICES,
    STORAGE_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller
from pilothouse.client.resource_client import ResourceClient
from pilothouse.cluster import Cluster, ClusterOptions
from pilothouse.controllers import resource_quota
from pilothouse.kit.virtual_loop import run_virtual
from pilothouse.kit.world import simulated_world

NS = "ns"
Discovered = tuple[list[Resource], set[tuple[str, str]]]


@asynccontextmanager
async def cluster() -> AsyncIterator[ResourceClient]:
    options = ClusterOptions(secure_port=None, nodes=0, controllers=("resourcequota-controller",))
    options.server.disable_admission = ("ServiceAccount",)
    running = Cluster(options, simulated_world(1))
    await running.start()
    try:
        client = running.client()
        await client.create(NAMESPACES, {"metadata": {"name": NS}})
        yield client
    finally:
        await running.stop()


def quota(**hard: str) -> Obj:
    named = {key.replace("__", "/").replace("_", "."): value for key, value in hard.items()}
    return {"metadata": {"name": "q"}, "spec": {"hard": named}}


def pod(name: str, cpu: str = "1") -> Obj:
    resources = {"requests": {"cpu": cpu}}
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]},
    }


async def used(client: ResourceClient, wanted: dict[str, str]) -> None:
    """Wait until the quota shows that much; what it shows otherwise is the failure."""
    found: Obj = {}
    for _ in range(100):
        found = await client.get(RESOURCE_QUOTAS, "q", NS)
        if (found.get("status") or {}).get("used") == wanted:
            return
        await asyncio.sleep(0.1)
    assert found.get("status", {}).get("used") == wanted


def test_a_new_quota_counts_what_is_there() -> None:
    async def main() -> None:
        async with cluster() as client:
            await client.create(PODS, pod("a"), NS)
            await client.create(RESOURCE_QUOTAS, quota(pods="5", requests_cpu="4", count__services="1"), NS)
            await used(client, {"count/services": "0", "pods": "1", "requests.cpu": "1"})
            found = await client.get(RESOURCE_QUOTAS, "q", NS)
            assert found["status"]["hard"] == found["spec"]["hard"]

    run_virtual(main())


def test_what_goes_away_or_ends_is_given_back() -> None:
    async def main() -> None:
        async with cluster() as client:
            await client.create(RESOURCE_QUOTAS, quota(pods="2", requests_cpu="2", count__pods="9"), NS)
            await used(client, {"count/pods": "0", "pods": "0", "requests.cpu": "0"})
            for name in ("a", "b"):
                await client.create(PODS, pod(name), NS)
            with pytest.raises(ApiError, match="exceeded quota: q, requested: pods=1,requests"):
                await client.create(PODS, pod("c"), NS)
            await client.delete(PODS, "a", NS)
            await used(client, {"count/pods": "1", "pods": "1", "requests.cpu": "1"})
            done = await client.get(PODS, "b", NS)
            await client.update(PODS, {**done, "status": {"phase": "Succeeded"}}, subresource="status")
            await used(client, {"count/pods": "1", "pods": "0", "requests.cpu": "0"})

    run_virtual(main())


def test_a_service_gives_its_node_ports_back_with_its_type() -> None:
    async def main() -> None:
        async with cluster() as client:
            await client.create(RESOURCE_QUOTAS, quota(services="2", services_nodeports="1"), NS)
            await used(client, {"services": "0", "services.nodeports": "0"})
            spec = {"type": "NodePort", "ports": [{"port": 80}]}
            await client.create(SERVICES, {"metadata": {"name": "s"}, "spec": spec}, NS)
            await used(client, {"services": "1", "services.nodeports": "1"})
            await client.patch(SERVICES, "s", {"spec": {"type": "ClusterIP"}}, NS)
            await used(client, {"services": "1", "services.nodeports": "0"})

    run_virtual(main())


def test_a_changed_quota_is_counted_again_and_what_it_drops_goes() -> None:
    async def main() -> None:
        async with cluster() as client:
            await client.create(RESOURCE_QUOTAS, quota(configmaps="5", pods="1"), NS)
            await used(client, {"configmaps": "0", "pods": "0"})
            await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
            patch = {"spec": {"hard": {"pods": None, "configmaps": "7"}}}
            await client.patch(RESOURCE_QUOTAS, "q", patch, NS)
            await used(client, {"configmaps": "1"})

    run_virtual(main())


def test_what_was_charged_for_an_object_that_was_not_stored_is_given_back_in_time() -> None:
    """A name that is taken is found out after admission; upstream keeps the charge until the next full count too."""

    async def main() -> None:
        async with cluster() as client:
            await client.create(RESOURCE_QUOTAS, quota(configmaps="5"), NS)
            await used(client, {"configmaps": "0"})
            await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
            with pytest.raises(ApiError, match="already exists"):
                await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
            await used(client, {"configmaps": "2"})
            await asyncio.sleep(301)
            await used(client, {"configmaps": "1"})

    run_virtual(main())


def test_a_dry_run_charges_nothing_and_cluster_wide_kinds_are_nobodys() -> None:
    async def main() -> None:
        async with cluster() as client:
            await client.create(RESOURCE_QUOTAS, quota(configmaps="5"), NS)
            await used(client, {"configmaps": "0"})
            await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS, dryRun="All")
            await client.create(STORAGE_CLASSES, {"metadata": {"name": "s"}, "provisioner": "p"})
            await used(client, {"configmaps": "0"})

    run_virtual(main())


def test_a_count_waits_for_the_objects_that_are_on_their_way() -> None:
    """Charged, but not stored yet: a count in between must not give the charge back."""

    async def main() -> None:
        async with cluster() as client:
            await client.create(CONFIG_MAPS, {"metadata": {"name": "old"}}, NS)
            await client.create(RESOURCE_QUOTAS, quota(configmaps="5"), NS)
            await used(client, {"configmaps": "1"})
            await asyncio.sleep(5)
            found = await client.get(RESOURCE_QUOTAS, "q", NS)
            charged = {**found, "status": {**found["status"], "used": {"configmaps": "2"}}}
            await client.update(RESOURCE_QUOTAS, charged, subresource="status")
            await client.delete(CONFIG_MAPS, "old", NS)
            await asyncio.sleep(0.2)
            await used(client, {"configmaps": "2"})
            await asyncio.sleep(1)
            await used(client, {"configmaps": "0"})

    run_virtual(main())


def test_a_charge_leaves_what_others_hold_alone() -> None:
    """Objects in the process are shared: whoever read the quota before must not see it change, least of all its
    revision, by which he would overwrite the charge."""

    async def main() -> None:
        async with cluster() as client:
            await client.create(RESOURCE_QUOTAS, quota(configmaps="5"), NS)
            await used(client, {"configmaps": "0"})
            held = await client.get(RESOURCE_QUOTAS, "q", NS)
            revision = held["metadata"]["resourceVersion"]
            await client.create(CONFIG_MAPS, {"metadata": {"name": "m"}}, NS)
            found = await client.get(RESOURCE_QUOTAS, "q", NS)
            assert found["status"]["used"] == {"configmaps": "1"}
            assert (held["metadata"]["resourceVersion"], held["status"]["used"]) == (
                revision,
                {"configmaps": "0"},
            )
            managers = {entry["manager"] for entry in found["metadata"]["managedFields"]}
            assert "kube-apiserver" in managers
            with pytest.raises(ApiError, match="the object has been modified"):
                await client.update(RESOURCE_QUOTAS, held, subresource="status")

    run_virtual(main())


def test_custom_resources_are_counted_once_they_are_discovered() -> None:
    """Every half minute, as upstream; until then nothing passes that nobody has counted."""
    widgets = Resource("example.com", "v1", "widgets", "Widget")
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    definition = {
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]},
    }

    def widget(name: str) -> Obj:
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}}

    async def main() -> None:
        async with cluster() as client:
            await asyncio.sleep(1)  # the first discovery is over
            await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition)
            await asyncio.sleep(1)
            await client.create(widgets, widget("a"), NS)
            hard = {"spec": {"hard": {"count/widgets.example.com": "2"}}}
            await client.create(RESOURCE_QUOTAS, {"metadata": {"name": "q"}, **hard}, NS)
            await asyncio.sleep(1)
            with pytest.raises(ApiError, match="status unknown for quota: q, resources: count/widgets"):
                await client.create(widgets, widget("b"), NS)
            await asyncio.sleep(35)
            await used(client, {"count/widgets.example.com": "1"})
            await client.create(widgets, widget("b"), NS)
            with pytest.raises(ApiError, match="exceeded quota"):
                await client.create(widgets, widget("c"), NS)
            await client.delete(widgets, "a", NS)
            await used(client, {"count/widgets.example.com": "1"})

    run_virtual(main())


def test_a_server_that_cannot_be_asked_at_the_start_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed first discovery must not end the controller, and the whole manager with it."""
    refusals = [ConnectionError("refused"), ApiError(503, "ServiceUnavailable", "starting")]
    plain = resource_quota.discover

    async def discover(controller: Controller) -> Discovered:
        if refusals:
            raise refusals.pop()
        return await plain(controller)

    monkeypatch.setattr(resource_quota, "discover", discover)

    async def main() -> None:
        async with cluster() as client:
            await client.create(PODS, pod("a"), NS)
            await client.create(RESOURCE_QUOTAS, quota(pods="5"), NS)
            await used(client, {"pods": "1"})
        assert not refusals

    run_virtual(main())
