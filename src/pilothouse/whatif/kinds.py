"""Built-in kinds for objects that come from files: which resource they are, and their complete form."""

from __future__ import annotations

from functools import lru_cache

from pilothouse.api.catalog import Catalog, Served
from pilothouse.api.resources import Resource
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.builtin import Builtins
from pilothouse.apiserver.registry.kind import Kind


class BadObject(ValueError):
    """An object that no API server would take; the message says which, and why."""


class Kinds:
    def __init__(self) -> None:
        self._catalog = Catalog(runtime_config="api/all=true")
        self._builtins = Builtins(self._catalog)
        self._kinds: dict[Resource, Kind] = {}
        self._by_name: dict[tuple[str, str], Served] = {}
        for served in self._catalog:
            self._by_name.setdefault((served.resource.group, served.resource.kind), served)

    def resource(self, obj: Obj) -> Resource | None:
        """None for a kind that is not built in."""
        served = self._served(obj)
        return served.resource if served is not None else None

    def _served(self, obj: Obj) -> Served | None:
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        kind = str(obj.get("kind", ""))
        return self._catalog.by_kind(group, version, kind) or self._by_name.get((group, kind))

    def complete(self, obj: Obj) -> Obj:
        """A copy with every default, as a server would hold it. BadObject when a field has the wrong type, or there is
        no name."""
        served = self._served(obj)
        assert served is not None, obj.get("kind")
        kind = self._kind(served)
        try:
            made = kind.decode(obj).obj
        except ValueError as error:
            raise BadObject(f"{_called(obj)}: {error}") from None
        if not isinstance(made.get("metadata"), dict) or not _named(made["metadata"]):
            raise BadObject(f"{_called(obj)}: metadata.name is missing")
        kind.default(made)
        return {**made, "apiVersion": obj["apiVersion"], "kind": obj["kind"]}

    def type_of(self, resource: Resource) -> Type:
        """For strategic merge patches."""
        served = self._catalog.find(resource.group, resource.version, resource.plural)
        if served is None:
            raise BadObject(f"{resource.plural}.{resource.group} is not built in")
        return self._kind(served).type

    def _kind(self, served: Served) -> Kind:
        found = self._kinds.get(served.resource)
        if found is None:
            found = self._kinds[served.resource] = self._builtins.kind(served)
        return found


def _named(meta: Obj) -> bool:
    return bool(meta.get("name") or meta.get("generateName"))


def _called(obj: Obj) -> str:
    meta = obj.get("metadata")
    name = meta.get("name", "without a name") if isinstance(meta, dict) else "without a name"
    return f"{obj.get('kind')} {name}"


@lru_cache(maxsize=1)
def kinds() -> Kinds:
    """Those of the newest version; made once, as it takes a third of a second."""
    return Kinds()
