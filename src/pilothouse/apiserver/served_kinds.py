"""Which versions of a resource are served, and objects in them (`admission.plugin.Shapes`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

from pilothouse.api import errors
from pilothouse.api.resources import Resource
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import ObjectKind
from pilothouse.apiserver.builtin import Builtins
from pilothouse.apiserver.endpoints.scope import Scope
from pilothouse.apiserver.router import Router


class ServedKinds:
    """`router` is made after admission is, so it is asked for when it is needed."""

    def __init__(self, router: Callable[[], Router], builtins: Callable[[], Builtins]) -> None:
        self._router = router
        self._builtins = builtins
        self._generation = -1
        self._equivalents: dict[tuple[Resource, str], Sequence[Resource]] = {}

    def generation(self) -> int:
        return self._router().generation

    def equivalents(self, resource: Resource, subresource: str) -> Sequence[Resource]:
        """Kept until a kind comes or goes: every write asks for every webhook that no rule of names it."""
        generation = self._router().generation
        if generation != self._generation:
            self._equivalents.clear()
            self._generation = generation
        key = (resource, subresource)
        found = self._equivalents.get(key)
        if found is None:
            found = self._equivalents[key] = self._find_equivalents(resource, subresource)
        return found

    def _find_equivalents(self, resource: Resource, subresource: str) -> Sequence[Resource]:
        own = self._scope(resource)
        if own is None:
            return (resource,)
        return [
            scope.kind.resource
            for scope in self._router().scopes()
            if scope.rest.store is own.rest.store
            and (not subresource or subresource in scope.kind.subresources)
        ]

    async def convert(self, obj: Obj, resource: Resource) -> Obj:
        version = obj.get("apiVersion", resource.group_version)
        if version == resource.group_version:
            return obj
        target = self._scope(resource)
        if target is None:
            raise errors.internal(f"unable to convert to {resource.group_version}: unknown kind")
        group, _, name = version.rpartition("/")
        source = self._router().scope(group, name, resource.plural)
        if target.rest.view is not None:
            # By way of the version that is stored: views convert from and to that one.
            if source is not None and source.rest.view is not None:
                obj = await source.rest.view.final(deepcopy(obj))
            await target.rest.view.ready((obj,))
            return target.rest.view.seen(obj)
        obj = {**obj, "metadata": dict(obj["metadata"])}
        if source is not None and source.kind.to_storage is not None:
            obj = source.kind.to_storage(obj)
        return obj if target.kind.from_storage is None else target.kind.from_storage(obj)

    def complete(self, obj: Obj, kind: ObjectKind, resource: Resource) -> Obj:
        scope = self._own(kind, resource)
        if scope is None:
            try:
                return self._builtins().decode(kind.group, kind.version, kind.kind, obj).obj
            except KeyError:
                return obj
        made = scope.kind.decode(obj).obj
        scope.kind.default(made)
        return made

    def type_of(self, kind: ObjectKind, resource: Resource) -> Type | None:
        scope = self._own(kind, resource)
        if scope is not None:
            return scope.kind.type
        try:
            return self._builtins().type_of(kind.group, kind.version, kind.kind)
        except KeyError:
            return None

    def _own(self, kind: ObjectKind, resource: Resource) -> Scope | None:
        """None for a kind that is another than the resource's own (Scale, Eviction, …)."""
        if (kind.group, kind.version, kind.kind) != (resource.group, resource.version, resource.kind):
            return None
        return self._scope(resource)

    def _scope(self, resource: Resource) -> Scope | None:
        return self._router().scope(resource.group, resource.version, resource.plural)
