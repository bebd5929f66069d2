"""When a cron job is due and what its jobs are called. Pure functions: they read objects and decide.

Rules: k8s.io/kubernetes/pkg/controller/cronjob and
https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pilothouse.api import cron
from pilothouse.api.resources import CRON_JOBS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import controller_ref
from pilothouse.controllers import job_rules
from pilothouse.kit.world import parse_timestamp

SCHEDULED_ANNOTATION = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_PADDING_S = 0.1
"""So that a clock that is a little off does not wake the controller too early."""
_MANY_MISSED = 100


class TooDense(ValueError):
    """A schedule whose times do not move on."""


class Due(NamedTuple):
    """`earliest_s`: since when the schedule is looked at. `recent_s`: the last time it was due, None when it was not.
    `missed`: roughly how often."""

    earliest_s: float
    recent_s: float | None
    missed: int

    @property
    def missed_many(self) -> bool:
        return self.missed > _MANY_MISSED


def schedule_text(cj: Obj) -> str:
    """The schedule with its time zone, as the parser takes it (formatSchedule)."""
    spec = cj["spec"]
    text, zone = str(spec["schedule"]), spec.get("timeZone")
    if "TZ" in text or zone is None or not cron.is_zone(zone):
        return text
    return f"TZ={zone} {text}"


def due(cj: Obj, schedule: cron.Schedule, now_s: float, *, within_deadline: bool = True) -> Due:
    """The last time that a job should have been started (mostRecentScheduleTime). With `within_deadline` nothing
    before startingDeadlineSeconds counts. TooDense for a schedule that makes no sense."""
    last = (cj.get("status") or {}).get("lastScheduleTime")
    earliest = parse_timestamp(last or cj["metadata"]["creationTimestamp"])
    deadline = cj["spec"].get("startingDeadlineSeconds")
    if within_deadline and deadline is not None:
        earliest = max(earliest, now_s - deadline)
    first = schedule.next(earliest)
    second = schedule.next(first) if first is not None else None
    if first is None or second is None:
        raise TooDense("time difference between two schedules is less than 1 second")
    if now_s < first:
        return Due(earliest, None, 0)
    if now_s < second:
        return Due(earliest, first, 0)
    return _latest(schedule, earliest, first, second - first, now_s)


def _latest(schedule: cron.Schedule, earliest: float, first: float, apart_s: float, now_s: float) -> Due:
    """Jump near to now by the distance of the first two times, then go on one by one."""
    missed = int((now_s - first) // apart_s) + 1
    recent: float | None = None
    candidate = schedule.next(first + (missed - 2) * apart_s)
    while candidate is not None and candidate <= now_s:
        recent, candidate = candidate, schedule.next(candidate)
    return Due(earliest, recent, missed)


def next_delay_s(cj: Obj, schedule: cron.Schedule, now_s: float) -> float | None:
    """Seconds until the controller should look again (nextScheduleTimeDuration)."""
    try:
        found = due(cj, schedule, now_s, within_deadline=False)
    except TooDense:
        base = now_s
    else:
        base = found.recent_s if found.recent_s is not None else (now_s if found.missed else found.earliest_s)
    upcoming = schedule.next(base)
    return None if upcoming is None else max(upcoming + _PADDING_S - now_s, 0.0)


def job_name(cj: Obj, scheduled_s: float) -> str:
    """The same for every try to start the job of one time, so that it is started once."""
    return f"{cj['metadata']['name']}-{int(scheduled_s) // 60}"


def new_job(cj: Obj, scheduled_s: float) -> Obj:
    template = cj["spec"]["jobTemplate"]
    meta = template.get("metadata") or {}
    zone = cron.location(cj["spec"].get("timeZone") or "")
    when = datetime.fromtimestamp(int(scheduled_s), zone).isoformat()
    job_meta: Obj = {
        "name": job_name(cj, scheduled_s),
        "namespace": cj["metadata"]["namespace"],
        "annotations": {**(meta.get("annotations") or {}), SCHEDULED_ANNOTATION: when.replace("+00:00", "Z")},
        "ownerReferences": [controller_ref(cj, CRON_JOBS)],
    }
    if meta.get("labels"):
        job_meta["labels"] = meta["labels"]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": job_meta, "spec": template["spec"]}


def finished_as(job: Obj) -> str:
    """Complete, Failed, or "" for a job that still runs."""
    status = job.get("status") or {}
    return next((kind for kind in ("Complete", "Failed") if job_rules.is_true(status, kind)), "")


def expendable(cj: Obj, jobs: list[Obj]) -> list[Obj]:
    """Finished jobs beyond the history limits, the oldest first."""
    out: list[Obj] = []
    for kind, field in (("Complete", "successfulJobsHistoryLimit"), ("Failed", "failedJobsHistoryLimit")):
        keep = cj["spec"].get(field)
        if keep is not None:
            finished = sorted((j for j in jobs if finished_as(j) == kind), key=_by_start)
            out += finished[: max(len(finished) - keep, 0)]
    return out


def _by_start(job: Obj) -> tuple[bool, str, str]:
    started = (job.get("status") or {}).get("startTime") or ""
    return not started, started, job["metadata"]["name"]
