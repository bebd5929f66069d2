"""Claims with devices and without a pod: the cluster is in use before the workload begins (dra.go,
allocResourceClaimsOp)."""

from __future__ import annotations

from benchmarks.scheduler_perf.read import WorkloadError
from pilothouse.api.resource_claims import allocation
from pilothouse.api.resources import DEVICE_CLASSES, NODES, RESOURCE_CLAIMS, RESOURCE_SLICES
from pilothouse.client.client import Client
from pilothouse.kit.world import World
from pilothouse.scheduler.dra import allocator, result
from pilothouse.scheduler.dra.allocator import Grant, Taken
from pilothouse.scheduler.dra.devices import DeviceId
from pilothouse.scheduler.dra.inventory import Inventory
from pilothouse.scheduler.dra.requests import wanted


async def allocate_all(client: Client, world: World, namespace: str) -> None:
    """Every claim of a namespace, "" for all, on any node that has devices for it. WorkloadError when none has."""
    classes = {c["metadata"]["name"]: c for c in (await client.list(DEVICE_CLASSES))["items"]}
    inventory = Inventory(lambda nodes: None)
    for each in (await client.list(RESOURCE_SLICES))["items"]:
        inventory.on_add(each)
    nodes = (await client.list(NODES))["items"]
    world.random.shuffle(nodes)
    claims = (await client.list(RESOURCE_CLAIMS))["items"]
    devices: set[DeviceId] = set()
    shares: dict[DeviceId, dict[str, int]] = {}
    taken = Taken(devices, shares, {})
    for claim in claims:
        for each in ((allocation(claim) or {}).get("devices") or {}).get("results") or ():
            if not each.get("adminAccess") and not each.get("shareID"):
                devices.add(DeviceId(each["driver"], each["pool"], each["device"]))
    for claim in claims:
        if allocation(claim) is not None or namespace not in ("", claim["metadata"]["namespace"]):
            continue
        asked = wanted(claim, classes.get)
        for node in nodes:
            found = allocator.allocate([asked], inventory.on(node), taken)
            if found is not None:
                break
        else:
            raise WorkloadError(f"allocResourceClaims: no node has devices for claim {asked.label}")
        for grant in found[0]:
            _take(grant, devices, shares)
        taken.forget([grant.device.id for grant in found[0]])
        status = {"allocation": result.allocation(asked, found[0], node["metadata"]["name"], world.uid)}
        typed = {"apiVersion": RESOURCE_CLAIMS.group_version, "kind": RESOURCE_CLAIMS.kind}
        await client.update(RESOURCE_CLAIMS, {**claim, **typed, "status": status}, subresource="status")


def _take(grant: Grant, devices: set[DeviceId], shares: dict[DeviceId, dict[str, int]]) -> None:
    if grant.request.admin:
        return
    if grant.share is None:
        devices.add(grant.device.id)
        return
    has = shares.setdefault(grant.device.id, {})
    for name, value in grant.share.items():
        has[name] = has.get(name, 0) + value
