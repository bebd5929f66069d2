"""Table columns of the kinds in resource.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

GROUP = "resource.k8s.io"


def _name_and_age(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), age(obj, now_s)]


def _claim(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), _claim_state(obj), age(obj, now_s)]


def _claim_state(obj: Obj) -> str:
    deleted = obj["metadata"].get("deletionTimestamp") is not None
    status = obj["status"]
    states = ["deleted"] if deleted else []
    if status.get("allocation") is not None:
        states.append("allocated")
        if status.get("reservedFor"):
            states.append("reserved")
    elif not deleted:
        states.append("pending")
    return ",".join(states)


def _slice(obj: Obj, now_s: float) -> list[Any]:
    spec = obj["spec"]
    return [
        name(obj),
        spec.get("nodeName", ""),
        spec.get("driver", ""),
        spec["pool"].get("name", ""),
        age(obj, now_s),
    ]


TABLES: dict[tuple[str, str], Table] = {
    (GROUP, "DeviceClass"): Table((NAME, AGE), _name_and_age),
    (GROUP, "ResourceClaim"): Table(
        (
            NAME,
            Column("State", describe="A summary of the current state (allocated, pending, reserved, etc.)."),
            AGE,
        ),
        _claim,
    ),
    (GROUP, "ResourceClaimTemplate"): Table((NAME, AGE), _name_and_age),
    (GROUP, "ResourceSlice"): Table(
        (
            NAME,
            Column("Node", describe="@spec.nodeName"),
            Column("Driver", describe="@spec.driver"),
            Column("Pool", describe="@spec.pool.name"),
            AGE,
        ),
        _slice,
    ),
}
