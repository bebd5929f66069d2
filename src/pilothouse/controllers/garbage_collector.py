"""Garbage collector: deletes what lost its owners, and waits for dependents where a deletion asks for it
(k8s.io/kubernetes/pkg/controller/garbagecollector,
https://kubernetes.io/docs/concepts/architecture/garbage-collection/).

A graph of all objects with owners or dependents, fed by an informer of every deletable resource:

    all owners gone                       → deleted in the background
    some owners gone                      → the dangling references are taken out
    owner waits in the foreground         → blocking dependents are deleted first, then its finalizer goes
    owner has the finalizer `orphan`      → dependents lose the reference, then the finalizer goes
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CUSTOM_RESOURCE_DEFINITIONS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer
from pilothouse.controllers.reconciler import Controller, Environment

log = logging.getLogger(__name__)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_RESYNC_S = 30.0
_GATHER_S = 1.0
"""After a change of a definition: what it serves is there then, and several changes are looked at together."""
_IGNORED = frozenset((("", "events"), ("events.k8s.io", "events")))


@dataclass(slots=True)
class _Node:
    """An object of the graph, by UID."""

    uid: str
    resource: Resource
    namespace: str
    name: str
    owners: list[Obj] = field(default_factory=list)
    finalizers: tuple[str, ...] = ()
    deleting: bool = False


class GarbageCollector(Controller):
    name: ClassVar[str] = "garbage-collector-controller"
    workers: ClassVar[int] = 20

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._nodes: dict[str, _Node] = {}
        self._dependents: dict[str, set[str]] = {}
        self._absent: set[str] = set()
        self._followed: dict[Resource, Informer] = {}
        self._definitions_changed = asyncio.Event()

    def setup(self) -> None:
        self.informer(CUSTOM_RESOURCE_DEFINITIONS).add_handler(_Definitions(self._definitions_changed))

    async def run(self) -> None:
        await self._follow_resources()
        await asyncio.gather(*(i.synced() for i in self._followed.values()))
        resync = asyncio.get_running_loop().create_task(self._resync(), name="garbage collector resync")
        try:
            await super().run()
        finally:
            resync.cancel()
            await asyncio.gather(resync, return_exceptions=True)

    async def _resync(self) -> None:
        """Custom resources come and go: upstream looks every 30 s, this one also when a definition changes."""
        while True:
            await self._sleep_until_due()
            try:
                await self._follow_resources()
            except (ApiError, ConnectionError) as error:
                log.warning("garbage collector: discovery failed: %s", error)

    async def _sleep_until_due(self) -> None:
        try:
            await asyncio.wait_for(self._definitions_changed.wait(), _RESYNC_S)
        except TimeoutError:
            return
        await self.world.clock.sleep(_GATHER_S)
        self._definitions_changed.clear()

    async def _follow_resources(self) -> None:
        found = await discover(self)
        for resource in found:
            if resource not in self._followed:
                informer = self.env.informers.informer(resource)
                self._followed[resource] = informer
                informer.add_handler(_Handler(self, resource))
        for resource in [r for r in self._followed if r not in found]:
            self.env.informers.forget(self._followed.pop(resource))
            for uid in [node.uid for node in self._nodes.values() if node.resource == resource]:
                self._drop(uid)

    # -- the graph --------------------------------------------------------------------------------------

    def observe(self, resource: Resource, obj: Obj) -> None:
        meta = obj["metadata"]
        uid = meta["uid"]
        node = self._nodes.get(uid)
        if node is None:
            if (
                not meta.get("ownerReferences")
                and not meta.get("finalizers")
                and not self._dependents.get(uid)
            ):
                self._nodes[uid] = _Node(uid, resource, meta.get("namespace", ""), meta["name"])
                return
            node = self._nodes[uid] = _Node(uid, resource, meta.get("namespace", ""), meta["name"])
        owners = meta.get("ownerReferences") or []
        for gone in {r["uid"] for r in node.owners} - {r["uid"] for r in owners}:
            self._dependents.get(gone, set()).discard(uid)
            self._wake_waiting(gone)
        for ref in owners:
            self._dependents.setdefault(ref["uid"], set()).add(uid)
        node.owners = owners
        node.finalizers = tuple(meta.get("finalizers") or ())
        node.deleting = bool(meta.get("deletionTimestamp"))
        if owners or (node.deleting and (FOREGROUND in node.finalizers or ORPHAN in node.finalizers)):
            self.queue.add(uid)
        if node.deleting and FOREGROUND in node.finalizers:
            for dependent in self._dependents.get(uid, ()):
                self.queue.add(dependent)

    def forget_object(self, obj: Obj) -> None:
        self._drop(obj["metadata"]["uid"])

    def _drop(self, uid: str) -> None:
        node = self._nodes.pop(uid, None)
        if node is not None:
            for ref in node.owners:
                self._dependents.get(ref["uid"], set()).discard(uid)
                self._wake_waiting(ref["uid"])
        for dependent in self._dependents.get(uid, ()):
            self.queue.add(dependent)
        if not self._dependents.get(uid):
            self._dependents.pop(uid, None)

    def _wake_waiting(self, uid: str) -> None:
        """An owner that waits for its dependents may be done."""
        owner = self._nodes.get(uid)
        if owner is not None and owner.deleting and FOREGROUND in owner.finalizers:
            self.queue.add(uid)

    # -- work -------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            return None
        if node.deleting and ORPHAN in node.finalizers:
            await self._orphan(node)
        elif node.deleting and FOREGROUND in node.finalizers:
            await self._foreground(node)
        elif node.owners and not node.deleting:
            return await self._check_owners(node)
        return None

    async def _orphan(self, node: _Node) -> None:
        for uid in list(self._dependents.get(node.uid, ())):
            dependent = self._nodes.get(uid)
            if dependent is not None:
                kept = [r for r in dependent.owners if r["uid"] != node.uid]
                await self._write_owners(dependent, kept)
        await self._remove_finalizer(node, ORPHAN)

    async def _foreground(self, node: _Node) -> None:
        blocking = []
        for uid in list(self._dependents.get(node.uid, ())):
            dependent = self._nodes.get(uid)
            if dependent is None:
                continue
            if any(r["uid"] == node.uid and r.get("blockOwnerDeletion") for r in dependent.owners):
                blocking.append(dependent)
        if not blocking:
            await self._remove_finalizer(node, FOREGROUND)
            return
        for dependent in blocking:
            if not dependent.deleting:
                self.queue.add(dependent.uid)

    async def _check_owners(self, node: _Node) -> float | None:
        """Seconds until it is worth another look, when an owner's kind is not known (yet)."""
        solid: list[Obj] = []
        dangling: list[Obj] = []
        waiting: list[Obj] = []
        for ref in node.owners:
            owner = await self._owner_state(node, ref)
            if owner == "unknown":
                return _RESYNC_S
            (dangling if owner == "gone" else waiting if owner == "waiting" else solid).append(ref)
        if solid:
            if dangling or waiting:
                gone = {r["uid"] for r in (*dangling, *waiting)}
                await self._write_owners(node, [r for r in node.owners if r["uid"] not in gone])
            return None
        policy = "Background"
        if waiting and self._dependents.get(node.uid):
            policy = "Foreground"
        elif ORPHAN in node.finalizers:
            policy = "Orphan"
        elif FOREGROUND in node.finalizers:
            policy = "Foreground"
        await self._delete(node, policy)
        return None

    async def _owner_state(self, node: _Node, ref: Obj) -> str:
        """solid, waiting (being deleted in the foreground), gone, or unknown (of a kind that nobody serves now):
        asked of the API server when in doubt."""
        known = self._nodes.get(ref["uid"])
        if known is not None:
            if known.namespace and known.namespace != node.namespace:
                return "gone"
            return "waiting" if known.deleting and FOREGROUND in known.finalizers else "solid"
        if ref["uid"] in self._absent:
            return "gone"
        resource = self._resource_of(ref)
        if resource is None:
            return "unknown"
        try:
            found = await self.client.get(
                resource, ref["name"], node.namespace if resource.namespaced else ""
            )
        except ApiError as error:
            if error.code != 404:
                raise
            self._absent.add(ref["uid"])
            return "gone"
        if found["metadata"]["uid"] != ref["uid"]:
            self._absent.add(ref["uid"])
            return "gone"
        return "solid"

    def _resource_of(self, ref: Obj) -> Resource | None:
        group, _, _version = ref["apiVersion"].rpartition("/")
        for resource in self._followed:
            if resource.kind == ref["kind"] and resource.group == group:
                return resource
        return None

    async def _delete(self, node: _Node, policy: str) -> None:
        options: Obj = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {"uid": node.uid},
            "propagationPolicy": policy,
        }
        try:
            await self.client.delete(node.resource, node.name, node.namespace, options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def _write_owners(self, node: _Node, owners: list[Obj]) -> None:
        patch = {"metadata": {"uid": node.uid, "ownerReferences": owners or None}}
        await self._patch(node, patch)

    async def _remove_finalizer(self, node: _Node, finalizer: str) -> None:
        try:
            obj = await self.client.get(node.resource, node.name, node.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return
        meta = obj["metadata"]
        if meta["uid"] != node.uid or finalizer not in (meta.get("finalizers") or ()):
            return
        kept = [f for f in meta["finalizers"] if f != finalizer]
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": kept or None}}
        await self._patch(node, patch)

    async def _patch(self, node: _Node, patch: Obj) -> None:
        try:
            await self.client.patch(node.resource, node.name, patch, node.namespace)
        except ApiError as error:
            if error.code not in (404, 422):
                raise


async def discover(controller: Controller) -> list[Resource]:
    """Every resource that can be listed, watched and deleted, in its preferred version."""
    found: dict[tuple[str, str], Resource] = {}
    groups = [("", ["v1"])]
    listing = await controller.client.raw("GET", "/apis")
    groups += [(g["name"], [v["version"] for v in g["versions"]]) for g in listing["groups"]]
    for group, versions in groups:
        for version in versions:
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            try:
                document = await controller.client.raw("GET", path)
            except ApiError as error:
                if error.code != 404:
                    raise
                continue  # it went since the groups were listed
            for r in document["resources"]:
                deletable = {"list", "watch", "delete"} <= set(r["verbs"])
                if "/" in r["name"] or not deletable or (group, r["name"]) in _IGNORED:
                    continue
                found.setdefault(
                    (group, r["name"]), Resource(group, version, r["name"], r["kind"], r["namespaced"])
                )
    return list(found.values())


class _Definitions:
    """Notes that a CustomResourceDefinition changed."""

    def __init__(self, changed: asyncio.Event) -> None:
        self._changed = changed

    def on_add(self, obj: Obj) -> None:
        self._changed.set()

    def on_update(self, old: Obj, new: Obj) -> None:
        self._changed.set()

    def on_delete(self, obj: Obj) -> None:
        self._changed.set()


class _Handler:
    def __init__(self, collector: GarbageCollector, resource: Resource) -> None:
        self._collector = collector
        self._resource = resource

    def on_add(self, obj: Obj) -> None:
        self._collector.observe(self._resource, obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        a, b = old["metadata"], new["metadata"]
        if (
            a.get("ownerReferences") != b.get("ownerReferences")
            or a.get("finalizers") != b.get("finalizers")
            or a.get("deletionTimestamp") != b.get("deletionTimestamp")
        ):
            self._collector.observe(self._resource, new)

    def on_delete(self, obj: Obj) -> None:
        self._collector.forget_object(obj)
