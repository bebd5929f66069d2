"""Defaults of the kinds in apiextensions (k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj


def custom_resource_definition(obj: Obj) -> None:
    spec, status = obj["spec"], obj["status"]
    names = spec["names"]
    kind = names.get("kind", "")
    if not names.get("singular") and kind:
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = f"{kind}List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    service = ((spec["conversion"].get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None:
        service.setdefault("port", 443)
    if not status.get("storedVersions"):
        stored = [version.get("name", "") for version in spec.get("versions") or () if version.get("storage")]
        if stored:
            status["storedVersions"] = stored[:1]


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"): custom_resource_definition,
}
