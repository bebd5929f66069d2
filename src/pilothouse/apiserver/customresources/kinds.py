"""A definition → the kinds that it serves, one for each served version (crdHandler.getOrCreateServingInfoFor).

Objects are stored in the storage version, and each version has its own view of them (`conversion.VersionView`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pilothouse.api.catalog import Served, Subresource, version_priority
from pilothouse.api.field import go_quote
from pilothouse.api.resources import Resource
from pilothouse.api.structural.objects import ObjectSchema
from pilothouse.api.structure import Type
from pilothouse.api.types import Obj
from pilothouse.apiserver.customresources.conditions import TERMINATING, is_true
from pilothouse.apiserver.customresources.conversion import Converter, VersionView
from pilothouse.apiserver.customresources.strategy import CustomStrategy
from pilothouse.apiserver.customresources.table import table
from pilothouse.apiserver.registry.kind import Decoded, Kind, ScalePaths

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_SUBRESOURCE_VERBS = ("get", "patch", "update")


class CustomKind(NamedTuple):
    """`schema` is what the OpenAPI documents show."""

    kind: Kind
    served: Served
    schema: Obj
    view: VersionView


def storage_resource(crd: Obj) -> Resource:
    """The version that a definition's objects are stored in."""
    stored = next(v["name"] for v in crd["spec"]["versions"] if v.get("storage"))
    return _resource(crd, stored)


def _resource(crd: Obj, version: str) -> Resource:
    names = crd["status"]["acceptedNames"]
    spec = crd["spec"]
    return Resource(spec["group"], version, names["plural"], names["kind"], spec["scope"] == "Namespaced")


def kinds(crd: Obj, metadata: Type, describe: Callable[[str], str], converter: Converter) -> list[CustomKind]:
    """`metadata` is ObjectMeta's type, `describe` tells what its fields are about."""
    return [
        _Version(crd, version, metadata, describe, converter).made()
        for version in crd["spec"]["versions"]
        if version.get("served")
    ]


def _raw_schema(version: Obj) -> Obj:
    schema: Obj = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    return schema


def _always_conforms(crd: Obj) -> bool:
    """Whether every stored object has the form that any version's schema gives it: all versions have the same
    one, and it never changed."""
    schemas = [_raw_schema(v) for v in crd["spec"]["versions"]]
    return crd["metadata"].get("generation", 1) == 1 and all(s == schemas[0] for s in schemas)


class _Version:
    """One version of a definition."""

    def __init__(
        self,
        crd: Obj,
        version: Obj,
        metadata: Type,
        describe: Callable[[str], str],
        converter: Converter,
    ) -> None:
        self._crd = crd
        self._version = version
        self._describe = describe
        self._resource = _resource(crd, version["name"])
        self._storage = storage_resource(crd)
        self._raw = _raw_schema(version)
        group = crd["spec"]["group"]
        schemas = {
            f"{group}/{v['name']}": ObjectSchema(_raw_schema(v), metadata, self._resource.kind)
            for v in crd["spec"]["versions"]
        }
        self._schema = schemas[self._resource.group_version]
        same = self._resource == self._storage
        self.view = VersionView(
            self._resource.group_version,
            self._storage.group_version,
            schemas,
            converter,
            plain=same and _always_conforms(crd),
        )
        self._subresources: Obj = version.get("subresources") or {}

    def made(self) -> CustomKind:
        return CustomKind(self._kind(), self._served(), self._raw, self.view)

    def _kind(self) -> Kind:
        resource = self._resource
        names = self._crd["status"]["acceptedNames"]
        return Kind(
            resource=resource,
            singular=names.get("singular", ""),
            list_kind=names.get("listKind", ""),
            type=self._schema.type,
            strategy=self._strategy(),
            decode=self._decode,
            default=self._schema.default,
            storage=self._storage,
            from_storage=None if self.view.plain else self.view.seen,
            table=table(self._version.get("additionalPrinterColumns") or ()),
            description=self._describe,
            custom=True,
            verbs=frozenset(_VERBS),
            subresources={name: frozenset(_SUBRESOURCE_VERBS) for name in self._subresource_names()},
            go_name="unstructured.Unstructured",
            deprecation=_deprecation(self._crd, self._version),
            scale=self._scale(),
            terminating=is_true(self._crd, TERMINATING),
        )

    def _subresource_names(self) -> list[str]:
        return [name for name in ("status", "scale") if self._subresources.get(name) is not None]

    def _scale(self) -> ScalePaths | None:
        scale = self._subresources.get("scale")
        if scale is None:
            return None
        return ScalePaths(
            scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or ""
        )

    def _strategy(self) -> CustomStrategy:
        selectable = tuple(
            field["jsonPath"].removeprefix(".") for field in self._version.get("selectableFields") or ()
        )
        return CustomStrategy(
            self._schema,
            self.view.glimpsed,
            has_status=self._subresources.get("status") is not None,
            scale=self._scale(),
            selectable=selectable,
        )

    def _decode(self, value: Obj) -> Decoded:
        obj, unknown = self._schema.decode(value)
        obj["apiVersion"] = self._resource.group_version
        obj["kind"] = self._resource.kind
        return Decoded(obj, [f"unknown field {go_quote(path)}" for path in unknown])

    def _served(self) -> Served:
        names = self._crd["status"]["acceptedNames"]
        resource = self._resource
        subresources = {}
        for name in self._subresource_names():
            group, version, kind = (resource.group, resource.version, resource.kind)
            if name == "scale":
                group, version, kind = "autoscaling", "v1", "Scale"
            subresources[name] = Subresource(name, group, version, kind, _SUBRESOURCE_VERBS)
        return Served(
            resource,
            names.get("singular", ""),
            _VERBS,
            tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            subresources,
            storage=self._storage,
            listed_as=names.get("listKind", ""),
            custom=True,
        )


def renamed(group_version: str) -> Callable[[Obj], Obj]:
    """Conversion without a webhook: nothing but the name changes."""
    return lambda obj: {**obj, "apiVersion": group_version}


def _deprecation(crd: Obj, version: Obj) -> str:
    """The Warning of a deprecated version: the definition's, or one that names a better version."""
    if not version.get("deprecated"):
        return ""
    given = version.get("deprecationWarning")
    if given is not None:
        return str(given)
    group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
    text = f"{group}/{version['name']} {kind} is deprecated"
    mine = version_priority(version["name"])
    better = [
        v["name"]
        for v in crd["spec"]["versions"]
        if v.get("served") and not v.get("deprecated") and version_priority(v["name"]) < mine
    ]
    if not better:
        return text
    return f"{text}; use {group}/{min(better, key=version_priority)} {kind}"


def signature(crd: Obj) -> tuple[Any, ...]:
    """What a definition's kinds depend on: the same one means that nothing has to be done."""
    return (
        crd["metadata"]["uid"],
        crd["metadata"].get("generation", 0),
        repr(crd["status"].get("acceptedNames")),
        is_true(crd, TERMINATING),
    )
