"""Table columns of endpoint slices (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table
from pilothouse.apiserver.registry.tables.core import UNSET, listed


def _endpoint_slice(obj: Obj, now_s: float) -> list[Any]:
    addresses = [a for e in obj.get("endpoints") or () for a in e.get("addresses") or ()]
    return [
        name(obj),
        obj.get("addressType", ""),
        listed(map(_port, obj.get("ports") or ()), UNSET),
        listed(addresses, UNSET),
        age(obj, now_s),
    ]


def _port(port: Obj) -> str:
    if port.get("port") is not None:
        return str(port["port"])
    return str(port.get("name") or "*")


TABLES: dict[tuple[str, str], Table] = {
    ("discovery.k8s.io", "EndpointSlice"): Table(
        (
            NAME,
            Column("AddressType", describe="@addressType"),
            Column("Ports", describe="@ports"),
            Column("Endpoints", describe="@endpoints"),
            AGE,
        ),
        _endpoint_slice,
    ),
}
