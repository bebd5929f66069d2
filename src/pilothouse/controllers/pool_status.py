"""Answers to ResourcePoolStatusRequests: how many devices the pools of a driver have, and how many are given away
(KEP-5677, k8s.io/kubernetes/pkg/controller/resourcepoolstatusrequest). Alpha: it runs where the API is served.

A request is answered once, and deleted an hour later; one that could not be answered after a day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import RESOURCE_CLAIMS, RESOURCE_SLICES, Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, TryAgain
from pilothouse.controllers.pods import condition
from pilothouse.kit.world import parse_timestamp

REQUESTS = Resource(
    "resource.k8s.io", "v1alpha3", "resourcepoolstatusrequests", "ResourcePoolStatusRequest", False
)
LIMIT = 100
KEPT_S, PENDING_S = 3600.0, 86400.0
_ERROR_BYTES_MAX = 256
_TRIES = 5


class PoolStatusController(Controller):
    name: ClassVar[str] = "resourcepoolstatusrequest-controller"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._requests = self.watch(REQUESTS)
        self._slices = self.informer(RESOURCE_SLICES)
        self._claims = self.informer(RESOURCE_CLAIMS)

    async def reconcile(self, key: str) -> float | None:
        request = self._requests.get(key)
        if request is None:
            return None
        now_s = self.world.clock.now()
        due_s = ends_at_s(request)
        if now_s >= due_s:
            await self._delete(request)
            return None
        if request.get("status") or self.queue.failures(key) > _TRIES:
            return due_s - now_s
        pools = pools_of(request, self._slices.list(), self._claims.list())
        if any("validationError" in pool for pool in pools):
            raise TryAgain("incomplete pools detected, requeueing")
        body = {"status": answer(request, pools, self.world.timestamp())}
        await self.client.patch(REQUESTS, key, body, subresource="status")
        return None

    async def _delete(self, request: Obj) -> None:
        meta = request["metadata"]
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": meta["uid"]}}
        try:
            await self.client.delete(REQUESTS, meta["name"], "", options)
        except ApiError as error:
            if error.code != 404:
                raise


def ends_at_s(request: Obj) -> float:
    made_s = parse_timestamp(request["metadata"]["creationTimestamp"])
    if not request.get("status"):
        return made_s + PENDING_S
    found = condition(request, "Complete") or condition(request, "Failed")
    return (parse_timestamp(found["lastTransitionTime"]) if found is not None else made_s) + KEPT_S


def pools_of(request: Obj, slices: Iterable[Obj], claims: Iterable[Obj]) -> list[Obj]:
    """The pools that a request asks about, by name, each of its latest generation."""
    spec = request["spec"]
    by_pool: dict[str, list[Obj]] = {}
    for found in slices:
        pool = found["spec"]["pool"]
        if found["spec"]["driver"] == spec["driver"] and spec.get("poolName", pool["name"]) == pool["name"]:
            by_pool.setdefault(pool["name"], []).append(found["spec"])
    given = Counter(
        result["pool"] for claim in claims for result in _results(claim) if result["driver"] == spec["driver"]
    )
    return [_pool(spec["driver"], name, parts, given[name]) for name, parts in sorted(by_pool.items())]


def _results(claim: Obj) -> list[Obj]:
    allocation = (claim.get("status") or {}).get("allocation") or {}
    found: list[Obj] = (allocation.get("devices") or {}).get("results") or []
    return found


def _pool(driver: str, name: str, parts: list[Obj], given: int) -> Obj:
    generation = max(part["pool"].get("generation", 0) for part in parts)
    latest = [part for part in parts if part["pool"].get("generation", 0) == generation]
    out: Obj = {"driver": driver, "poolName": name, "generation": generation}
    nodes = {part.get("nodeName") or "" for part in latest}
    if len(nodes) == 1 and nodes != {""}:
        out["nodeName"] = nodes.pop()
    expected = latest[0]["pool"]["resourceSliceCount"]
    if len(latest) < expected:
        seen = f"observed {len(latest)}/{expected} slices at generation {generation}"
        text = f"pool {driver}/{name} is incomplete: {seen}"
        return {**out, "validationError": text[:_ERROR_BYTES_MAX]}
    total = sum(len(part.get("devices") or ()) for part in latest)
    return {
        **out,
        "resourceSliceCount": len(latest),
        "totalDevices": total,
        "allocatedDevices": given,
        "availableDevices": max(0, total - given),
        "unavailableDevices": 0,
    }


def answer(request: Obj, pools: list[Obj], now: str) -> Obj:
    """The request's status."""
    shown = pools[: request["spec"].get("limit") or LIMIT]
    complete = {
        "type": "Complete",
        "status": "True",
        "reason": "CalculationComplete",
        "message": f"Calculated status for {len(shown)} pools",
        "lastTransitionTime": now,
    }
    return {"poolCount": len(pools), "pools": shown, "conditions": [complete]}
