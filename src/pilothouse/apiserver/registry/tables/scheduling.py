"""Table columns of the kinds in scheduling.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table


def _priority_class(obj: Obj, now_s: float) -> list[Any]:
    return [
        name(obj),
        obj.get("value", 0),
        obj.get("globalDefault", False),
        age(obj, now_s),
        obj.get("preemptionPolicy", ""),
    ]


TABLES: dict[tuple[str, str], Table] = {
    ("scheduling.k8s.io", "PriorityClass"): Table(
        (
            NAME,
            Column("Value", "integer", describe="@value"),
            Column("Global-Default", "boolean", describe="@globalDefault"),
            AGE,
            Column("PreemptionPolicy", describe="@preemptionPolicy"),
        ),
        _priority_class,
    ),
}
