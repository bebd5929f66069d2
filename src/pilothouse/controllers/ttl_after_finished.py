"""TTL-after-finished controller: finished jobs go after spec.ttlSecondsAfterFinished
(k8s.io/kubernetes/pkg/controller/ttlafterfinished,
https://kubernetes.io/docs/concepts/workloads/controllers/ttlafterfinished/)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import JOBS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller
from pilothouse.controllers import job_rules
from pilothouse.controllers.pods import is_terminating
from pilothouse.kit.world import parse_timestamp


class TtlAfterFinishedController(Controller):
    name: ClassVar[str] = "ttl-after-finished-controller"
    queue_name: ClassVar[str] = "ttl_jobs_to_delete"

    def setup(self) -> None:
        self._jobs = self.watch(JOBS)

    async def reconcile(self, key: str) -> float | None:
        job = self._jobs.get(key)
        left_s = time_left_s(job, self.world.now()) if job is not None else None
        if left_s is None or left_s > 0 or job is None:
            return left_s
        meta = job["metadata"]
        try:
            # The informer may be behind: a job whose TTL was raised meanwhile must stay.
            fresh = await self.client.get(JOBS, meta["name"], meta["namespace"])
            left_s = time_left_s(fresh, self.world.now())
            if left_s is None or left_s > 0:
                return left_s
            options = {
                "propagationPolicy": "Foreground",
                "preconditions": {"uid": meta["uid"]},
            }
            await self.client.delete(JOBS, meta["name"], meta["namespace"], options)
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def time_left_s(job: Obj, now_s: float) -> float | None:
    """Seconds until a job is to go; None for one that has no TTL, is not finished, or is going."""
    ttl_s = job["spec"].get("ttlSecondsAfterFinished")
    if ttl_s is None or is_terminating(job) or not job_rules.is_finished(job):
        return None
    ends = [
        parse_timestamp(c["lastTransitionTime"])
        for c in (job.get("status") or {})["conditions"]
        if c["type"] in ("Complete", "Failed") and c["status"] == "True" and c.get("lastTransitionTime")
    ]
    return ends[0] + float(ttl_s) - now_s if ends else None
