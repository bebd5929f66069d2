"""Garbage collector: deletes what lost its owners, and waits for dependents where a deletion asks for it
(k8s.io/kubernetes/pkg/controller/garbagecollector,
https://kubernetes.io/docs/concepts/architecture/garbage-collection/).

A graph of all objects with owners or dependents, fed by an informer of every deletable resource:

    all owners gone                       → deleted in the background
    some owners gone                      → the dangling references are taken out
    owner in another namespace            → counts as gone, and is told of
    namespaced owner, cluster-wide object → cannot be looked up: never collected
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
from pilothouse.client.reconciler import Controller, Environment

log = logging.getLogger(__name__)

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_RESYNC_S = 30.0
_GATHER_S = 1.0
"""After a change of a definition: what it serves is there then, and several changes are looked at together."""
_ABSENT_MAX = 500
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

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for its dependents to be deleted."""
        return self.deleting and FOREGROUND in self.finalizers


class _Owners:
    """An object's owner references by what became of the owners."""

    def __init__(self) -> None:
        self.solid: list[Obj] = []
        self.waiting: list[Obj] = []
        self.gone: list[Obj] = []
        self.by_state = {"solid": self.solid, "waiting": self.waiting, "gone": self.gone}


class GarbageCollector(Controller):
    name: ClassVar[str] = "garbage-collector-controller"
    queue_name: ClassVar[str] = "garbage_collector_attempt_to_delete"
    workers: ClassVar[int] = 20

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._nodes: dict[str, _Node] = {}
        self._dependents: dict[str, set[str]] = {}
        self._absent: dict[tuple[Resource, str, str, str], None] = {}
        """Owners that are known not to exist, by what they were asked for as; the last ones."""
        self._followed: dict[Resource, Informer] = {}
        self._definitions_changed = asyncio.Event()

    def setup(self) -> None:
        self.informer(CUSTOM_RESOURCE_DEFINITIONS).add_handler(_Definitions(self._definitions_changed))

    async def run(self) -> None:
        while not self._followed:
            await self._try_to_follow()
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
            await self._try_to_follow()

    async def _try_to_follow(self) -> None:
        try:
            await self._follow_resources()
        except (ApiError, ConnectionError) as error:
            log.warning("garbage collector: discovery failed: %s", error)
            await self.world.clock.sleep(_GATHER_S)

    async def _sleep_until_due(self) -> None:
        try:
            await self.world.within(_RESYNC_S, self._definitions_changed.wait())
        except TimeoutError:
            return
        await self.world.clock.sleep(_GATHER_S)
        self._definitions_changed.clear()

    async def _follow_resources(self) -> None:
        found, failed = await discover(self)
        found += [r for r in self._followed if (r.group, r.version) in failed]
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
            self._check_dependents(uid, resource, meta)
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
        for ref in owners:
            self._dependents.setdefault(ref["uid"], set()).add(uid)
        if node.owners != owners:
            for ref in node.owners:  # one that waited may be blocked no longer
                self._wake_waiting(ref["uid"])
        node.owners = owners
        node.finalizers = tuple(meta.get("finalizers") or ())
        node.deleting = bool(meta.get("deletionTimestamp"))
        if owners or (node.deleting and (FOREGROUND in node.finalizers or ORPHAN in node.finalizers)):
            self.queue.add(uid)
        if node.is_waiting:
            for dependent in self._dependents.get(uid, ()):
                self.queue.add(dependent)

    def _check_dependents(self, uid: str, resource: Resource, meta: Obj) -> None:
        """Those who named an owner before it was seen may have named it wrongly."""
        namespace = meta.get("namespace", "")
        for dependent in self._dependents.get(uid, ()):
            node = self._nodes[dependent]
            ref = next(r for r in node.owners if r["uid"] == uid)
            if not _names(ref, resource, meta["name"]) or namespace not in ("", node.namespace):
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
        if owner is not None and owner.is_waiting:
            self.queue.add(uid)

    # -- work -------------------------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        if node is None:
            return None
        if node.deleting and ORPHAN in node.finalizers:
            await self._orphan(node)
        elif node.is_waiting:
            await self._foreground(node)
        elif node.owners and not node.deleting:
            return await self._check_owners(node)
        return None

    async def _orphan(self, node: _Node) -> None:
        for uid in list(self._dependents.get(node.uid, ())):
            dependent = self._nodes.get(uid)
            if dependent is not None:
                await self._drop_owners(dependent, {node.uid})
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
            if not dependent.is_waiting:
                self.queue.add(dependent.uid)

    async def _check_owners(self, node: _Node) -> float | None:
        """Seconds until it is worth another look, when an owner's kind is not known (yet)."""
        owners = _Owners()
        for ref in node.owners:
            state = await self._owner_state(node, ref)
            if state in ("unknown", "unresolvable"):
                return _RESYNC_S if state == "unknown" else None
            owners.by_state[state].append(ref)
        if owners.solid and not owners.gone and not owners.waiting:
            return None
        latest = await self._latest(node)
        if latest is None or (latest["metadata"].get("ownerReferences") or []) != node.owners:
            return None  # the informer will tell
        if owners.solid:
            uids = {r["uid"] for r in (*owners.gone, *owners.waiting)}
            await self._write_owners(node, latest, [r for r in node.owners if r["uid"] not in uids])
            return None
        if owners.waiting and self._dependents.get(node.uid):
            latest = await self._break_circle(node, latest)
            await self._delete(node, latest, "Foreground")
        else:
            await self._delete(node, latest, _policy(latest))
        return None

    async def _break_circle(self, node: _Node, latest: Obj) -> Obj:
        """An object that goes in the foreground after its owner, and whose dependent waits too, may be that owner's
        owner: it must not block anybody, or nobody would ever go. As the API server has it then."""
        dependents = (self._nodes.get(uid) for uid in self._dependents.get(node.uid, ()))
        if not any(d is not None and d.is_waiting for d in dependents):
            return latest
        refs = [{**ref, "blockOwnerDeletion": False} for ref in node.owners]
        return await self._write_owners(node, latest, refs) or latest

    async def _owner_state(self, node: _Node, ref: Obj) -> str:
        """solid, waiting (being deleted in the foreground), gone, unknown (of a kind that nobody serves now), or
        unresolvable (namespaced, of a cluster-wide object). Asked of the API server when the graph does not know."""
        known = self._nodes.get(ref["uid"])
        if known is not None and known.namespace not in ("", node.namespace):
            self._report_namespace(node, ref)
        elif known is not None and _names(ref, known.resource, known.name):
            return "waiting" if known.is_waiting else "solid"
        resource = self._resource_of(ref)
        if resource is None:
            return "unknown"
        if resource.namespaced and not node.namespace:
            return "unresolvable"  # it cannot be found, so it cannot be missed either
        namespace = node.namespace if resource.namespaced else ""
        return await self._ask(resource, ref, namespace)

    async def _ask(self, resource: Resource, ref: Obj, namespace: str) -> str:
        key = (resource, ref["name"], ref["uid"], namespace)
        if key in self._absent:
            return "gone"
        try:
            found = await self.client.get(resource, ref["name"], namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            found = None
        if found is None or found["metadata"]["uid"] != ref["uid"]:
            self._absent[key] = None
            if len(self._absent) > _ABSENT_MAX:
                del self._absent[next(iter(self._absent))]
            return "gone"
        meta = found["metadata"]
        going = meta.get("deletionTimestamp") and FOREGROUND in (meta.get("finalizers") or ())
        return "waiting" if going else "solid"

    def _report_namespace(self, node: _Node, ref: Obj) -> None:
        """Owners and dependents share a namespace, or the owner has none."""
        group_version, kind = node.resource.group_version, node.resource.kind
        regarding = {
            "kind": kind,
            "apiVersion": group_version,
            "namespace": node.namespace,
            "name": node.name,
            "uid": node.uid,
        }
        owner = (
            f"[{ref['apiVersion']}/{ref['kind']}, namespace: {node.namespace}, name: {ref['name']}, "
            f"uid: {ref['uid']}]"
        )
        message = f'ownerRef {owner} does not exist in namespace "{node.namespace}"'
        self.recorder.event(regarding, "Warning", "OwnerRefInvalidNamespace", message)

    def _resource_of(self, ref: Obj) -> Resource | None:
        group, _, _version = ref["apiVersion"].rpartition("/")
        for resource in self._followed:
            if resource.kind == ref["kind"] and resource.group == group:
                return resource
        return None

    async def _latest(self, node: _Node) -> Obj | None:
        """The object as the API server has it now; None when it is gone or was replaced."""
        try:
            found = await self.client.get(node.resource, node.name, node.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None
        return found if found["metadata"]["uid"] == node.uid else None

    async def _delete(self, node: _Node, latest: Obj, policy: str) -> None:
        """ApiError 409: it has changed since, its owners perhaps."""
        version = latest["metadata"]["resourceVersion"]
        options: Obj = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {"uid": node.uid, "resourceVersion": version},
            "propagationPolicy": policy,
        }
        try:
            await self.client.delete(node.resource, node.name, node.namespace, options)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _drop_owners(self, node: _Node, uids: set[str]) -> None:
        latest = await self._latest(node)
        if latest is not None:
            refs = latest["metadata"].get("ownerReferences") or []
            kept = [r for r in refs if r["uid"] not in uids]
            if kept != refs:
                await self._write_owners(node, latest, kept)

    async def _write_owners(self, node: _Node, latest: Obj, owners: list[Obj]) -> Obj | None:
        version = latest["metadata"]["resourceVersion"]
        meta = {"uid": node.uid, "resourceVersion": version, "ownerReferences": owners or None}
        return await self._patch(node, {"metadata": meta})

    async def _remove_finalizer(self, node: _Node, finalizer: str) -> None:
        latest = await self._latest(node)
        if latest is None:
            return
        meta = latest["metadata"]
        kept = [f for f in meta.get("finalizers") or () if f != finalizer]
        if kept != (meta.get("finalizers") or []):
            patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": kept or None}}
            await self._patch(node, patch)

    async def _patch(self, node: _Node, patch: Obj) -> Obj | None:
        """What it became; None when it is gone."""
        try:
            return await self.client.patch(node.resource, node.name, patch, node.namespace)
        except ApiError as error:
            if error.code != 404:
                raise
            return None


def _names(ref: Obj, resource: Resource, name: str) -> bool:
    """Whether a reference names this object; versions of one group are the same objects."""
    group = ref["apiVersion"].rpartition("/")[0]
    return (group, ref["kind"], ref["name"]) == (resource.group, resource.kind, name)


def _policy(latest: Obj) -> str:
    """How an object without owners goes: as its finalizers ask for."""
    finalizers = latest["metadata"].get("finalizers") or ()
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


async def discover(controller: Controller) -> tuple[list[Resource], set[tuple[str, str]]]:
    """Every resource that can be listed, watched and deleted, in its preferred version; and the groups and versions
    that nobody answered for, which says nothing about what they serve."""
    found: dict[tuple[str, str], Resource] = {}
    failed: set[tuple[str, str]] = set()
    groups = [("", ["v1"])]
    listing = await controller.client.raw("GET", "/apis")
    groups += [(g["name"], [v["version"] for v in g["versions"]]) for g in listing["groups"]]
    for group, versions in groups:
        for version in versions:
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            try:
                document = await controller.client.raw("GET", path)
            except ApiError as error:
                if error.code != 404:  # 404: it went since the groups were listed
                    log.warning("garbage collector: discovery of %s/%s failed: %s", group, version, error)
                    failed.add((group, version))
                continue
            for r in document["resources"]:
                deletable = {"list", "watch", "delete"} <= set(r["verbs"])
                if "/" in r["name"] or not deletable or (group, r["name"]) in _IGNORED:
                    continue
                found.setdefault(
                    (group, r["name"]), Resource(group, version, r["name"], r["kind"], r["namespaced"])
                )
    return list(found.values()), failed


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
