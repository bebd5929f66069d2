"""The object that an autoscaler scales: from group and kind to a resource, by discovery, and its Scale
(horizontal.go scaleForResourceMappings)."""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.api.errors import ApiError, qualified
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.client.client import Client
from pilothouse.kit.world import World

_KNOWN_S = 30.0
"""As long as upstream keeps what discovery said."""


class NoTarget(Exception):
    """The kind is not served, or cannot be scaled; the message is for the autoscaler's condition."""


class Found(NamedTuple):
    resource: Resource
    scale: Obj


class Targets:
    def __init__(self, client: Client, world: World) -> None:
        self._client = client
        self._world = world
        self._known: dict[tuple[str, str], tuple[float, list[Resource]]] = {}

    async def scale(self, reference: Obj, namespace: str) -> Found:
        """Of the first version that has one. NoTarget, ApiError."""
        group = group_of(reference.get("apiVersion", ""))
        first: ApiError | None = None
        for resource in await self._resources(group, reference["kind"]):
            try:
                scale = await self._client.get(resource, reference["name"], namespace, subresource="scale")
            except ApiError as error:
                first = first or error
            else:
                return Found(resource, scale)
        assert first is not None
        raise first

    async def resource(self, group: str, kind: str) -> str:
        """The resource of a kind, as `ingresses.networking.k8s.io`. NoTarget, ApiError."""
        return qualified(group, (await self._resources(group, kind))[0].plural)

    async def _resources(self, group: str, kind: str) -> list[Resource]:
        """The resource in every version that has it, the preferred one first. NoTarget when there is none."""
        now_s = self._world.clock.monotonic()
        known = self._known.get((group, kind))
        if known is not None and now_s < known[0]:
            return known[1]
        found = [r for v in await self._versions(group) for r in await self._of_version(group, v, kind)]
        if not found:
            raise NoTarget(f'no matches for kind "{kind}" in group "{group}"')
        self._known[(group, kind)] = (now_s + _KNOWN_S, found)
        return found

    async def _versions(self, group: str) -> list[str]:
        if not group:
            return ["v1"]
        try:
            served = await self._client.raw("GET", f"/apis/{group}")
        except ApiError as error:
            if error.code == 404:
                return []
            raise
        preferred = served["preferredVersion"]["version"]
        return sorted((v["version"] for v in served["versions"]), key=lambda v: v != preferred)

    async def _of_version(self, group: str, version: str, kind: str) -> list[Resource]:
        try:
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            entries = (await self._client.raw("GET", path))["resources"]
        except ApiError as error:
            if error.code == 404:
                return []
            raise
        return [
            Resource(group, version, entry["name"], kind, entry["namespaced"])
            for entry in entries
            if entry["kind"] == kind and "/" not in entry["name"]
        ]


def group_of(api_version: str) -> str:
    """NoTarget for what is no group and version (schema.ParseGroupVersion)."""
    if api_version.count("/") > 1:
        raise NoTarget(f"unexpected GroupVersion string: {api_version}")
    return api_version.rpartition("/")[0]
