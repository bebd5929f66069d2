"""ResourceSlices as pools of devices (k8s.io/dynamic-resource-allocation/structured, GatherPools).

A driver publishes the devices of a pool in one or more slices, all with one generation; those of older generations are
out of date. A pool whose newest generation is not complete yet gives no devices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from pilothouse.api import node_selector, quantity
from pilothouse.api.device_taints import with_rules
from pilothouse.api.types import Obj

Amounts = dict[str, int]
"""Billionths by name."""
_KIND = "kind"
_CONSUMPTION = "consumption"
_SELECTS = ("nodeName", "allNodes", "nodeSelector")
_encode = msgspec.json.Encoder(order="deterministic").encode


class PoolId(NamedTuple):
    driver: str
    pool: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}"


class DeviceId(NamedTuple):
    driver: str
    pool: str
    device: str

    def __str__(self) -> str:
        return f"{self.driver}/{self.pool}/{self.device}"

    @property
    def of(self) -> PoolId:
        return PoolId(self.driver, self.pool)


@dataclass(eq=False, slots=True)
class Device:
    """`raw` is the slice's entry, with the taints that rules add; `where` what says which nodes can reach it: the
    slice's spec, or the entry itself. `facts` is for who works out something of it: it lives as long as the device is
    what it is."""

    id: DeviceId
    raw: Obj
    where: Obj
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def shareable(self) -> bool:
        return bool(self.raw.get("allowMultipleAllocations"))

    @property
    def kind(self) -> str:
        """The same for devices of a pool that differ in their names alone."""
        found: str | None = self.facts.get(_KIND)
        if found is None:
            rest = {key: value for key, value in self.raw.items() if key != "name"}
            found = self.facts[_KIND] = f"{self.id.of} {_encode(rest)!r}"
        return found

    @property
    def counters(self) -> list[Obj]:
        found: list[Obj] = self.raw.get("consumesCounters") or []
        return found


@dataclass(eq=False, slots=True)
class Pool:
    """The newest generation. `counters` by set and name. `binds`: a device of it has binding conditions. `selection`
    is the same for pools whose devices all have one and the same node selection, None where they differ."""

    id: PoolId
    devices: list[Device]
    counters: dict[str, Amounts]
    incomplete: bool
    invalid: str
    binds: bool
    selection: bytes | None
    values: dict[str, frozenset[tuple[str, object] | None]] = field(default_factory=dict)
    """Of attributes that somebody asked for, all that there are."""

    def on(self, node: Obj, known: dict[bytes, bool]) -> list[Device]:
        """The devices that a node can reach: `devices` itself where these are all. `known` keeps what was found of
        a selection on this node."""
        if self.selection is not None and self.devices:
            reached = known.get(self.selection)
            if reached is None:
                reached = known[self.selection] = reaches(self.devices[0].where, node)
            return self.devices if reached else []
        return self._some(node)

    def _some(self, node: Obj) -> list[Device]:
        found: list[Device] = []
        last: Obj | None = None
        reached = False
        for device in self.devices:
            if device.where is not last:
                last, reached = device.where, reaches(device.where, node)
            if reached:
                found.append(device)
        return found


def pool(id: PoolId, slices: Iterable[Obj], rules: Sequence[Obj] = ()) -> Pool:
    """Of all slices of a pool, of which there is at least one; in the order of their names. `rules` are the
    DeviceTaintRules that concern it."""
    known = list(slices)
    newest = max(_generation(each) for each in known)
    current = sorted(
        (each for each in known if _generation(each) == newest),
        key=lambda each: str(each["metadata"]["name"]),
    )
    devices = [device for each in current for device in _devices(id, each["spec"], rules)]
    sets = [shared for each in current for shared in each["spec"].get("sharedCounters") or ()]
    return Pool(
        id,
        devices,
        {shared["name"]: _values(shared.get("counters")) for shared in sets},
        len(current) != current[0]["spec"]["pool"]["resourceSliceCount"],
        _problem(devices, sets),
        any(device.raw.get("bindingConditions") for device in devices),
        _selection(devices),
    )


def _selection(devices: Iterable[Device]) -> bytes | None:
    wheres = {id(device.where): device.where for device in devices}.values()
    found = {_encode([where.get(field) for field in _SELECTS]) for where in wheres}
    return found.pop() if len(found) == 1 else None


def _generation(each: Obj) -> int:
    return int(each["spec"]["pool"].get("generation", 0))


def _devices(id: PoolId, spec: Obj, rules: Sequence[Obj]) -> Iterator[Device]:
    for entry in spec.get("devices") or ():
        raw = with_rules(entry, rules)
        yield Device(DeviceId(*id, raw["name"]), raw, raw if spec.get("perDeviceNodeSelection") else spec)


def _problem(devices: Iterable[Device], sets: Iterable[Obj]) -> str:
    """Why a pool cannot be used; "" when it can."""
    names: set[str] = set()
    for device in devices:
        if device.id.device in names:
            return f"duplicate device name {device.id.device}"
        names.add(device.id.device)
    known: set[str] = set()
    for shared in sets:
        if shared["name"] in known:
            return f"duplicate counter set name {shared['name']}"
        known.add(shared["name"])
    for device in devices:
        for consumed in device.counters:
            if consumed["counterSet"] not in known:
                return f"counter set {consumed['counterSet']} not found"
    return ""


def reaches(where: Obj, node: Obj) -> bool:
    """Whether a slice's, or a device's, own node selection covers a node."""
    if where.get("nodeName"):
        return bool(where["nodeName"] == node["metadata"]["name"])
    if where.get("allNodes"):
        return True
    selector = where.get("nodeSelector")
    return selector is not None and node_selector.selector_matches(selector, node)


def pools_on(node: Obj, pools: Iterable[Pool]) -> list[tuple[Pool, list[Device]]]:
    """Pools with the devices that a node can reach, without those that have none: those that need no preparation
    first, each sort by name, so that the same question has the same answer."""
    known: dict[bytes, bool] = {}
    found = [(each, devices) for each in pools if (devices := each.on(node, known))]
    found.sort(key=lambda pair: (pair[0].binds, pair[0].id))
    return found


def consumption(device: Device) -> Sequence[tuple[str, str, int]]:
    """What a device takes of its pool's shared counters: set, counter, amount (KEP-4815)."""
    found: list[tuple[str, str, int]] | None = device.facts.get(_CONSUMPTION)
    if found is None:
        found = device.facts[_CONSUMPTION] = [
            (consumed["counterSet"], name, value)
            for consumed in device.counters
            for name, value in _values(consumed.get("counters")).items()
        ]
    return found


def left_over(pool: Pool, taken: Iterable[Device]) -> dict[str, Amounts]:
    """What the devices that are taken leave of a pool's counters; may be less than nothing."""
    rest = {name: dict(values) for name, values in pool.counters.items()}
    for device in taken:
        for counters, name, value in consumption(device):
            if name in rest.get(counters, ()):
                rest[counters][name] -= value
    return rest


def _values(counters: Mapping[str, Obj] | None) -> Amounts:
    return {name: quantity.parse(str(each["value"])).nano for name, each in (counters or {}).items()}
