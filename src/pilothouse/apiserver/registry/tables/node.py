"""Table columns of the kinds in node.k8s.io."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table


def _runtime_class(obj: Obj, now_s: float) -> list[Any]:
    return [name(obj), obj.get("handler", ""), age(obj, now_s)]


TABLES: dict[tuple[str, str], Table] = {
    # Upstream looks the handler's description up under a name that its documentation does not have.
    ("node.k8s.io", "RuntimeClass"): Table((NAME, Column("Handler"), AGE), _runtime_class),
}
