"""The built-in kinds of a version as `Kind`s: catalog, schema, defaults, strategies and tables put together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial

from pilothouse.api import defaults
from pilothouse.api.catalog import Catalog, Served
from pilothouse.api.field import go_quote
from pilothouse.api.resources import Resource
from pilothouse.api.schema.decode import Decoder, Decoders
from pilothouse.api.schema.stored import Settle, StoredForms
from pilothouse.api.schema.types import Types
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry import conversion, strategies, tables
from pilothouse.apiserver.registry.kind import Decoded, Kind
from pilothouse.apiserver.registry.strategy import Strategy

_INTERNAL_PACKAGES = {
    "": "core",
    "events.k8s.io": "core",
    "internal.apiserver.k8s.io": "apiserverinternal",
}
_STORED_AS_JSON = frozenset(("apiextensions.k8s.io",))
_DEPRECATED = {
    ("", "v1", "endpoints"): "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ("", "v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
}


def internal_package(group: str) -> str:
    """The Go package of a group's internal types: rbac for rbac.authorization.k8s.io."""
    return _INTERNAL_PACKAGES.get(group) or group.partition(".")[0]


class Builtins:
    """Makes kinds; types and decoders are built when a kind is first used."""

    def __init__(self, catalog: Catalog, features: Collection[str] = ()) -> None:
        """`features` are the feature gates that are on."""
        self._catalog = catalog
        self._strategies = {**strategies.TABLE, **strategies.gated(features)}
        self.types = Types(catalog.definitions)
        self._decoders = Decoders()
        self._stored_forms = StoredForms()

    def kind(self, served: Served) -> Kind:
        r = served.resource
        to_storage, from_storage = conversion.pair(r, served.storage or r)
        return Kind(
            resource=r,
            singular=served.singular,
            list_kind=served.list_kind,
            type=self.types.get(served.definition),
            strategy=self._strategies.get((r.group, r.kind)) or Strategy(),
            decode=self._decoder(served),
            default=defaults.TABLE.get((r.group, r.version, r.kind)) or _nothing,
            storage=served.storage or r,
            to_storage=to_storage,
            from_storage=from_storage,
            table=tables.TABLE.get((r.group, r.kind)),
            description=partial(self._catalog.definitions.describe, self._stored_definition(served)),
            verbs=frozenset(served.verbs),
            subresources={name: frozenset(s.verbs) for name, s in served.subresources.items()},
            go_name=f"{internal_package(r.group)}.{r.kind}",
            deprecation=_DEPRECATED.get((r.group, r.version, r.plural), ""),
        )

    def _stored_definition(self, served: Served) -> str:
        """Upstream describes table columns by the stored version, whichever is asked for."""
        stored = served.storage or served.resource
        found = self._catalog.definitions.by_kind(stored.group, stored.version, stored.kind)
        return found or served.definition

    def stored_form(self, resource: Resource) -> Callable[[Obj], None] | None:
        """What storing does to objects of a kind; None for kinds that are not stored as protobuf."""
        definition = self._catalog.definitions.by_kind(resource.group, resource.version, resource.kind)
        if definition is None or resource.group in _STORED_AS_JSON:
            return None
        built: list[Settle | None] = []

        def settle(obj: Obj) -> None:
            if not built:
                built.append(self._stored_forms.of(self.types.get(definition)))
            if built[0] is not None:
                built[0](obj)

        return settle

    def decode(self, group: str, version: str, kind: str, value: Obj) -> Decoded:
        """Decode a kind that is no resource of its own (Scale, Binding, Eviction, TokenRequest)."""
        return self._run(self._decoders.of(self.type_of(group, version, kind)), group, version, kind, value)

    def viewed(self, kind: Kind, group: str, version: str, name: str) -> Kind:
        """A kind as one of its subresources shows its objects: as another kind (Scale)."""
        definition = self._catalog.definitions.by_kind(group, version, name)
        assert definition is not None, f"{group}/{version} {name} is no kind"
        return replace(
            kind,
            resource=Resource(group, version, kind.resource.plural, name, kind.resource.namespaced),
            table=tables.TABLE.get((group, name)),
            description=partial(self._catalog.definitions.describe, definition),
            go_name=f"{internal_package(group)}.{name}",
        )

    def type_of(self, group: str, version: str, kind: str) -> Type:
        """KeyError for a kind that the version has not."""
        definition = self._catalog.definitions.by_kind(group, version, kind)
        if definition is None:
            raise KeyError(kind)
        return self.types.get(definition)

    def _decoder(self, served: Served) -> Callable[[Obj], Decoded]:
        built: list[Decoder] = []
        r = served.resource

        def decode(value: Obj) -> Decoded:
            if not built:
                built.append(self._decoders.of(self.types.get(served.definition)))
            return self._run(built[0], r.group, r.version, r.kind, value)

        return decode

    def _run(self, decoder: Decoder, group: str, version: str, kind: str, value: Obj) -> Decoded:
        unknown: list[str] = []
        obj: Obj = decoder(value, unknown)
        obj.pop("kind", None)
        obj.pop("apiVersion", None)
        api_version = f"{group}/{version}" if group else version
        whole: Obj = {"kind": kind, "apiVersion": api_version, **obj}
        return Decoded(whole, [f"unknown field {go_quote(path)}" for path in unknown])


def _nothing(obj: Obj) -> None:
    """Kinds without defaults."""
