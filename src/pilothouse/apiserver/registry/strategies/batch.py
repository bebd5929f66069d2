"""Strategies of the kinds in batch (pkg/registry/batch/*/strategy.go)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.strategy import Context, Strategy

_UID_LABEL = "batch.kubernetes.io/controller-uid"
_NAME_LABEL = "batch.kubernetes.io/job-name"


class JobStrategy(Strategy):
    generation: ClassVar[bool] = True
    default_propagation: ClassVar[str] = "Orphan"
    field_names: ClassVar[tuple[str, ...]] = ("status.successful",)

    def fields(self, obj: Obj) -> dict[str, str]:
        return {"status.successful": str((obj.get("status") or {}).get("succeeded", 0))}

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {}
        if not obj["spec"].get("manualSelector"):
            _generate_selector(obj)


def _generate_selector(job: Obj) -> None:
    """A selector of the job's own, and its labels on the pods."""
    meta = job["metadata"]
    template = job["spec"].setdefault("template", {})
    template_meta = template.setdefault("metadata", {})
    labels = dict(template_meta.get("labels") or {})
    for key, value in (
        (_UID_LABEL, meta["uid"]),
        ("controller-uid", meta["uid"]),
        (_NAME_LABEL, meta.get("name", "")),
        ("job-name", meta.get("name", "")),
    ):
        labels.setdefault(key, value)
    template_meta["labels"] = labels
    selector = job["spec"].get("selector") or {}
    match_labels = dict(selector.get("matchLabels") or {})
    match_labels.setdefault(_UID_LABEL, meta["uid"])
    job["spec"]["selector"] = {**selector, "matchLabels": match_labels}


class CronJobStrategy(Strategy):
    generation: ClassVar[bool] = True

    def prepare_for_create(self, ctx: Context, obj: Obj) -> None:
        obj["status"] = {}


STRATEGIES: dict[tuple[str, str], Strategy] = {
    ("batch", "Job"): JobStrategy(),
    ("batch", "CronJob"): CronJobStrategy(),
}
