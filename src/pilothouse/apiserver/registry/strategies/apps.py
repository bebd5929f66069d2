"""Strategies of the kinds in apps (pkg/registry/apps/*/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.defaults.apps import TEMPLATE_GENERATION
from pilothouse.api.types import Obj
from pilothouse.api.validation import apps
from pilothouse.api.validation.pods import warnings
from pilothouse.apiserver.registry.strategies.pods import POD_NAMES, drop_empty_labels
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy


class Workload(Strategy):
    """A kind with a template of pods and a status that starts empty."""

    generation: ClassVar[bool] = True
    empty_status: ClassVar[Obj] = {}
    names_pods: ClassVar[bool] = False
    """Its name becomes part of its pods' names."""

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = dict(self.empty_status)

    def canonicalize(self, obj: Obj) -> None:
        drop_empty_labels(obj["spec"]["template"])

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        found = (
            warnings.name(obj["metadata"].get("name", ""), POD_NAMES)
            if old is None and self.names_pods
            else []
        )
        if old is None or self.changes_generation(obj, old):
            found += warnings.template(obj["spec"]["template"], "spec.template")
        return found


class DeploymentStrategy(Workload):
    names_pods: ClassVar[bool] = True

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        """Annotations count: the controller copies them to its ReplicaSets."""
        before, now = (o["metadata"].get("annotations") or {} for o in (old, obj))
        return bool(obj["spec"] != old["spec"] or before != now)

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        metadata, before = obj["metadata"], old["metadata"]
        if "labels" in before:
            metadata["labels"] = before["labels"]
        else:
            metadata.pop("labels", None)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return apps.deployment(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.deployment_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.deployment_status_update(obj, old)


class ReplicaSetStrategy(Workload):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    names_pods: ClassVar[bool] = True
    empty_status: ClassVar[Obj] = {"replicas": 0}
    field_names: ClassVar[tuple[str, ...]] = ("status.replicas",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.replicas": str((obj.get("status") or {}).get("replicas", 0))}

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return apps.replica_set(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.replica_set_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.replicas_status(obj)


class DaemonSetStrategy(Workload):
    """`spec.templateGeneration` of the first API lives on as an annotation, and counts template changes."""

    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    empty_status: ClassVar[Obj] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        _annotate(obj, "1")

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        counted = int((old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "0"))
        if obj["spec"].get("template") != old["spec"].get("template"):
            counted += 1
        _annotate(obj, str(counted))

    def prepare_for_status_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        _annotate(obj, (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION, "0"))

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return apps.daemon_set(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.daemon_set_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.daemon_set_status_update(obj, old)


def _annotate(obj: Obj, generation: str) -> None:
    metadata = obj["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: generation}


class StatefulSetStrategy(Workload):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    name_message: ClassVar[str] = "label"
    empty_status: ClassVar[Obj] = {"replicas": 0, "availableReplicas": 0}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        super().prepare_for_create(ctx, obj)
        _drop_max_unavailable(obj)

    def prepare_for_update(self, ctx: Context, obj: Obj, old: Obj) -> None:
        _drop_max_unavailable(obj)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return apps.stateful_set(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.stateful_set_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.stateful_set_status_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        found = super().warnings(ctx, obj, old)
        if (obj["spec"].get("revisionHistoryLimit") or 0) < 0 and (
            old is None or self.changes_generation(obj, old)
        ):
            found.append(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; "
                "a value >= 0 is recommended"
            )
        return found


def _drop_max_unavailable(obj: Obj) -> None:
    """MaxUnavailableStatefulSet (KEP-961) is off by default."""
    strategy = obj["spec"].get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    if "maxUnavailable" in rolling:
        kept = {key: value for key, value in rolling.items() if key != "maxUnavailable"}
        obj["spec"] = {**obj["spec"], "updateStrategy": {**strategy, "rollingUpdate": kept}}


class RevisionStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("update", "create")
    has_status: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return apps.controller_revision(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return apps.controller_revision_update(obj, old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("apps", "Deployment"): DeploymentStrategy(),
    ("apps", "ReplicaSet"): ReplicaSetStrategy(),
    ("apps", "DaemonSet"): DaemonSetStrategy(),
    ("apps", "StatefulSet"): StatefulSetStrategy(),
    ("apps", "ControllerRevision"): RevisionStrategy(),
}
