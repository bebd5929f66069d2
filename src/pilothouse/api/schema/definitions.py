"""The OpenAPI definitions of a Kubernetes version, from the package `kubernetes-validate`.

Read without their descriptions, which are nine tenths of the memory; `describe` reads those on demand.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec


class GroupVersionKind(msgspec.Struct, frozen=True):
    group: str
    version: str
    kind: str


class Schema(msgspec.Struct):
    """One definition or property, without its description."""

    ref: str = msgspec.field(default="", name="$ref")
    type: str | list[str] = ""
    format: str = ""
    properties: dict[str, Schema] = {}
    items: Schema | None = None
    additional: Schema | bool | None = msgspec.field(default=None, name="additionalProperties")
    required: list[str] = []
    kinds: list[GroupVersionKind] = msgspec.field(default=[], name="x-kubernetes-group-version-kind")
    list_type: str = msgspec.field(default="", name="x-kubernetes-list-type")
    list_keys: list[str] = msgspec.field(default=[], name="x-kubernetes-list-map-keys")
    map_type: str = msgspec.field(default="", name="x-kubernetes-map-type")
    patch_strategy: str = msgspec.field(default="", name="x-kubernetes-patch-strategy")
    patch_merge_key: str = msgspec.field(default="", name="x-kubernetes-patch-merge-key")

    @property
    def simple_type(self) -> str:
        """The type without "null"."""
        if isinstance(self.type, list):
            return next((t for t in self.type if t != "null"), "")
        return self.type

    @property
    def reference(self) -> str:
        """The name of the definition that it refers to, or ""."""
        return self.ref.removeprefix("#/$defs/")


class _File(msgspec.Struct):
    defs: dict[str, Schema] = msgspec.field(name="$defs")


def _path(version: str) -> Path:
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package kubernetes-validate is not installed: reinstall pilothouse")
    base = Path(spec.origin).parent / "kubernetes-json-schema"
    path = base / f"v{version}.0-local" / "_definitions.json"
    if not path.is_file():
        known = sorted(p.name[1:].split(".0-local")[0] for p in base.glob("v*-local"))
        raise ValueError(f"Kubernetes {version} is not known; choose one of {', '.join(known)}")
    return path


class Definitions:
    """All definitions of one version, by name."""

    def __init__(self, version: str) -> None:
        self._path = _path(version)
        major, minor = version.split(".")
        self.version = (int(major), int(minor))
        self.schemas = msgspec.json.decode(self._path.read_bytes(), type=_File).defs
        self._kinds = {
            (k.group, k.version, k.kind): name for name, schema in self.schemas.items() for k in schema.kinds
        }
        self._full: dict[str, Any] | None = None

    @staticmethod
    @lru_cache(maxsize=4)
    def load(version: str) -> Definitions:
        """Shared: a version is read once a process. ValueError for a version without data."""
        return Definitions(version)

    def by_kind(self, group: str, version: str, kind: str) -> str | None:
        """The definition of a kind."""
        return self._kinds.get((group, version, kind))

    def listed_kinds(self) -> list[tuple[str, str, str]]:
        """(group, version, kind) of kinds that have a list: those that are resources."""
        return [k for k in self._kinds if (k[0], k[1], f"{k[2]}List") in self._kinds]

    def full(self) -> dict[str, Any]:
        """The definitions as they stand, descriptions included. Large: keep it no longer than needed."""
        document: dict[str, Any] = msgspec.json.decode(self._path.read_bytes())["$defs"]
        return document

    def describe(self, definition: str, path: str) -> str:
        """The description of a field path of a definition (`spec.replicas`); of the definition for ""."""
        if self._full is None:
            self._full = self.full()
        schema = self._full[definition]
        description = str(schema.get("description", ""))
        for part in filter(None, path.split(".")):
            schema = self._resolve(schema)
            schema = schema.get("properties", {}).get(part, {})
            description = str(schema.get("description", ""))
        return description

    def _resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        assert self._full is not None
        while "$ref" in schema:
            schema = self._full[schema["$ref"].removeprefix("#/$defs/")]
        if schema.get("type") == "array" or "items" in schema:
            return self._resolve(schema["items"])
        return schema
