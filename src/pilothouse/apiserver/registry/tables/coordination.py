"""Table columns of leases (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table


def _lease(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), (obj.get("spec") or {}).get("holderIdentity") or "", age(obj, now_s)]


TABLES: dict[tuple[str, str], Table] = {
    ("coordination.k8s.io", "Lease"): Table(
        (NAME, Column("Holder", describe="@spec.holderIdentity"), AGE), _lease
    ),
}
