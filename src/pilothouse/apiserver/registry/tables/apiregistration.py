"""Table columns of the kinds in apiregistration.k8s.io (kube-aggregator's registry/apiservice)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table


def _api_service(obj: Obj, now_s: float) -> list[Any]:
    service = obj["spec"].get("service")
    where = "Local" if service is None else f"{service.get('namespace', '')}/{service.get('name', '')}"
    return [name(obj), where, _available(obj["status"]), age(obj, now_s)]


def _available(status: Obj) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "Available":
            state = str(condition.get("status", ""))
            return state if state == "True" else f"{state} ({condition.get('reason', '')})"
    return "Unknown"


TABLES: dict[tuple[str, str], Table] = {
    ("apiregistration.k8s.io", "APIService"): Table(
        (
            NAME,
            Column("Service", describe="The reference to the service that hosts this API endpoint."),
            Column("Available", describe="Whether this service is available."),
            AGE,
        ),
        _api_service,
    ),
}
