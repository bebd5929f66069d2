"""A snapshot of a cluster that runs: what the scheduler would look at, listed with the asker's own rights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    DAEMON_SETS,
    LIMIT_RANGES,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    RUNTIME_CLASSES,
    STORAGE_CLASSES,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.kit.world import simulated_world
from pilothouse.scheduler.build import Factory
from pilothouse.whatif.memory_api import MemoryApi
from pilothouse.whatif.snapshot import Snapshot
from pilothouse.whatif.stage import alone, component

FOR_SIMULATIONS = (DAEMON_SETS, LIMIT_RANGES, PRIORITY_CLASSES, RUNTIME_CLASSES, STORAGE_CLASSES)
"""What others than the scheduler ask for: admission, and what comes with a new node."""
_NEEDED = (NODES, PODS)


def resources(config: Obj | None = None, plugins: Mapping[str, Factory] | None = None) -> list[Resource]:
    """Those that a scheduler with this configuration looks at. ProfileError when it is not valid."""
    world = simulated_world(0)
    made = component(MemoryApi(Snapshot(), world), world, alone(config), plugins)
    return list(dict.fromkeys((*_NEEDED, *made.informers.resources)))


async def taken(client: Client, wanted: Iterable[Resource], warnings: list[str]) -> Snapshot:
    """What a cluster holds of some resources. What it does not serve has no objects; what may not be read neither, and
    `warnings` says so. ApiError when nodes or pods may not be read, and for all that is no matter of rights;
    ConnectionError."""
    snapshot = Snapshot()
    for resource in wanted:
        for obj in await _listed(client, resource, warnings):
            snapshot.put(resource, obj)
    return snapshot


async def _listed(client: Client, resource: Resource, warnings: list[str]) -> list[Obj]:
    try:
        answer = await client.list(resource)
    except ApiError as error:
        if resource in _NEEDED or error.code not in (403, 404):
            raise
        if error.code == 403:
            warnings.append(f"{error}; taken to be none")
        return []
    head = {"apiVersion": resource.group_version, "kind": resource.kind}
    return [{**head, **item} for item in answer.get("items") or ()]
