"""APIServices of the versions that custom resources bring (kube-aggregator's autoregister and kube-apiserver's
crdregistration controllers): `kubectl get apiservices` lists them like all others."""

from __future__ import annotations

from typing import Protocol

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.kit.world import World

API_SERVICES = Resource("apiregistration.k8s.io", "v1", "apiservices", "APIService", False)
_LABEL = "kube-aggregator.kubernetes.io/automanaged"
_GROUP_PRIORITY = 1000
_VERSION_PRIORITY = 100

GroupVersions = set[tuple[str, str]]


class Objects(Protocol):
    """How the server writes objects of its own."""

    async def create(self, resource: Resource, obj: Obj) -> bool: ...

    async def delete(self, resource: Resource, name: str, namespace: str = "") -> None: ...


class Registration:
    """Keeps the automatically managed APIServices in line with what is served."""

    def __init__(self, lister: Lister, objects: Objects, world: World) -> None:
        self._lister = lister
        self._objects = objects
        self._world = world

    async def sync(self, served: GroupVersions) -> None:
        """Make those that are missing, delete those of versions that are gone."""
        present = {
            obj["metadata"]["name"]
            for obj in self._lister.list(API_SERVICES)
            if (obj["metadata"].get("labels") or {}).get(_LABEL) == "true"
        }
        wanted = {f"{version}.{group}": (group, version) for group, version in served}
        for name, (group, version) in wanted.items():
            if name not in present:
                await self._objects.create(API_SERVICES, self._api_service(group, version))
        for name in present.difference(wanted):
            await self._objects.delete(API_SERVICES, name)

    def _api_service(self, group: str, version: str) -> Obj:
        available = {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": self._world.timestamp(),
            "reason": "Local",
            "message": "Local APIServices are always available",
        }
        return {
            "kind": "APIService",
            "apiVersion": "apiregistration.k8s.io/v1",
            "metadata": {"name": f"{version}.{group}", "labels": {_LABEL: "true"}},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": _GROUP_PRIORITY,
                "versionPriority": _VERSION_PRIORITY,
            },
            "status": {"conditions": [available]},
        }
