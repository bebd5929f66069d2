"""A cluster's objects at one moment, by resource and name. What was put in is never changed, only replaced."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator

from pilothouse.api.resources import PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.kit.world import parse_timestamp
from pilothouse.whatif.kinds import kinds

EPOCH = "2026-01-01T00:00:00Z"
"""When objects without a time were made."""
_Key = tuple[str, str]


class Snapshot:
    """`objects` are as `kubectl get -o yaml` prints them, lists or single ones, complete or as somebody wrote them.
    Kinds that are not built in are left out: `foreign` counts them. BadObject for what no server would take.

    Lists like an API server's caches do (`apiserver.registry.lister`)."""

    def __init__(self, objects: Iterable[Obj] = ()) -> None:
        self._objects: dict[_Key, dict[str, Obj]] = {}
        self._revision = 0
        self.foreign: dict[str, int] = {}
        for obj in flat(objects):
            self.add(obj)

    def add(self, obj: Obj) -> Obj | None:
        """Any object, completed; None for one of a foreign kind."""
        resource = kinds().resource(obj)
        if resource is None:
            kind = str(obj.get("kind", "?"))
            self.foreign[kind] = self.foreign.get(kind, 0) + 1
            return None
        return self.put(resource, kinds().complete(obj))

    def put(self, resource: Resource, obj: Obj) -> Obj:
        """A complete object, at a new revision; what is stored."""
        self._revision += 1
        meta = {**obj["metadata"], "resourceVersion": str(self._revision)}
        if resource.namespaced:
            meta["namespace"] = meta.get("namespace") or "default"
        stored = {**obj, "metadata": meta}
        if not meta.get("uid"):
            name = f"{resource.group}/{resource.plural}/{key_of(stored)}"
            meta["uid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        meta["creationTimestamp"] = meta.get("creationTimestamp") or EPOCH
        self._of(resource)[key_of(stored)] = stored
        return stored

    def remove(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        self._revision += 1
        return self._of(resource).pop(_key(resource, name, namespace), None)

    def get(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        return self._of(resource).get(_key(resource, name, namespace))

    async def sure(self, resource: Resource, name: str, namespace: str = "") -> Obj | None:
        return self.get(resource, name, namespace)

    def list(self, resource: Resource, namespace: str = "") -> Iterable[Obj]:
        found = self._of(resource).values()
        return [obj for obj in found if not namespace or obj["metadata"].get("namespace") == namespace]

    def revision(self, resource: Resource | None = None) -> int:
        return self._revision

    def copy(self) -> Snapshot:
        """Another one that shares the objects and goes its own way."""
        made = Snapshot()
        made._objects = {key: dict(objects) for key, objects in self._objects.items()}
        made._revision = self._revision
        made.foreign = dict(self.foreign)
        return made

    def _of(self, resource: Resource) -> dict[str, Obj]:
        return self._objects.setdefault((resource.group, resource.plural), {})

    @property
    def taken_s(self) -> float:
        """When it was taken, as far as its objects tell: the latest time that any pod or node bears, as seconds since
        1970."""
        texts = [EPOCH]
        for objects in self._objects.values():
            texts += (obj["metadata"]["creationTimestamp"] for obj in objects.values())
        for pod in self.list(PODS):
            status = pod.get("status") or {}
            texts += [status["startTime"]] if status.get("startTime") else []
            texts += [
                c["lastTransitionTime"] for c in status.get("conditions") or () if c.get("lastTransitionTime")
            ]
        return max(parse_timestamp(text) for text in set(texts))


def flat(objects: Iterable[Obj]) -> Iterator[Obj]:
    """Lists, lists in lists: their items. Items of typed lists (PodList) get the kind that they lack."""
    for obj in objects:
        kind = str(obj.get("kind", ""))
        if kind.endswith("List") and isinstance(obj.get("items"), list):
            inner = {"apiVersion": obj.get("apiVersion", "v1"), "kind": kind.removesuffix("List")}
            for item in obj["items"]:
                yield from flat([item if item.get("kind") else {**inner, **item}])
        else:
            yield obj


def _key(resource: Resource, name: str, namespace: str) -> str:
    return f"{namespace or 'default'}/{name}" if resource.namespaced else name
