"""The `Lister` over the stores' watch caches."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.node_graph import Keys, Read
from pilothouse.apiserver.storage.store import ResourceStore

log = logging.getLogger(__name__)

_LISTS_MAX = 1024


class CachedLister:
    """Stores are added as resources are served; an unknown resource has no objects.

    Lists are kept until their resource changes: authorization and admission ask for the same few again and again."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], ResourceStore] = {}
        self._lists: dict[tuple[str, str, str], tuple[int, list[Obj]]] = {}

    def add(self, store: ResourceStore) -> None:
        self._stores[(store.resource.group, store.resource.plural)] = store

    def remove(self, store: ResourceStore) -> None:
        self._stores.pop((store.resource.group, store.resource.plural), None)

    def stores(self) -> Iterable[ResourceStore]:
        return list(self._stores.values())

    def store(self, group: str, plural: str) -> ResourceStore | None:
        return self._stores.get((group, plural))

    def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        store = self._stores.get((resource.group, resource.plural))
        if store is None:
            return None
        item = store.get(store.key(namespace, name))
        return item.obj if item is not None else None

    async def sure(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        found = self.get(resource, name, namespace)
        store = self._stores.get((resource.group, resource.plural))
        if found is None and store is not None:
            await store.fresh()
            found = self.get(resource, name, namespace)
        return found

    def list(self, resource: Resource, namespace: str = "") -> Iterable[Obj]:
        store = self._stores.get((resource.group, resource.plural))
        if store is None:
            return ()
        key = (resource.group, resource.plural, namespace)
        kept = self._lists.get(key)
        if kept is not None and kept[0] == store.cached.changed:
            return kept[1]
        objects = [item.obj for item in store.newest(namespace)]
        if len(self._lists) >= _LISTS_MAX:
            self._lists.clear()
        self._lists[key] = (store.cached.changed, objects)
        return objects

    def changed(self, resource: Resource, after: int) -> Keys | None:
        """Keys of what changed after a revision (`authz.node_graph.History`); None when it is not remembered."""
        store = self._stores.get((resource.group, resource.plural))
        if store is None:
            return []
        happened = store.cached.since(after, store.cached.prefix, None)
        if happened is None:
            return None
        return [*dict.fromkeys(change.item.key for change in happened if change.item is not None)]

    def revisions(self, resource: Resource) -> dict[bytes, int]:
        store = self._stores.get((resource.group, resource.plural))
        return {item.key: item.revision for item in store.newest()} if store is not None else {}

    def read(self, resource: Resource, key: bytes) -> Read | None:
        """Decoded for the caller alone: nothing of it stays in memory."""
        store = self._stores.get((resource.group, resource.plural))
        item = store.cached.get(key) if store is not None else None
        if item is None:
            return None
        try:
            return Read(item.revision, item.decode())
        except ApiError as error:
            log.debug("%s says nothing: %s", key, error)
            return None

    def revision(self, resource: Resource) -> int:
        """When a resource last changed: what was derived from its objects holds as long as this is the same."""
        store = self._stores.get((resource.group, resource.plural))
        return store.cached.changed if store is not None else 0
