"""Defaults of EndpointSlice (pkg/apis/discovery/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj


def endpoint_slice(obj: Obj) -> None:
    for port in obj.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("discovery.k8s.io", "v1", "EndpointSlice"): endpoint_slice,
}
