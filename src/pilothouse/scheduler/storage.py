"""What the scheduler knows of claims, volumes and storage classes, with what it has decided and the API server has not
said yet on top (pkg/scheduler/util/assumecache).

             assume                    the server's own state, as new or newer
    known ──────────▶ assumed ───────────────────────────────────────────────────▶ known
                         └── restore ──▶ known, as before

Objects come from informers (`follow`) or are put here one by one; they are shared and never changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from pilothouse.api import csi_migration
from pilothouse.api.csi_migration import Attachable, attachable, provisioned
from pilothouse.api.resources import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.api.volumes import claim_key, class_of, is_bound_to, may_hold, order, waits_for_consumer
from pilothouse.client.informer import Handler, Informers, key_of
from pilothouse.scheduler.attachments import Attachments
from pilothouse.scheduler.free_volumes import FreeVolumes
from pilothouse.scheduler.storage_pools import Pools


class Assumed:
    """Objects by key, some of them as they are taken to be. `changed(key, before, now)` hears of every change of what
    `get` answers."""

    def __init__(self, changed: Callable[[str, Obj | None, Obj | None], None]) -> None:
        self._changed = changed
        self._known: dict[str, Obj] = {}
        self._assumed: dict[str, Obj] = {}

    def get(self, key: str) -> Obj | None:
        return self._assumed.get(key) or self._known.get(key)

    def known(self, key: str) -> Obj | None:
        """Without what is only assumed."""
        return self._known.get(key)

    def put(self, obj: Obj) -> None:
        """What the API server says; what was assumed of an older state is over."""
        key = key_of(obj)
        before = self.get(key)
        self._known[key] = obj
        assumed = self._assumed.get(key)
        if assumed is not None and _revision(assumed) <= _revision(obj):
            del self._assumed[key]
        self._tell(key, before)

    def remove(self, key: str) -> None:
        before = self.get(key)
        self._known.pop(key, None)
        self._assumed.pop(key, None)
        self._tell(key, before)

    def assume(self, obj: Obj) -> None:
        """Of the state that is known, or of one that the server has just answered with and no informer shows yet."""
        key = key_of(obj)
        known = self._known.get(key)
        if known is None or _revision(known) > _revision(obj):
            return
        before = self.get(key)
        self._assumed[key] = obj
        self._tell(key, before)

    def restore(self, key: str) -> None:
        before = self.get(key)
        self._assumed.pop(key, None)
        self._tell(key, before)

    def _tell(self, key: str, before: Obj | None) -> None:
        now = self.get(key)
        if now is not before:
            self._changed(key, before, now)


def _revision(obj: Obj) -> int:
    return int(obj["metadata"].get("resourceVersion") or 0)


class Storage:
    """All of it. `listeners` are told the key of a claim when what it stands for may have changed."""

    def __init__(self) -> None:
        self.claims = Assumed(self._claim_changed)
        self.volumes = Assumed(self._volume_changed)
        self.classes: dict[str, Obj] = {}
        self.csi_nodes: dict[str, Obj] = {}
        self.csi_version = 0
        """Changes with every CSINode and CSIDriver."""
        self.drivers: dict[str, Obj] = {}
        self.pools = Pools()
        self.attachments = Attachments(self.volumes.get)
        self.listeners: list[Callable[[str], None]] = []
        self.free = FreeVolumes()
        self._reserved: dict[str, dict[str, Obj]] = {}
        self._news: dict[str, dict[asyncio.Event, None]] = {}

    # -- what it is told --------------------------------------------------------------------------------

    def follow(self, informers: Informers) -> Storage:
        """Keep up with the API server."""
        for resource, put, remove in self._sources():
            informers.informer(resource).add_handler(_Feed(put, remove))
        return self

    def put(self, resource: Resource, obj: Obj) -> None:
        """One object, of a kind that matters here."""
        for known, put, _ in self._sources():
            if known == resource:
                put(obj)

    def _sources(self) -> Iterable[tuple[Resource, Callable[[Obj], None], Callable[[str], object]]]:
        return (
            (PERSISTENT_VOLUME_CLAIMS, self.claims.put, self.claims.remove),
            (PERSISTENT_VOLUMES, self.volumes.put, self.volumes.remove),
            (STORAGE_CLASSES, self._put_class, self._remove_class),
            (CSI_NODES, self._put_csi_node, self._remove_csi_node),
            (CSI_DRIVERS, self._put_driver, self._remove_driver),
            (VOLUME_ATTACHMENTS, self.attachments.put, self.attachments.remove),
            (CSI_STORAGE_CAPACITIES, self.pools.put, self.pools.remove),
        )

    def _put_class(self, obj: Obj) -> None:
        self.classes[key_of(obj)] = obj

    def _remove_class(self, key: str) -> None:
        self.classes.pop(key, None)

    def _put_csi_node(self, obj: Obj) -> None:
        self.csi_nodes[key_of(obj)] = obj
        self.csi_version += 1

    def _remove_csi_node(self, key: str) -> None:
        self.csi_nodes.pop(key, None)
        self.csi_version += 1

    def _put_driver(self, obj: Obj) -> None:
        self.drivers[key_of(obj)] = obj
        self.csi_version += 1

    def _remove_driver(self, key: str) -> None:
        self.drivers.pop(key, None)
        self.csi_version += 1

    def _claim_changed(self, key: str, before: Obj | None, now: Obj | None) -> None:
        self._told(key)

    def _volume_changed(self, key: str, before: Obj | None, now: Obj | None) -> None:
        if before is not None:
            self.free.drop(key)
            _drop(self._reserved, claim_key(before), key)
        if now is not None and claim_key(now):
            self._reserved.setdefault(claim_key(now), {})[key] = now
        elif now is not None:
            self.free.put(now)
        self.attachments.volume_changed(key)
        for volume in (before, now):
            if volume is not None and claim_key(volume):
                self._told(claim_key(volume))
                break

    def _told(self, claim: str) -> None:
        for listener in self.listeners:
            listener(claim)
        for event in list(self._news.get(claim, ())):
            event.set()

    async def news(self, claims: Iterable[str]) -> None:
        """Until one of these claims changes, or a volume that is for it."""
        event = asyncio.Event()
        keys = dict.fromkeys(claims)
        for key in keys:
            self._news.setdefault(key, {})[event] = None
        try:
            await event.wait()
        finally:
            for key in keys:
                del self._news[key][event]
                if not self._news[key]:
                    del self._news[key]

    # -- what it answers --------------------------------------------------------------------------------

    def storage_class(self, claim: Obj) -> Obj | None:
        return self.classes.get(class_of(claim))

    def waits_for_consumer(self, claim: Obj) -> bool:
        return waits_for_consumer(self.storage_class(claim))

    def reserved_for(self, claim: Obj) -> Obj | None:
        """The volume that is set aside for a claim and can hold it; no other one will do then."""
        kept = (v for v in self._reserved.get(key_of(claim), {}).values() if is_bound_to(v, claim))
        able = (v for v in kept if class_of(v) == class_of(claim) and may_hold(v, claim))
        return min(able, key=order, default=None)

    def attached_by(self, claim_key: str) -> Attachable | None:
        """What a claim makes a node attach; None when nobody knows (yet)."""
        claim = self.claims.get(claim_key)
        if claim is None:
            return None
        name = claim["spec"].get("volumeName")
        volume = self.volumes.get(name) if name else None
        if volume is not None:
            return attachable(volume["spec"])
        storage_class = self.storage_class(claim)
        provisioner = (storage_class or {}).get("provisioner")
        return provisioned(provisioner, claim_key) if provisioner else None

    def limits(self) -> Mapping[str, Mapping[str, int]]:
        """By driver and node, how many volumes may be attached."""
        found: dict[str, dict[str, int]] = {}
        for name, csi_node in self.csi_nodes.items():
            for driver in csi_node["spec"].get("drivers") or ():
                most = (driver.get("allocatable") or {}).get("count")
                if most is not None:
                    found.setdefault(driver["name"], {})[name] = most
        return found

    def kept_to_drivers(self) -> frozenset[str]:
        """The drivers whose volumes may only go to nodes that have the driver (KEP-5030)."""
        wish = "preventPodSchedulingIfMissing"
        return frozenset(name for name, driver in self.drivers.items() if driver["spec"].get(wish))

    def migrated(self, node: str) -> frozenset[str]:
        csi_node = self.csi_nodes.get(node)
        return frozenset() if csi_node is None else csi_migration.migrated(csi_node)


def _drop(index: dict[str, dict[str, Obj]], value: str, key: str) -> None:
    entries = index.get(value)
    if entries is not None:
        entries.pop(key, None)
        if not entries:
            del index[value]


class _Feed(Handler):
    def __init__(self, put: Callable[[Obj], None], remove: Callable[[str], object]) -> None:
        self._put = put
        self._remove = remove

    def on_add(self, obj: Obj) -> None:
        self._put(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._put(new)

    def on_delete(self, obj: Obj) -> None:
        self._remove(key_of(obj))
