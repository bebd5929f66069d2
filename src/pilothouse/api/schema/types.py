"""From OpenAPI definitions and the facts about Go to `api.structure` trees, one definition at a time."""

from __future__ import annotations

import re
from dataclasses import replace

from pilothouse.api.schema import go_facts
from pilothouse.api.schema.definitions import Definitions, Schema
from pilothouse.api.structure import Field, Kind, Type

_SPECIAL: dict[str, tuple[Kind, str]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": ("quantity", "resource.Quantity"),
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": ("intorstring", "intstr.IntOrString"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": ("time", "v1.Time"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": ("microtime", "v1.MicroTime"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.Duration": ("duration", "v1.Duration"),
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": ("raw", "v1.FieldsV1"),
    "io.k8s.apimachinery.pkg.runtime.RawExtension": ("raw", "runtime.RawExtension"),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON": ("raw", "v1.JSON"),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray": (
        "raw",
        "v1.JSONSchemaPropsOrArray",
    ),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool": (
        "raw",
        "v1.JSONSchemaPropsOrBool",
    ),
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray": (
        "raw",
        "v1.JSONSchemaPropsOrStringArray",
    ),
}
_SCHEMA = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_ALWAYS_STRUCTS = ("metadata", "spec", "status")
_KEY_DEFAULTS: dict[str, dict[str, object]] = {"protocol": {"protocol": "TCP"}}
"""Defaults of list-map keys that callers may leave out (ports)."""

_GROUP_VERSION = re.compile(r"([^.]+)\.(v\d+(?:(?:alpha|beta)\d+)?)\.([^.]+)$")


def short_name(definition: str) -> str:
    """`apps.v1.DeploymentSpec` of a definition's full name."""
    match = _GROUP_VERSION.search(definition)
    return ".".join(match.groups()) if match else definition


def go_name(definition: str) -> str:
    """`v1.DeploymentSpec`, as Go prints the type."""
    match = _GROUP_VERSION.search(definition)
    return f"{match[2]}.{match[3]}" if match else definition.rpartition(".")[2]


class Types:
    """The types of one version's definitions, made when they are first asked for."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self._types: dict[str, Type] = {}

    def get(self, definition: str) -> Type:
        found = self._types.get(definition)
        if found is not None:
            return found
        special = _SPECIAL.get(definition)
        if special is not None:
            made = Type(special[0], special[1])
            self._types[definition] = made
            if definition.startswith(f"{_SCHEMA}Or"):
                made.element = self.get(_SCHEMA)
            return made
        schema = self._definitions.schemas[definition]
        made = self._types[definition] = Type("struct", go_name(definition))
        if schema.simple_type not in ("object", "") or (not schema.properties and schema.additional):
            filled = self._of(schema)
            made.kind, made.element, made.name = filled.kind, filled.element, go_name(definition)
            return made
        self._fill(made, definition, schema)
        return made

    def _fill(self, made: Type, definition: str, schema: Schema) -> None:
        made.map_type = "atomic" if schema.map_type == "atomic" else "granular"
        name = short_name(definition)
        required = set(schema.required)
        for key, prop in schema.properties.items():
            made.fields[key] = self._field(name, key, prop, key in required)
        if name in go_facts.EMPTY_LABELS_KEPT:
            made.fields["metadata"] = replace(
                made.fields["metadata"], type=_with_empty_labels(made.fields["metadata"].type)
            )

    def _field(self, owner: str, key: str, prop: Schema, required: bool) -> Field:
        type_ = self._of(prop)
        pointer = _is_pointer(owner, key, type_, required) or _listed(go_facts.KEPT_EMPTY, owner, key)
        required = required or _listed(go_facts.ALWAYS, owner, key)
        if _listed(go_facts.OMITTED, owner, key):
            required = False
        if type_.kind == "struct" and not pointer:
            required = True
        strategy = tuple(filter(None, prop.patch_strategy.split(",")))
        return Field(type_, required, pointer, strategy, prop.patch_merge_key)

    def _of(self, schema: Schema) -> Type:
        if schema.ref:
            target = self.get(schema.reference)
            if schema.map_type == "atomic" and target.kind == "struct" and target.map_type != "atomic":
                return Type("struct", target.name, target.fields, target.element, map_type="atomic")
            return target
        kind = schema.simple_type
        if kind == "array":
            assert schema.items is not None
            element = self._of(schema.items)
            made = Type("list", f"[]{element.name}", element=element)
            made.list_type = schema.list_type if schema.list_type in ("set", "map") else "atomic"  # type: ignore[assignment]
            made.list_keys = tuple(schema.list_keys)
            for list_key in made.list_keys:
                made.key_defaults.update(_KEY_DEFAULTS.get(list_key, {}))
            return made
        if kind == "object" or schema.additional:
            if isinstance(schema.additional, Schema):
                element = self._of(schema.additional)
                made = Type("map", f"map[string]{element.name}", element=element)
                made.map_type = "atomic" if schema.map_type == "atomic" else "granular"
                return made
            return Type("any", "map[string]interface {}")
        if kind == "integer":
            bits = 32 if schema.format == "int32" else 64
            return Type("integer", f"int{bits}", bits=bits)
        if kind == "number":
            return Type("number", "float64")
        if kind == "boolean":
            return Type("boolean", "bool")
        if schema.format == "byte":
            return Type("bytes", "[]uint8")
        return Type("string", "string") if kind == "string" else Type("any", "interface {}")


_VERSION = re.compile(r"\.v\d+(?:alpha|beta)\d+\.")


def _with_empty_labels(metadata: Type) -> Type:
    fields = {**metadata.fields, "labels": replace(metadata.fields["labels"], pointer=True)}
    return Type("struct", metadata.name, fields, map_type=metadata.map_type)


def _listed(table: dict[str, frozenset[str]], owner: str, key: str) -> bool:
    found = table.get(owner)
    if found is None:
        found = table.get(_VERSION.sub(".v1.", owner), frozenset())
    return key in found


def _is_pointer(owner: str, key: str, type_: Type, required: bool) -> bool:
    if type_.kind == "struct":
        if _listed(go_facts.VALUE_STRUCTS, owner, key):
            return False
        return key not in _ALWAYS_STRUCTS or _listed(go_facts.POINTER_STRUCTS, owner, key)
    if type_.kind in ("integer", "boolean"):
        return not required and not _listed(go_facts.VALUE_SCALARS, owner, key)
    if type_.kind == "string":
        return _listed(go_facts.POINTER_STRINGS, owner, key)
    if type_.kind in ("quantity", "intorstring"):
        return not required and not _listed(go_facts.ALWAYS, owner, key)
    return type_.kind not in ("list", "map", "bytes", "time", "microtime")
