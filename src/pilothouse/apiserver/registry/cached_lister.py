"""The `Lister` over the stores' watch caches."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.storage.store import ResourceStore


class CachedLister:
    """Stores are added as resources are served; an unknown resource has no objects."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], ResourceStore] = {}

    def add(self, store: ResourceStore) -> None:
        self._stores[(store.resource.group, store.resource.plural)] = store

    def remove(self, store: ResourceStore) -> None:
        self._stores.pop((store.resource.group, store.resource.plural), None)

    def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        store = self._stores.get((resource.group, resource.plural))
        if store is None:
            return None
        item = store.get(store.key(namespace, name))
        return item.obj if item is not None else None

    def list(self, resource: Resource, namespace: str = "") -> Iterable[Obj]:
        store = self._stores.get((resource.group, resource.plural))
        if store is None:
            return ()
        return [item.obj for item in store.newest(namespace)]
