"""A request's objects as a webhook or policy sees them, and what it made of the new one put back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.dynamic.matching import Match, Request
from pilothouse.apiserver.admission.plugin import Attributes, Environment
from pilothouse.apiserver.endpoints.apply import managed


class Seen:
    """One per request and plugin. Objects of other kinds than the resource's (Scale, Eviction, …) have one version."""

    def __init__(self, env: Environment, a: Attributes, request: Request) -> None:
        self._shapes = env.shapes
        self._a = a
        self._request = request
        self._old: dict[Resource, Obj | None] = {}

    async def new(self, match: Match) -> Obj | None:
        return await self._in(self._a.obj, match.resource)

    async def old(self, match: Match) -> Obj | None:
        if match.resource not in self._old:
            self._old[match.resource] = await self._in(self._a.old, match.resource)
        return self._old[match.resource]

    async def _in(self, obj: Obj | None, resource: Resource) -> Obj | None:
        if obj is None or not self._request.is_own:
            return obj
        return await self._shapes.convert(obj, resource)

    async def put(self, changed: Obj, match: Match) -> None:
        """The request's object becomes this one, decoded and defaulted. ValueError when it does not fit its type."""
        obj = self._a.obj
        assert obj is not None
        made = self._shapes.complete(changed, match.kind, match.resource)
        if self._request.is_own and "apiVersion" in obj:
            group, _, version = obj["apiVersion"].rpartition("/")
            made = await self._shapes.convert(made, replace(match.resource, group=group, version=version))
        self._keep_owners(made, obj)
        made = dict(made)
        obj.clear()
        obj.update(made)

    def _keep_owners(self, made: Obj, before: Obj) -> None:
        """managedFields that make no sense are not taken over (managedfields/admission.go)."""
        meta, owners = made.get("metadata"), (before.get("metadata") or {}).get("managedFields")
        if not isinstance(meta, dict) or meta.get("managedFields") == owners:
            return
        try:
            managed.read(meta.get("managedFields"), trusted=False)
        except (managed.Unreadable, AttributeError, TypeError) as error:
            self._a.warnings.append(
                ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated "
                f"mutating admission controller; please fix your requests: {error}"
            )
            meta["managedFields"] = owners


def same(first: Any, second: Any) -> bool:
    """Semantically: absent, null and empty are alike."""
    return bool(_solid(first) == _solid(second))


def _solid(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: s for k, v in value.items() if (s := _solid(v)) not in (None, {}, [])}
    if isinstance(value, list):
        return [_solid(v) for v in value]
    return value
