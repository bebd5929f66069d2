"""CronJob controller: a job at every time of a schedule (k8s.io/kubernetes/pkg/controller/cronjob).

    jobs seen ─▶ active list and last success brought up to date ─▶ due? ─▶ concurrency policy ─▶ job made
                                                                     └─▶ history cut ─▶ status ─▶ sleep

When it is due is decided in `cronjob_rules`.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import ClassVar

from pilothouse.api import cron
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import CRON_JOBS, JOBS
from pilothouse.api.types import Obj
from pilothouse.client.events import reference
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import (
    Controller,
    Failure,
    TryAgain,
    controller_of,
    is_terminating_namespace,
)
from pilothouse.controllers import cronjob_rules as rules
from pilothouse.controllers.pods import is_terminating
from pilothouse.controllers.pods_owner import controller_uid
from pilothouse.kit.world import timestamp

log = logging.getLogger(__name__)

_TOO_MANY = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"


class CronJobController(Controller):
    name: ClassVar[str] = "cronjob-controller"
    queue_name: ClassVar[str] = "cronjob"

    def setup(self) -> None:
        self._cron_jobs = self.watch(CRON_JOBS, changed=lambda old, new: not _is_rescheduled(old, new))
        self._cron_jobs.add_handler(_Rescheduled(self))
        self._jobs = self.owned(JOBS, owner=CRON_JOBS)
        self._jobs.add_index("controller", controller_uid)

    async def reconcile(self, key: str) -> float | None:
        cj = self._cron_jobs.get(key)
        if cj is None:
            return None
        jobs = self._jobs.by_index("controller", cj["metadata"]["uid"])
        return await _Sync(self, cj, jobs).run()

    def rescheduled(self, cj: Obj) -> None:
        """A new schedule counts from its next time on: what it would have missed before nobody missed. One that
        cannot be read is not looked at."""
        try:
            delay_s = rules.next_delay_s(cj, cron.parse(rules.schedule_text(cj)), self.world.now())
        except ValueError as error:
            log.info("%s: %s: unparseable schedule: %s", self.name, key_of(cj), error)
            return
        if delay_s is not None:
            self.queue.add_after(key_of(cj), delay_s)

    async def live_job(self, namespace: str, name: str) -> Obj | None:
        """The job as the API server knows it."""
        try:
            return await self.client.get(JOBS, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def live_cron_job(self, cj: Obj) -> Obj:
        return await self.client.get(CRON_JOBS, cj["metadata"]["name"], cj["metadata"]["namespace"])


class _Sync:
    """One cron job at one moment (syncCronJob)."""

    def __init__(self, controller: CronJobController, cj: Obj, jobs: list[Obj]) -> None:
        self._c = controller
        self._cj = _typed(cj)
        self._jobs = jobs
        self._take(self._cj)

    def _take(self, cj: Obj) -> None:
        self._cj = cj
        self._status = dict(cj.get("status") or {})
        self._active: list[Obj] = list(self._status.get("active") or ())

    async def run(self) -> float | None:
        delay_s: float | None = None
        failure: Failure | TryAgain | None = None
        await self._look_at_jobs()
        await self._drop_missing()
        if not is_terminating(self._cj):
            try:
                delay_s = await self._start_what_is_due()
            except (ApiError, ConnectionError, TryAgain) as error:
                failure = error
        for job in rules.expendable(self._cj, self._jobs):
            await self._delete(job)
        await self._write()
        if failure is not None:
            raise failure
        return delay_s

    # -- the active list --------------------------------------------------------------------------------

    def _is_active(self, job: Obj) -> bool:
        return any(ref.get("uid") == job["metadata"]["uid"] for ref in self._active)

    def _deactivate(self, uid: str) -> None:
        self._active = [ref for ref in self._active if ref.get("uid") != uid]

    async def _look_at_jobs(self) -> None:
        for job in self._jobs:
            name, outcome = job["metadata"]["name"], rules.finished_as(job)
            if not outcome and not self._is_active(job):
                await self._look_again(job)
            elif outcome and self._is_active(job):
                self._deactivate(job["metadata"]["uid"])
                message = f"Saw completed job: {name}, condition: {outcome}"
                self._tell("Normal", "SawCompletedJob", message)
            if outcome == "Complete":
                self._note_success(job)

    async def _look_again(self, job: Obj) -> None:
        """A running job that is not in the list: our copy of the list may be old."""
        fresh = await self._c.live_cron_job(self._cj)
        if any(
            r.get("uid") == job["metadata"]["uid"] for r in (fresh.get("status") or {}).get("active") or ()
        ):
            self._take(_typed(fresh))
            return
        message = f"Saw a job that the controller did not create or forgot: {job['metadata']['name']}"
        self._tell("Warning", "UnexpectedJob", message)

    def _note_success(self, job: Obj) -> None:
        done = (job.get("status") or {}).get("completionTime")
        if done and done > (self._status.get("lastSuccessfulTime") or ""):
            self._status["lastSuccessfulTime"] = done

    async def _drop_missing(self) -> None:
        known = {job["metadata"]["uid"] for job in self._jobs}
        for ref in [r for r in self._active if r.get("uid") not in known]:
            # The informer may be behind: only the API server knows that a job is gone.
            if await self._c.live_job(ref["namespace"], ref["name"]) is None:
                self._tell("Normal", "MissingJob", f"Active job went missing: {ref['name']}")
                self._deactivate(ref["uid"])

    # -- the schedule -----------------------------------------------------------------------------------

    def _schedule(self) -> cron.Schedule | None:
        """None when nothing is to be started: suspended, or a schedule or zone that is none."""
        spec = self._cj["spec"]
        text, zone = spec["schedule"], spec.get("timeZone")
        if zone is not None and not cron.is_zone(zone):
            message = f'invalid timeZone: "{zone}": unknown time zone {zone}'
            self._tell("Warning", "UnknownTimeZone", message)
            return None
        if spec.get("suspend"):
            return None
        if "TZ" in text:
            message = (
                f'CRON_TZ or TZ used in schedule "{text}" is not officially supported, see '
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            )
            self._tell("Warning", "UnsupportedSchedule", message)
        try:
            return cron.parse(rules.schedule_text(self._cj))
        except ValueError as error:
            self._tell("Warning", "UnparseableSchedule", f'unparseable schedule: "{text}" : {error}')
            return None

    async def _start_what_is_due(self) -> float | None:
        """Start the job of the last time that was due; seconds until the next one."""
        schedule = self._schedule()
        if schedule is None:
            return None
        now_s = self._c.world.now()
        try:
            found = rules.due(self._cj, schedule, now_s)
        except rules.TooDense as error:
            message = f"invalid schedule: {self._cj['spec']['schedule']} : {error}"
            self._tell("Warning", "InvalidSchedule", message)
            return None
        if found.recent_s is not None:
            if found.missed_many:
                self._tell("Warning", "TooManyMissedTimes", _TOO_MANY)
            if self._may_start(found.recent_s, now_s):
                await self._replace_running()
                await self._start(found.recent_s)
        return rules.next_delay_s({**self._cj, "status": self._status}, schedule, now_s)

    def _may_start(self, scheduled_s: float, now_s: float) -> bool:
        spec = self._cj["spec"]
        deadline = spec.get("startingDeadlineSeconds")
        if deadline is not None and scheduled_s + deadline < now_s:
            when = datetime.fromtimestamp(scheduled_s, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
            self._tell("Warning", "MissSchedule", f"Missed scheduled time to start a job: {when}")
            return False
        name = rules.job_name(self._cj, scheduled_s)
        if any(ref["name"] == name for ref in self._active):
            return False
        if self._status.get("lastScheduleTime") == timestamp(scheduled_s):
            return False
        if spec.get("concurrencyPolicy") == "Forbid" and self._active:
            message = "Not starting job because prior execution is running and concurrency policy is Forbid"
            self._tell("Normal", "JobAlreadyActive", message)
            return False
        return True

    async def _replace_running(self) -> None:
        if self._cj["spec"].get("concurrencyPolicy") != "Replace":
            return
        for ref in list(self._active):
            try:
                job = await self._c.client.get(JOBS, ref["name"], ref["namespace"])
            except ApiError as error:
                self._tell("Warning", "FailedGet", f"Get job: {error}")
                raise
            if not await self._delete(job):
                raise TryAgain(f"could not replace job {ref['namespace']}/{ref['name']}")

    async def _start(self, scheduled_s: float) -> None:
        wanted = rules.new_job(self._cj, scheduled_s)
        namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        try:
            job = await self._c.client.create(JOBS, wanted, namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                if not is_terminating_namespace(error):
                    self._tell("Warning", "FailedCreate", f"Error creating job: {error}")
                raise
            present = await self._c.live_job(namespace, name)
            ref = controller_of(present) if present is not None else None
            if present is None or ref is None or ref["uid"] != self._cj["metadata"]["uid"]:
                return
            job = present
        else:
            self._tell("Normal", "SuccessfulCreate", f"Created job {name}")
        self._active.append(reference(job, "batch/v1", "Job"))
        self._status["lastScheduleTime"] = timestamp(scheduled_s)

    async def _delete(self, job: Obj) -> bool:
        """False when it could not be deleted, which its cron job's events tell: that does not keep the status from
        being written."""
        meta = job["metadata"]
        try:
            # Its pods go with it; the API's own default for jobs would orphan them.
            options = {"propagationPolicy": "Background"}
            await self._c.client.delete(JOBS, meta["name"], meta["namespace"], options)
        except ApiError as error:
            self._tell("Warning", "FailedDelete", f"Deleted job: {error}")
            return False
        self._deactivate(meta["uid"])
        self._tell("Normal", "SuccessfulDelete", f"Deleted job {meta['name']}")
        return True

    # -- status -----------------------------------------------------------------------------------------

    async def _write(self) -> None:
        status = {k: v for k, v in self._status.items() if k != "active"}
        if self._active:
            status["active"] = self._active
        if status != (self._cj.get("status") or {}):
            await self._c.client.update(CRON_JOBS, {**self._cj, "status": status}, subresource="status")

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self._c.recorder.event(self._cj, kind, reason, message)


class _Rescheduled:
    """Hears of cron jobs whose schedule was changed."""

    def __init__(self, controller: CronJobController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        """It is looked at anyway."""

    def on_update(self, old: Obj, new: Obj) -> None:
        if _is_rescheduled(old, new):
            self._controller.rescheduled(new)

    def on_delete(self, obj: Obj) -> None:
        """Its jobs go with it."""


def _is_rescheduled(old: Obj, new: Obj) -> bool:
    return any(old["spec"].get(name) != new["spec"].get(name) for name in ("schedule", "timeZone"))


def _typed(cj: Obj) -> Obj:
    return {**cj, "apiVersion": CRON_JOBS.group_version, "kind": CRON_JOBS.kind}
