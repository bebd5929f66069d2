"""Strategies of the kinds in apps (pkg/registry/apps/*/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.strategy import Context, Strategy


class Workload(Strategy):
    """A kind with a selector that never changes and a status that starts empty."""

    generation: ClassVar[bool] = True
    empty_status: ClassVar[Obj] = {}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = dict(self.empty_status)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        before, now = old["spec"].get("selector"), obj["spec"].get("selector")
        return [f.invalid("spec.selector", now, "field is immutable")] if before != now else []


class ReplicaSetStrategy(Workload):
    empty_status: ClassVar[Obj] = {"replicas": 0}
    field_names: ClassVar[tuple[str, ...]] = ("status.replicas",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}


class DaemonSetStrategy(Workload):
    empty_status: ClassVar[Obj] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }


class StatefulSetStrategy(Workload):
    empty_status: ClassVar[Obj] = {"replicas": 0, "availableReplicas": 0}


class RevisionStrategy(Strategy):
    has_status: ClassVar[bool] = False


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("apps", "Deployment"): Workload(),
    ("apps", "ReplicaSet"): ReplicaSetStrategy(),
    ("apps", "DaemonSet"): DaemonSetStrategy(),
    ("apps", "StatefulSet"): StatefulSetStrategy(),
    ("apps", "ControllerRevision"): RevisionStrategy(),
}
