"""Table columns of the kinds in flowcontrol.apiserver.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

GROUP = "flowcontrol.apiserver.k8s.io"


def _flow_schema(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    conditions = obj["status"].get("conditions") or ()
    return [
        name(obj),
        spec["priorityLevelConfiguration"].get("name", ""),
        spec.get("matchingPrecedence", 0),
        (spec.get("distinguisherMethod") or {}).get("type", "<none>"),
        age(obj, now_s),
        next((c.get("status", "") for c in conditions if c.get("type") == "Dangling"), "?"),
    ]


def _priority_level(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        name(obj),
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", "<none>"),
        queuing.get("queues", "<none>"),
        queuing.get("handSize", "<none>"),
        queuing.get("queueLengthLimit", "<none>"),
        age(obj, now_s),
    ]


TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "FlowSchema"): Table(
        (
            NAME,
            Column("PriorityLevel", describe="@spec.priorityLevelConfiguration.name"),
            Column("MatchingPrecedence", describe="@spec.matchingPrecedence"),
            Column("DistinguisherMethod", describe="@spec.distinguisherMethod"),
            AGE,
            Column("MissingPL", describe="references a broken or non-existent PriorityLevelConfiguration"),
        ),
        _flow_schema,
    ),
    (GROUP, "PriorityLevelConfiguration"): Table(
        (
            NAME,
            Column("Type", describe="@spec.type"),
            Column("NominalConcurrencyShares", describe="@spec.limited.nominalConcurrencyShares"),
            Column("Queues", describe="@spec.limited.limitResponse.queuing.queues"),
            Column("HandSize", describe="@spec.limited.limitResponse.queuing.handSize"),
            Column("QueueLengthLimit", describe="@spec.limited.limitResponse.queuing.queueLengthLimit"),
            AGE,
        ),
        _priority_level,
    ),
}
