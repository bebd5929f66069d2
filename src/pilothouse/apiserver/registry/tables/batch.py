"""Table columns of the kinds in batch (pkg/printers/internalversion/printers.go)."""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables import workload_cells as cells
from pilothouse.apiserver.registry.tables.cells import age, human_duration, name, since
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table
from pilothouse.kit.world import parse_timestamp


def _job(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    template = spec["template"]
    return [
        name(obj),
        _state(obj),
        _completions(spec, status),
        _duration(status, now_s),
        age(obj, now_s),
        cells.containers(template),
        cells.images(template),
        cells.selector(spec.get("selector")),
    ]


def _state(obj: Obj) -> str:
    true = {c.get("type") for c in obj["status"].get("conditions") or () if c.get("status") == "True"}
    for ended, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if ended in true:
            return shown
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if kind in true:
            return kind
    return "Running"


def _completions(spec: Obj, status: Obj) -> str:
    done, wanted = status.get("succeeded", 0), spec.get("completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(status: Obj, now_s: float) -> str:
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    end_s = parse_timestamp(end) if end else now_s
    return human_duration(end_s - parse_timestamp(start))


def _cron_job(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    job = spec["jobTemplate"]["spec"]
    last = status.get("lastScheduleTime")
    return [
        name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or cells.NONE,
        _yes(spec.get("suspend")),
        len(status.get("active") or ()),
        since(last, now_s) if last else cells.NONE,
        age(obj, now_s),
        cells.containers(job["template"]),
        cells.images(job["template"]),
        cells.selector(job.get("selector")),
    ]


def _yes(value: bool | None) -> str:
    if value is None:
        return "<unset>"
    return "True" if value else "False"


TABLES: dict[tuple[str, str], Table] = {
    ("batch", "Job"): Table(
        (
            NAME,
            Column("Status", describe="Status of the job."),
            Column("Completions", describe="@status.succeeded"),
            Column("Duration", describe="Time required to complete the job."),
            AGE,
            cells.CONTAINERS,
            cells.IMAGES,
            cells.SELECTOR,
        ),
        _job,
    ),
    ("batch", "CronJob"): Table(
        (
            NAME,
            Column("Schedule", describe="@spec.schedule"),
            Column("Timezone", describe="@spec.timeZone"),
            Column("Suspend", "boolean", describe="@spec.suspend"),
            Column("Active", "integer", describe="@status.active"),
            Column("Last Schedule", describe="@status.lastScheduleTime"),
            AGE,
            cells.CONTAINERS,
            cells.IMAGES,
            Column("Selector", describe="@spec.jobTemplate.spec.selector", priority=1),
        ),
        _cron_job,
    ),
}
