"""A definition's spec as validation sees it: in the internal version
(k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/conversion.go).

What all versions have alike (schema, subresources, columns, selectable fields) moves to the top, and error paths
name it there: `spec.validation.openAPIV3Schema`, not `spec.versions[0].schema.openAPIV3Schema`.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.api.validation.apiextensions.props import Schema, same


def spec(v1: Obj) -> Obj:
    """The internal spec of a v1 spec, which is not changed: `version`, `validation`, `subresources`,
    `additionalPrinterColumns` and `selectableFields` at the top, what is left of them in `versions`, and the
    conversion's webhook spread out. `preserveUnknownFields` is always there."""
    out = {**v1, "preserveUnknownFields": bool(v1.get("preserveUnknownFields"))}
    out["conversion"] = _conversion(v1.get("conversion"))
    if not v1.get("versions"):
        return out
    versions = out["versions"] = [dict(version) for version in v1["versions"]]
    out["version"] = versions[0].get("name", "")
    alike = {key for key in _HOISTED if _all_same(versions, key)}
    if "schema" not in alike:
        alike.discard("selectableFields")
    for key in alike:
        if versions[0].get(key) is not None:
            out[_HOISTED[key]] = versions[0][key]
        for version in versions:
            version.pop(key, None)
    return out


_HOISTED = {
    "subresources": "subresources",
    "schema": "validation",
    "additionalPrinterColumns": "additionalPrinterColumns",
    "selectableFields": "selectableFields",
}
"""Where what all versions have alike goes."""


def _all_same(versions: list[Obj], key: str) -> bool:
    return all(same(version.get(key), versions[0].get(key)) for version in versions)


def _conversion(v1: Obj | None) -> Obj | None:
    if v1 is None:
        return None
    webhook: Obj = v1.get("webhook") or {}
    out: Obj = {"strategy": v1.get("strategy", "")}
    if webhook.get("clientConfig") is not None:
        out["webhookClientConfig"] = webhook["clientConfig"]
    if webhook.get("conversionReviewVersions"):
        out["conversionReviewVersions"] = webhook["conversionReviewVersions"]
    return out


def versions(internal: Obj) -> list[Obj]:
    """The versions of an internal spec; one that names none has `None` or `[]`, which error texts tell apart."""
    return internal.get("versions") or []


def open_api_schema(holder: Any) -> Schema | None:
    """The schema in a `validation` or a version's `schema`."""
    return holder.get("openAPIV3Schema") if holder is not None else None


def schemas(internal: Obj) -> list[Schema]:
    """Every schema of an internal spec, the common one first."""
    holders = [internal.get("validation"), *(version.get("schema") for version in versions(internal))]
    return [found for found in map(open_api_schema, holders) if found is not None]
