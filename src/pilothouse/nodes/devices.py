"""Devices of simulated nodes: the ResourceSlices that drivers would publish, from an annotation of the node
(https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#resourceslice).

    pilothouse.dev/devices: |
      gpu.example.com: {count: 4, name: gpu, attributes: {model: A100, cores: 108}, capacity: {memory: 40Gi}}
      nic.example.com:
      - {name: eth-0, attributes: {speed: {int: 100}}}

A driver has so many devices that are alike, or a list of them as a ResourceSlice has it. Attributes may be written as
plain values: text, whole numbers, true and false; a version is `{version: 1.2.3}`. What else is said of devices
(taints, allowMultipleAllocations, …) goes into each of them. All of a driver's devices on a node are one pool, named
after the node. The slices are the node's (its garbage when it is deleted).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import RESOURCE_SLICES
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.client.informer import Handler, Informer
from pilothouse.kit.world import World
from pilothouse.nodes.behaviour import PREFIX
from pilothouse.nodes.kubelet_events import KubeletEvents
from pilothouse.nodes.life import Note

log = logging.getLogger(__name__)

ANNOTATION = f"{PREFIX}devices"
LABEL = f"{PREFIX}simulated"
_IN_SLICE_MAX = 128
_RETRY_S = 5.0

Devices = Mapping[str, list[Obj]]
"""By driver."""


class DevicesError(ValueError):
    """The annotation cannot be read; one line for who wrote it."""


def read(text: str) -> Devices:
    """What the annotation says. DevicesError."""
    try:
        found = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise DevicesError(" ".join(str(error).split())) from None
    if not isinstance(found, dict):
        raise DevicesError("devices by the names of their drivers are expected")
    return {str(driver): _devices(str(driver), said) for driver, said in found.items()}


def _devices(driver: str, said: Any) -> list[Obj]:
    if isinstance(said, list) and all(isinstance(each, dict) for each in said):
        return [_device(each) for each in said]
    if not isinstance(said, dict):
        raise DevicesError(f"{driver}: a list of devices or a count of them is expected")
    count, name = said.get("count", 1), said.get("name", "device")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise DevicesError(f"{driver}: count must be a whole number from 0 on, not {count!r}")
    rest = {key: value for key, value in said.items() if key not in ("count", "name")}
    return [_device({"name": f"{name}-{number}", **rest}) for number in range(count)]


def _device(said: Obj) -> Obj:
    made = dict(said)
    if isinstance(said.get("attributes"), dict):
        made["attributes"] = {key: _attribute(value) for key, value in said["attributes"].items()}
    if isinstance(said.get("capacity"), dict):
        made["capacity"] = {
            key: value if isinstance(value, dict) else {"value": str(value)}
            for key, value in said["capacity"].items()
        }
    return made


def _attribute(value: Any) -> Obj:
    if isinstance(value, dict):
        return value
    if isinstance(value, bool):
        return {"bool": value}
    return {"int": value} if isinstance(value, int) else {"string": str(value)}


def slices(node: Obj, devices: Devices) -> dict[str, Obj]:
    """The slices of a node by their names, all of the first generation."""
    found = {}
    meta = node["metadata"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": meta["name"], "uid": meta["uid"], "controller": True}
    for driver, of_driver in devices.items():
        parts = [of_driver[at : at + _IN_SLICE_MAX] for at in range(0, len(of_driver), _IN_SLICE_MAX)] or [[]]
        for number, part in enumerate(parts):
            name = f"{meta['name']}-{driver}" + (f"-{number}" if number else "")
            pool = {"name": meta["name"], "generation": 1, "resourceSliceCount": len(parts)}
            found[name] = {
                "apiVersion": RESOURCE_SLICES.group_version,
                "kind": RESOURCE_SLICES.kind,
                "metadata": {"name": name, "labels": {LABEL: "true"}, "ownerReferences": [owner]},
                "spec": {"driver": driver, "nodeName": meta["name"], "pool": pool, "devices": part},
            }
    return found


def _facts(spec: Obj) -> Obj:
    """What of a slice the annotation says: all but its generation."""
    pool = {key: value for key, value in spec["pool"].items() if key != "generation"}
    return {**spec, "pool": pool, "devices": spec.get("devices") or []}


class Publisher(Handler):
    """Keeps the slices of simulated nodes as their annotations say. `simulates` knows which nodes are."""

    def __init__(
        self,
        client: Client,
        nodes: Informer,
        world: World,
        events: KubeletEvents,
        simulates: Callable[[str], bool],
    ) -> None:
        self._client = client
        self._nodes = nodes
        self._world = world
        self._events = events
        self._simulates = simulates
        self._waiting: dict[str, None] = {}
        self._more = asyncio.Event()
        nodes.add_handler(self)

    def on_add(self, obj: Obj) -> None:
        if _said(obj):
            self._add(obj["metadata"]["name"])

    def on_update(self, old: Obj, new: Obj) -> None:
        if _said(old) != _said(new):
            self._add(new["metadata"]["name"])

    def on_delete(self, obj: Obj) -> None:
        """The slices go with their owner."""
        return

    def _add(self, name: str) -> None:
        self._waiting[name] = None
        self._more.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._look_for_old_ones()
        while True:
            await self._more.wait()
            self._more.clear()
            names, self._waiting = list(self._waiting), {}
            failed = [name for name in names if not await self._publish_in_time(name)]
            if failed:
                await self._world.clock.sleep(_RETRY_S)
                for name in failed:
                    self._add(name)

    async def _look_for_old_ones(self) -> None:
        """Nodes that have slices and no annotation lost it while nobody watched."""
        while True:
            try:
                found = await self._client.list(RESOURCE_SLICES, labelSelector=f"{LABEL}=true")
            except (ApiError, ConnectionError) as error:
                log.warning("slices of simulated nodes: %s; trying again", error)
                await self._world.clock.sleep(_RETRY_S)
                continue
            for each in found["items"]:
                self._add(each["spec"]["nodeName"])
            return

    async def _publish_in_time(self, name: str) -> bool:
        node = self._nodes.get(name)
        if node is None or not self._simulates(name):
            return True
        try:
            await self._publish(node, read(_said(node)))
        except DevicesError as error:
            self._refuse(name, str(error))
        except (ApiError, ConnectionError) as error:
            log.warning("node %s: its devices are not published: %s", name, error)
            if not isinstance(error, ApiError) or error.code not in (404, 422):
                return False
            self._refuse(name, str(error))
        return True

    def _refuse(self, name: str, why: str) -> None:
        self._events.of_node(name, Note("Warning", "InvalidDevices", f"{ANNOTATION}: {why}"))

    async def _publish(self, node: Obj, devices: Devices) -> None:
        """A pool that changes gets a new generation: until its last slice is written it gives no devices."""
        name = node["metadata"]["name"]
        found = await self._client.list(
            RESOURCE_SLICES, labelSelector=f"{LABEL}=true", fieldSelector=f"spec.nodeName={name}"
        )
        before = {each["metadata"]["name"]: each for each in found["items"]}
        wanted = slices(node, devices)
        changed = {
            driver
            for driver in devices
            if {n: _facts(s["spec"]) for n, s in wanted.items() if s["spec"]["driver"] == driver}
            != {n: _facts(s["spec"]) for n, s in before.items() if s["spec"]["driver"] == driver}
        }
        newest = max((each["spec"]["pool"]["generation"] for each in before.values()), default=0)
        for each, made in wanted.items():
            if made["spec"]["driver"] not in changed:
                continue
            made["spec"]["pool"]["generation"] = newest + 1
            old = before.get(each)
            if old is None:
                await self._client.create(RESOURCE_SLICES, made)
            else:
                meta = {**made["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}
                await self._client.update(RESOURCE_SLICES, {**made, "metadata": meta})
        for each in before.keys() - wanted.keys():
            await self._client.delete(RESOURCE_SLICES, each)


def _said(node: Obj) -> str:
    return str((node["metadata"].get("annotations") or {}).get(ANNOTATION, ""))
