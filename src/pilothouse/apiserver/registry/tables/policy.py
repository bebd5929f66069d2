"""Table columns of PodDisruptionBudget (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table


def _budget(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    return [
        name(obj),
        str(spec.get("minAvailable", "N/A")),
        str(spec.get("maxUnavailable", "N/A")),
        status.get("disruptionsAllowed", 0),
        age(obj, now_s),
    ]


TABLES: dict[tuple[str, str], Table] = {
    ("policy", "PodDisruptionBudget"): Table(
        (
            NAME,
            Column("Min Available", describe="The minimum number of pods that must be available."),
            Column("Max Unavailable", describe="The maximum number of pods that may be unavailable."),
            Column(
                "Allowed Disruptions",
                "integer",
                describe="Calculated number of pods that may be disrupted at this time.",
            ),
            AGE,
        ),
        _budget,
    ),
}
