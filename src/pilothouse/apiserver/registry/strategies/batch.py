"""Strategies of the kinds in batch (pkg/registry/batch/*/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import batch
from pilothouse.api.validation.batch import LEGACY_NAME_LABEL, LEGACY_UID_LABEL, NAME_LABEL, UID_LABEL
from pilothouse.api.validation.pods import warnings
from pilothouse.apiserver.registry.strategies.pods import POD_NAMES, drop_empty_labels
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

_MANY_COMPLETIONS = 100_000
_MUCH_PARALLELISM = 10_000
_TOO_MANY = (
    "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "
    "Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
)
_ZONE_IN_SCHEDULE = (
    "CRON_TZ or TZ used in spec.schedule is not officially supported, see "
    "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
)


class JobStrategy(Strategy):
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")
    generation: ClassVar[bool] = True
    default_propagation: ClassVar[str] = "Orphan"
    field_names: ClassVar[tuple[str, ...]] = ("status.successful",)
    field_error: ClassVar[str] = 'field label "{}" not supported for batchv1.Job'

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {}
        if not obj["spec"].get("manualSelector"):
            _generate_selector(obj)

    def canonicalize(self, obj: Obj) -> None:
        """A job without labels shows its template's: upstream's defaults run again at every read of the store, when
        the generated labels are there."""
        template = obj["spec"]["template"]
        drop_empty_labels(template)
        labels = (template.get("metadata") or {}).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return batch.job(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        # As upstream: the whole job first, then what may not change, with the spec looked at again.
        return batch.job(obj) + batch.job_update(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return batch.job_status_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        found = warnings.name(obj["metadata"].get("name", ""), POD_NAMES) if old is None else []
        if old is None or self.changes_generation(obj, old):
            found += _spec_warnings(obj["spec"], "spec")
        return found


def _spec_warnings(spec: Obj, path: str) -> list[str]:
    found = []
    if (
        spec.get("completionMode") == "Indexed"
        and (spec.get("completions") or 0) > _MANY_COMPLETIONS
        and (spec.get("parallelism") or 0) > _MUCH_PARALLELISM
    ):
        found.append(_TOO_MANY)
    return found + warnings.template(spec["template"], f"{path}.template")


def _generate_selector(job: Obj) -> None:
    """A selector of the job's own, and its labels on the pods."""
    meta = job["metadata"]
    template = job["spec"].setdefault("template", {})
    template_meta = template.setdefault("metadata", {})
    labels = dict(template_meta.get("labels") or {})
    for key, value in (
        (UID_LABEL, meta["uid"]),
        (LEGACY_UID_LABEL, meta["uid"]),
        (NAME_LABEL, meta.get("name", "")),
        (LEGACY_NAME_LABEL, meta.get("name", "")),
    ):
        labels.setdefault(key, value)
    template_meta["labels"] = labels
    selector = job["spec"].get("selector") or {}
    match_labels = dict(selector.get("matchLabels") or {})
    match_labels.setdefault(UID_LABEL, meta["uid"])
    job["spec"]["selector"] = {**selector, "matchLabels": match_labels}


class CronJobStrategy(Strategy):
    generation: ClassVar[bool] = True

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {}

    def canonicalize(self, obj: Obj) -> None:
        drop_empty_labels(obj["spec"]["jobTemplate"]["spec"]["template"])

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return batch.cron_job(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return batch.cron_job_update(obj, old)

    def warnings(self, ctx: Context, obj: Obj, old: Obj | None) -> list[str]:
        found = warnings.name(obj["metadata"].get("name", ""), POD_NAMES) if old is None else []
        spec = obj["spec"]
        if old is None or self.changes_generation(obj, old):
            found += _spec_warnings(spec["jobTemplate"]["spec"], "spec.jobTemplate.spec")
        if "TZ" in spec.get("schedule", ""):
            found.append(_ZONE_IN_SCHEDULE)
        return found


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("batch", "Job"): JobStrategy(),
    ("batch", "CronJob"): CronJobStrategy(),
}
