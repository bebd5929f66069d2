"""Defaults of the kinds in scheduling.k8s.io (pkg/apis/scheduling/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj


def priority_class(obj: Obj) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("scheduling.k8s.io", "v1", "PriorityClass"): priority_class,
}
