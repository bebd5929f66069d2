"""Definitions of custom resources: a CustomResourceDefinition's schema as the documents show it
(k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder).

Version 2 knows less than a structural schema may say, so what it cannot say is dropped there.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.catalog import Served
from pilothouse.api.types import Obj
from pilothouse.apiserver.endpoints.openapi.paths import META

_V2_DROPPED = (
    "allOf", "anyOf", "default", "enum", "nullable", "not", "oneOf", "x-kubernetes-validations",
)  # fmt: skip
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
    "recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this "
    "from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
_METADATA = (
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_LIST_METADATA = (
    "Standard list metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)


def definition_name(group: str, version: str, kind: str) -> str:
    """com.example.stable.v1.CronTab for stable.example.com."""
    return ".".join((*reversed(group.split(".")), version, kind))


def definitions(served: Served, schema: Obj, prefix: str, *, v2: bool) -> dict[str, Obj]:
    """The kind and its list. `schema` is the version's openAPIV3Schema."""
    r = served.resource
    name = definition_name(r.group, r.version, r.kind)
    body = _v2(schema) if v2 else dict(schema)
    if body.get("x-kubernetes-preserve-unknown-fields") and v2:
        body = {"type": "object"}
    body.setdefault("type", "object")
    if body.get("properties") or not v2:
        body["properties"] = {**body.get("properties", {}), **_type_meta()}
        body["properties"]["metadata"] = _reference(f"{prefix}{META}.ObjectMeta", _METADATA, v2=v2)
    body["x-kubernetes-group-version-kind"] = [_kind(served, r.kind)]
    items = {"$ref": prefix + name}
    listing: Obj = {
        "description": f"{served.list_kind} is a list of {r.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_type_meta(),
            "items": {
                "description": (
                    f"List of {r.plural}. More info: https://git.k8s.io/community/contributors/devel/"
                    "sig-architecture/api-conventions.md"
                ),
                "items": items,
                "type": "array",
            },
            "metadata": _reference(f"{prefix}{META}.ListMeta", _LIST_METADATA, v2=v2),
        },
        "x-kubernetes-group-version-kind": [_kind(served, served.list_kind)],
    }
    return {name: body, definition_name(r.group, r.version, served.list_kind): listing}


def _type_meta() -> Obj:
    return {
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
    }


def _reference(target: str, description: str, *, v2: bool) -> Obj:
    if v2:
        return {"$ref": target, "description": description}
    return {"allOf": [{"$ref": target}], "description": description}


def _kind(served: Served, kind: str) -> Obj:
    return {"group": served.resource.group, "kind": kind, "version": served.resource.version}


def _v2(schema: Any) -> Obj:
    out: Obj = {k: v for k, v in schema.items() if k not in _V2_DROPPED}
    if schema.get("x-kubernetes-int-or-string") or schema.get("nullable"):
        out.pop("type", None)
        out.pop("x-kubernetes-int-or-string", None)
        if schema.get("nullable"):
            for inner in ("items", "properties"):
                out.pop(inner, None)
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        for inner in ("items", "properties", "type"):
            out.pop(inner, None)
    for inner in ("items", "additionalProperties"):
        if isinstance(out.get(inner), dict):
            out[inner] = _v2(out[inner])
    if isinstance(out.get("properties"), dict):
        out["properties"] = {key: _v2(value) for key, value in out["properties"].items()}
    return out
