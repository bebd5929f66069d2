"""The scale subresource's paths (validation.ValidateCustomResourceDefinitionSubresources)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions.paths import simple_json_path

_PATHS = (
    ("specReplicasPath", (".spec.",), "should be a json path under .spec"),
    ("statusReplicasPath", (".status.",), "should be a json path under .status"),
    ("labelSelectorPath", (".spec.", ".status."), "should be a json path under either .spec or .status"),
)


def has_status(subresources: Obj | None) -> bool:
    return subresources is not None and subresources.get("status") is not None


def validate(subresources: Obj | None, path: str) -> f.Errors:
    scale = (subresources or {}).get("scale")
    if scale is None:
        return []
    errors: f.Errors = []
    for key, prefixes, why in _PATHS:
        at, value = f"{path}.scale.{key}", scale.get(key) or ""
        if not value:
            if key != "labelSelectorPath":
                errors.append(f.required(at))
            continue
        found = simple_json_path(value, at)
        if not found and not value.startswith(prefixes):
            found = [f.invalid(at, value, why)]
        errors += found
    return errors
