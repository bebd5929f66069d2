"""A client whose server is a snapshot: what the scheduler asks of an API server, without one.

Reads, watches and writes with their conflicts are there. Nothing is authorized, validated or admitted: what comes in
here comes from the scheduler. Whoever else acts in a cluster when something is written (the volume controller, say)
is a reaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from pilothouse.api import errors
from pilothouse.api.resources import PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.patch import json_patch, merge_patch, strategic_merge
from pilothouse.client.client import Batch, PatchType, WatchEvent
from pilothouse.kit.world import World
from pilothouse.whatif.kinds import kinds
from pilothouse.whatif.snapshot import Snapshot

Reaction = Callable[["MemoryApi", Resource, Obj], None]
"""Told of each object that was written; writes others in turn."""
_UNHEARD = frozenset(("events",))
"""What nobody asks for again."""


class MemoryApi:
    """See `client.Client` for what each method promises. `deleted` are the pods that were, in order."""

    def __init__(self, snapshot: Snapshot, world: World, reactions: tuple[Reaction, ...] = ()) -> None:
        self.snapshot = snapshot
        self.deleted: list[Obj] = []
        self._world = world
        self._reactions = reactions
        self._history: dict[tuple[str, str], list[tuple[int, WatchEvent]]] = {}
        self._changed = asyncio.Event()

    async def get(self, resource: Resource, name: str, namespace: str = "", *, subresource: str = "") -> Obj:
        return self._present(resource, name, namespace)

    async def list(self, resource: Resource, namespace: str = "", **params: str) -> Obj:
        found = self.snapshot.list(resource, namespace)
        revision = str(self.snapshot.revision(resource))
        return {"items": list(found), "metadata": {"resourceVersion": revision}}

    async def create(
        self,
        resource: Resource,
        obj: Obj,
        namespace: str = "",
        *,
        name: str = "",
        subresource: str = "",
        **params: str,
    ) -> Obj:
        if resource.plural in _UNHEARD:
            return obj
        if subresource == "binding":
            return self._bind(name, namespace, obj["target"]["name"])
        if subresource:
            raise errors.resource_not_found()
        meta = {**obj["metadata"], **({"namespace": namespace} if namespace else {})}
        if not meta.get("name"):
            meta["name"] = f"{meta.get('generateName', '')}{self._world.suffix()}"
        if self.snapshot.get(resource, meta["name"], meta.get("namespace", "")) is not None:
            raise errors.already_exists(resource.group, resource.plural, meta["name"])
        meta["creationTimestamp"] = self._world.timestamp()
        return self.write(resource, {**obj, "metadata": meta})

    async def update(self, resource: Resource, obj: Obj, *, subresource: str = "", **params: str) -> Obj:
        meta = obj["metadata"]
        live = self._present(resource, meta["name"], meta.get("namespace", ""))
        sent = meta.get("resourceVersion")
        if sent and sent != live["metadata"]["resourceVersion"]:
            why = (
                "the object has been modified; please apply your changes to the latest version and try again"
            )
            raise errors.conflict(resource.group, resource.plural, meta["name"], why)
        return self.write(resource, _kept(live, obj, subresource))

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        patch_type: PatchType = "merge",
        subresource: str = "",
        **params: str,
    ) -> Obj:
        live = self._present(resource, name, namespace)
        if patch_type == "merge":
            patched = merge_patch.apply(live, body)
        elif patch_type == "strategic":
            patched = strategic_merge.apply(live, body, kinds().type_of(resource))
        elif patch_type == "json":
            patched = json_patch.apply(live, body)
        else:
            raise errors.unsupported_media_type(f"{patch_type} patches are not served in a simulation")
        if patched["metadata"]["uid"] != live["metadata"]["uid"]:
            raise errors.conflict(
                resource.group, resource.plural, name, "Precondition failed: UID in precondition"
            )
        return self.write(resource, _kept(live, patched, subresource))

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", options: Obj | None = None
    ) -> Obj:
        live = self._present(resource, name, namespace)
        wanted = ((options or {}).get("preconditions") or {}).get("uid")
        if wanted and wanted != live["metadata"]["uid"]:
            raise errors.conflict(
                resource.group, resource.plural, name, "Precondition failed: UID in precondition"
            )
        self.snapshot.remove(resource, name, namespace)
        if resource.plural == PODS.plural:
            self.deleted.append(live)
        revision = str(self.snapshot.revision())
        gone = {**live, "metadata": {**live["metadata"], "resourceVersion": revision}}
        self._tell(resource, WatchEvent("DELETED", gone))
        return gone

    async def delete_collection(
        self, resource: Resource, namespace: str = "", options: Obj | None = None, **params: str
    ) -> Obj:
        raise errors.method_not_supported()

    async def watch(self, resource: Resource, namespace: str = "", **params: str) -> AsyncIterator[Batch]:
        seen = int(params.get("resourceVersion") or 0)
        history = self._history.setdefault((resource.group, resource.plural), [])
        at = 0
        while True:
            batch = [event for revision, event in history[at:] if revision > seen]
            at = len(history)
            if batch:
                yield batch
            else:
                await self._changed.wait()

    async def raw(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        raise errors.resource_not_found()

    async def close(self) -> None: ...

    def write(self, resource: Resource, obj: Obj) -> Obj:
        """Store a complete object, tell watchers, and let others react."""
        meta = obj["metadata"]
        there = self.snapshot.get(resource, meta["name"], meta.get("namespace", ""))
        stored = self.snapshot.put(resource, obj)
        self._tell(resource, WatchEvent("ADDED" if there is None else "MODIFIED", stored))
        for reaction in self._reactions:
            reaction(self, resource, stored)
        return self.snapshot.get(resource, meta["name"], meta.get("namespace", "")) or stored

    def _tell(self, resource: Resource, event: WatchEvent) -> None:
        history = self._history.setdefault((resource.group, resource.plural), [])
        history.append((self.snapshot.revision(), event))
        self._changed.set()
        self._changed = asyncio.Event()

    def _present(self, resource: Resource, name: str, namespace: str) -> Obj:
        found = self.snapshot.get(resource, name, namespace)
        if found is None:
            raise errors.not_found(resource.group, resource.plural, name)
        return found

    def _bind(self, name: str, namespace: str, node: str) -> Obj:
        """BindingREST: the node, and that the pod has one."""
        pod = self._present(PODS, name, namespace)
        if pod["spec"].get("nodeName"):
            why = f"pod {name} is already assigned to node {pod['spec']['nodeName']!r}"
            raise errors.conflict("", "pods/binding", name, why)
        status = pod.get("status") or {}
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": self._world.timestamp()}
        conditions = [c for c in status.get("conditions") or () if c["type"] != "PodScheduled"]
        status = {k: v for k, v in status.items() if k != "nominatedNodeName"}
        status["conditions"] = [*conditions, scheduled]
        return self.write(PODS, {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status})


def _kept(live: Obj, new: Obj, subresource: str) -> Obj:
    """A subresource changes the status, everything else leaves it."""
    if subresource == "status":
        return {**live, "status": new.get("status") or {}}
    return {**new, "status": live["status"]} if "status" in live else new
