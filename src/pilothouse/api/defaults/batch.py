"""Defaults of the kinds in batch (pkg/apis/batch/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults import pods
from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

_NO_LIMIT = 2**31 - 1


def _absent(obj: Obj, name: str, value: object) -> None:
    if obj.get(name) is None:
        obj[name] = value


def job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    job_spec(spec)
    _absent(spec, "manualSelector", False)
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if labels and not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def job_spec(spec: Obj) -> None:
    pods.template(spec.get("template"))
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    _absent(spec, "parallelism", 1)
    _absent(spec, "backoffLimit", _NO_LIMIT if spec.get("backoffLimitPerIndex") is not None else 6)
    _absent(spec, "completionMode", "NonIndexed")
    _absent(spec, "suspend", False)
    policy = spec.get("podFailurePolicy")
    for rule in (policy or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"
    _absent(spec, "podReplacementPolicy", "Failed" if policy is not None else "TerminatingOrFailed")


def cron_job(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    pods.template(((spec.get("jobTemplate") or {}).get("spec") or {}).get("template"))
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    _absent(spec, "suspend", False)
    _absent(spec, "successfulJobsHistoryLimit", 3)
    _absent(spec, "failedJobsHistoryLimit", 1)


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("batch", "v1", "Job"): job,
    ("batch", "v1", "CronJob"): cron_job,
}
