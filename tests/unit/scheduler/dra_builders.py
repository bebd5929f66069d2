"""Slices, classes and claims for the tests of device allocation, with the fewest fields."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.scheduler.dra import allocator, result
from pilothouse.scheduler.dra.allocator import Taken
from pilothouse.scheduler.dra.devices import DeviceId, PoolId, pool, pools_on
from pilothouse.scheduler.dra.requests import wanted

DRIVER = "d.example.com"
NODE = {"metadata": {"name": "n", "labels": {"zone": "a"}}}
CLASSES: dict[str, Obj] = {}


def device_class(name: str = "any", expression: str = "", **spec: Any) -> Obj:
    if expression:
        spec["selectors"] = [{"cel": {"expression": expression}}]
    return {"metadata": {"name": name}, "spec": spec}


def device(name: str, **fields: Any) -> Obj:
    return {"name": name, **fields}


def model(name: str, value: str, **fields: Any) -> Obj:
    return device(name, attributes={"model": {"string": value}}, **fields)


def resource_slice(*devices: Obj, name: str = "s", pool_name: str = "p", **fields: Any) -> Obj:
    generation, count = fields.pop("generation", 1), fields.pop("count", 1)
    driver = fields.pop("driver", DRIVER)
    where = fields or {"nodeName": "n"}
    pool = {"name": pool_name, "generation": generation, "resourceSliceCount": count}
    return {
        "metadata": {"name": name},
        "spec": {"driver": driver, "pool": pool, "devices": list(devices), **where},
    }


def exactly(name: str = "r", **fields: Any) -> Obj:
    expression = fields.pop("cel", "")
    if expression:
        fields["selectors"] = [{"cel": {"expression": expression}}]
    return {"name": name, "exactly": {"deviceClassName": "any", **fields}}


def first_of(name: str, *subs: Obj) -> Obj:
    return {"name": name, "firstAvailable": [{"name": s["name"], **s["exactly"]} for s in subs]}


def claim(*requests: Obj, name: str = "c", **devices: Any) -> Obj:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def reach(slices: list[Obj], node: Obj = NODE) -> allocator.Reach:
    by_pool: dict[PoolId, list[Obj]] = {}
    for each in slices:
        by_pool.setdefault(PoolId(each["spec"]["driver"], each["spec"]["pool"]["name"]), []).append(each)
    return pools_on(node, [pool(id, found) for id, found in by_pool.items()])


def allocate(
    slices: list[Obj],
    *claims: Obj,
    taken: Taken | None = None,
    classes: dict[str, Obj] | None = None,
    **more: Any,
) -> list[Obj] | None:
    """status.allocation of each claim, None when there is no answer."""
    known = classes or {"any": device_class()}
    asked = [wanted(each, known.get) for each in claims]
    found = allocator.allocate(asked, reach(slices), taken or Taken(), **more)
    if found is None:
        return None
    return [
        result.allocation(each, grants, "n", lambda: "share")
        for each, grants in zip(asked, found, strict=True)
    ]


def granted(allocations: list[Obj] | None) -> list[list[str]] | None:
    """request=device of each claim."""
    if allocations is None:
        return None
    return [[f"{r['request']}={r['device']}" for r in a["devices"]["results"]] for a in allocations]


def taken(*names: str, **shares: dict[str, int]) -> Taken:
    return Taken(
        {DeviceId(DRIVER, "p", name) for name in names},
        {DeviceId(DRIVER, "p", name): values for name, values in shares.items()},
    )
