"""Job controller: pods that run to their end, so many of them (k8s.io/kubernetes/pkg/controller/job).

    tally ─▶ does the job end? ──yes──▶ delete what runs
               │ no                        │
               ▼                           ▼
             make or delete pods ───────▶ count finished pods, in two status writes around the loss of their
                                          finalizers ─▶ Complete or Failed once nothing terminates any more

What pods add up to is decided in `job_rules`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import JOBS, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import (
    Environment,
    controller_of,
    controller_ref,
    is_terminating_namespace,
)
from pilothouse.controllers import job_rules as rules
from pilothouse.controllers.pods import is_active, is_ready, is_terminating, template_pod
from pilothouse.controllers.pods_owner import PodsOwner

_ORPHAN = "orphan pod "
"""Before the keys of pods that must lose their finalizer because their job is gone."""


@dataclass(slots=True)
class _Backoff:
    """Failures since the last success."""

    failures: int = 0
    last_s: float = 0.0


class JobController(PodsOwner):
    name: ClassVar[str] = "job-controller"
    queue_name: ClassVar[str] = "job"
    resource: ClassVar[Resource] = JOBS
    batch_s: ClassVar[float] = 1.0
    """syncJobBatchPeriod: a job of many pods is not written once for each."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._removing: dict[str, set[str]] = {}
        """By job: UIDs of pods whose finalizer was taken off and that the informer has not shown without yet."""
        self._backoffs: dict[str, _Backoff] = {}

    def setup(self) -> None:
        super().setup()
        self._owners.add_handler(_Deleted(self))

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_ORPHAN):
            await self._release_orphan(key.removeprefix(_ORPHAN))
            return None
        job = self._owners.get(key)
        if job is None:
            self._forget(key)
            return None
        if rules.managed_elsewhere(job):
            return None
        if rules.is_finished(job):
            self._backoffs.pop(key, None)
            return None
        return await _Sync(self, key, job).run()

    def _forget(self, key: str) -> None:
        self._expectations.forget(key)
        self._removing.pop(key, None)
        self._backoffs.pop(key, None)

    def expects_nothing(self, key: str) -> bool:
        return self._expectations.satisfied(key)

    def expect_creations(self, key: str, count: int) -> None:
        self._expectations.expect_creations(key, count)

    def expect_deletions(self, key: str, pods: list[Obj]) -> None:
        self._expectations.expect_deletions(key, {p["metadata"]["uid"] for p in pods})

    def removing(self, key: str) -> set[str]:
        return self._removing.setdefault(key, set())

    def backoff(self, key: str) -> _Backoff:
        return self._backoffs.get(key) or _Backoff()

    def note_outcomes(self, key: str, succeeded: list[Obj], failed: list[Obj]) -> _Backoff:
        """The back-off with newly finished pods counted in; kept only by `keep_backoff`."""
        before = self.backoff(key)
        times = rules.last_failures(succeeded, failed)
        failures = len(times) if succeeded else before.failures + len(times)
        return _Backoff(failures, times[-1] if times else before.last_s)

    def keep_backoff(self, key: str, backoff: _Backoff) -> None:
        self._backoffs[key] = backoff

    # -- finalizers -------------------------------------------------------------------------------------

    async def release(self, key: str, pods: list[Obj]) -> tuple[set[str], ApiError | None]:
        """Take the tracking finalizer off; the UIDs that have lost it, and the first failure."""
        removing = self.removing(key)
        removing.update(p["metadata"]["uid"] for p in pods)
        results = await asyncio.gather(*(self._release_one(p) for p in pods))
        released: set[str] = set()
        for pod, error in zip(pods, results, strict=True):
            uid = pod["metadata"]["uid"]
            if error is not None:
                removing.discard(uid)
            if error is None or error.code == 404:
                released.add(uid)
        return released, next((e for e in results if e is not None and e.code != 404), None)

    async def _release_one(self, pod: Obj) -> ApiError | None:
        if not rules.is_tracked(pod):
            return None
        meta = pod["metadata"]
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [rules.FINALIZER], "uid": meta["uid"]}}
        try:
            await self.client.patch(PODS, meta["name"], patch, meta["namespace"], patch_type="strategic")
        except ApiError as error:
            return error
        return None

    async def _release_orphan(self, key: str) -> None:
        """A pod whose job is gone, or that lost its owner, must not be held by the job's finalizer."""
        pod = self._pods.get(key)
        if pod is None or not self._is_orphan(pod):
            return
        error = await self._release_one(pod)
        if error is not None and error.code != 404:
            raise error

    def _is_orphan(self, pod: Obj) -> bool:
        if not rules.is_tracked(pod) or self.owner_key(pod) is not None:
            return False
        ref = controller_of(pod)
        return ref is None or ref["kind"] == JOBS.kind

    async def take(self, job: Obj) -> list[Obj]:
        """The job's pods; adopted ones get the finalizer."""
        pods = await self.claim(job)
        uid = job["metadata"]["uid"]
        out = []
        for pod in pods:
            ref = controller_of(pod)
            adopted = ref is None or ref["uid"] != uid
            out.append(await self._track(pod) if adopted and is_active(pod) else pod)
        return out

    async def _track(self, pod: Obj) -> Obj:
        meta = pod["metadata"]
        patch = {"metadata": {"finalizers": [rules.FINALIZER], "uid": meta["uid"]}}
        return await self.client.patch(PODS, meta["name"], patch, meta["namespace"], patch_type="strategic")

    # -- what the informers say -------------------------------------------------------------------------

    def pod_created(self, pod: Obj) -> None:
        super().pod_created(pod)
        self._look_after(pod)

    def pod_changed(self, old: Obj, pod: Obj) -> None:
        super().pod_changed(old, pod)
        self._look_after(pod)

    def _look_after(self, pod: Obj) -> None:
        if self._is_orphan(pod):
            self.queue.add(_ORPHAN + key_of(pod))
        elif not rules.is_tracked(pod):
            self._saw_release(pod)

    def pod_deleted(self, pod: Obj) -> None:
        super().pod_deleted(pod)
        if not is_terminating(pod) or not rules.is_tracked(pod):
            self._saw_release(pod)

    def _saw_release(self, pod: Obj) -> None:
        key = self.owner_key(pod)
        if key is not None and key in self._removing:
            self._removing[key].discard(pod["metadata"]["uid"])

    def job_deleted(self, job: Obj) -> None:
        for pod in self._pods.by_index("controller", job["metadata"]["uid"]):
            if rules.is_tracked(pod):
                self.queue.add(_ORPHAN + key_of(pod))


class _Deleted:
    """A job that goes leaves its pods' finalizers."""

    def __init__(self, controller: JobController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        """The queue has its key."""

    def on_update(self, old: Obj, new: Obj) -> None:
        """The queue has its key."""

    def on_delete(self, obj: Obj) -> None:
        self._controller.job_deleted(obj)


class _Sync:
    """One job at one moment (syncJob)."""

    def __init__(self, controller: JobController, key: str, job: Obj) -> None:
        self._c = controller
        self._key = key
        self._job = {**job, "apiVersion": "batch/v1", "kind": "Job"}
        self._stored = dict(job.get("status") or {})
        self._again_s: list[float] = []
        self._failure: ApiError | None = None

    async def run(self) -> float | None:
        c, key = self._c, self._key
        satisfied = c.expects_nothing(key)
        t = rules.tally(self._job, await c.take(self._job), c.removing(key))
        t.status.setdefault("uncountedTerminatedPods", {})
        if t.status.get("startTime") is None and not rules.is_suspended(self._job):
            t.status["startTime"] = c.world.timestamp()
        backoff = c.note_outcomes(key, t.new_succeeded, t.new_failed)
        end = rules.ending(t, c.world.now())
        active = len(t.active)
        if end is not None:
            active, whole = await self._stop(t)
            end = end if whole and satisfied else None
        else:
            active, end = await self._go_on(t, backoff, satisfied)
        t.status.update(active=active, ready=t.ready, terminating=t.terminating)
        left_s = rules.deadline_left_s(t, c.world.now())
        if left_s is not None and left_s > 0 and end is None:
            self._again_s.append(left_s)
        await self._track(t, end, backoff)
        if self._failure is not None:
            raise self._failure
        return min(self._again_s, default=None)

    # -- pods -------------------------------------------------------------------------------------------

    async def _stop(self, t: rules.Tally) -> tuple[int, bool]:
        """Delete what runs; how many are left, and whether none is."""
        results = await asyncio.gather(*(self._c.delete_pod(self._key, self._job, p) for p in t.active))
        deleted = sum(1 for error in results if error is None)
        t.ready -= sum(1 for p in t.active if is_ready(p))
        t.terminating += deleted
        self._failure = next((e for e in results if e is not None), None)
        return len(t.active) - deleted, deleted == len(t.active)

    async def _go_on(
        self, t: rules.Tally, backoff: _Backoff, satisfied: bool
    ) -> tuple[int, rules.End | None]:
        """Make or delete pods, and say whether the job is suspended; how many run then, and the end."""
        active, managed = len(t.active), satisfied and not is_terminating(self._job)
        if managed:
            active = await self._manage(t, backoff)
        if rules.is_complete(t, active):
            return active, rules.COMPLETED
        if managed:
            self._note_suspension(t)
        return active, None

    async def _manage(self, t: rules.Tally, backoff: _Backoff) -> int:
        wanted = rules.change(t)
        if wanted.delete:
            return await self._remove(t, wanted.delete)
        if wanted.create:
            return await self._make(t, wanted.create, backoff)
        return len(t.active)

    async def _remove(self, t: rules.Tally, pods: list[Obj]) -> int:
        """Pods that are one too many count for nothing: they lose their finalizer before they go."""
        self._c.expect_deletions(self._key, pods)
        released, error = await self._c.release(self._key, pods)
        going = [p for p in pods if p["metadata"]["uid"] in released]
        results = await asyncio.gather(*(self._c.delete_pod(self._key, self._job, p) for p in going))
        deleted = sum(1 for e in results if e is None)
        t.terminating += deleted
        t.ready -= sum(1 for p in going if is_ready(p))
        self._failure = error or next((e for e in results if e is not None), None)
        return len(t.active) - deleted

    async def _make(self, t: rules.Tally, wanted: int, backoff: _Backoff) -> int:
        now_s = self._c.world.now()
        if not rules.per_index(self._job):
            left_s = rules.backoff_left_s(backoff.failures, backoff.last_s, now_s)
            if left_s > 0:
                self._again_s.append(left_s)
                return 0
        slots: list[int | None] = [None] * wanted
        if rules.is_indexed(self._job):
            indexes = rules.pending_indexes(t, wanted)
            waits = {i: rules.index_backoff_s(t.held.get(i), now_s) for i in indexes}
            slots = [i for i in indexes if waits[i] <= 0]
            if waits and len(slots) < len(waits):
                self._again_s.append(min(w for w in waits.values() if w > 0))
            if not slots:
                return 0 if waits else len(t.active)
        return await self._create(t, slots)

    async def _create(self, t: rules.Tally, slots: list[int | None]) -> int:
        job, name = self._job, self._job["metadata"]["name"]
        template = rules.pod_template(job)
        made = 0

        async def create(index: int | None) -> ApiError | None:
            nonlocal made
            own = (
                template if index is None else rules.indexed_template(job, template, index, t.held.get(index))
            )
            pod = template_pod(own, controller_ref(job, JOBS), name, job)
            if index is not None:
                pod["metadata"]["generateName"] = rules.indexed_prefix(name, index)
            error = await self._c.create_pod(job, pod)
            made += error is None
            return error

        self._c.expect_creations(self._key, len(slots))
        failure = await self._c.create_slowly(self._key, slots, create)
        if failure is not None and not is_terminating_namespace(failure):
            self._failure = failure
        return len(t.active) + made

    # -- status -----------------------------------------------------------------------------------------

    def _note_suspension(self, t: rules.Tally) -> None:
        now = self._c.world.timestamp()
        if rules.is_suspended(self._job):
            new = rules.make_condition("Suspended", "True", "JobSuspended", "Job suspended", now)
        else:
            new = rules.make_condition("Suspended", "False", "JobResumed", "Job resumed", now)
        before = t.status.get("conditions") or []
        t.status["conditions"] = rules.with_condition(before, new)
        if t.status["conditions"] is before:
            return
        suspended = new["status"] == "True"
        self._tell("Normal", "Suspended" if suspended else "Resumed", new["message"])
        if suspended:
            # As upstream's validation wants it: a suspended job has no start.
            t.status.pop("startTime", None)
        else:
            t.status["startTime"] = now

    async def _track(self, t: rules.Tally, end: rules.End | None, backoff: _Backoff) -> None:
        """Count finished pods and end the job (trackJobStatusAndRemoveFinalizers)."""
        c, now = self._c, self._c.world.timestamp()
        tracked = {p["metadata"]["uid"] for p in t.pods if t.pending_count(p)}
        t.status = rules.settle(t.status, tracked)
        counted = rules.count(t, end)
        if end is not None and rules.condition(t.status, end.kind) is None:
            interim = rules.make_condition(end.kind, "True", end.reason, end.message, now)
            t.status["conditions"] = [*(t.status.get("conditions") or []), interim]
        await self._flush(t.status)
        c.keep_backoff(self._key, backoff)
        released, error = await c.release(self._key, counted.release)
        status = rules.settle(self._with_stored(t.status), tracked - released)
        finished = None if counted.full or error else self._finish(status, end, t.terminating, now)
        await self._flush(finished or status)
        if finished is not None and end is not None:
            self._tell_end(finished, end)
        if error is not None:
            raise error

    def _with_stored(self, status: Obj) -> Obj:
        """The status as the API server has it now."""
        return {**status, **self._stored}

    async def _flush(self, status: Obj) -> None:
        if rules.significant(status) == rules.significant(self._stored):
            return
        self._job = await self._c.client.update(JOBS, {**self._job, "status": status}, subresource="status")
        self._job = {**self._job, "apiVersion": "batch/v1", "kind": "Job"}
        self._stored = dict(self._job.get("status") or {})

    def _finish(self, status: Obj, end: rules.End | None, terminating: int, now: str) -> Obj | None:
        """The status with its last condition; None while pods are uncounted or terminate."""
        if end is None or status.get("uncountedTerminatedPods") or terminating > 0:
            return None
        last = rules.make_condition(end.final, "True", end.reason, end.message, now)
        out = {**status, "conditions": rules.with_condition(status.get("conditions") or [], last)}
        if end.final == "Complete":
            out["completionTime"] = now
        return out

    def _tell_end(self, status: Obj, end: rules.End) -> None:
        if end.final == "Failed":
            self._tell("Warning", end.reason, end.message)
            return
        completions = self._job["spec"].get("completions")
        if completions is not None and status.get("succeeded", 0) > completions:
            message = "Too many succeeded pods running after completion count reached"
            self._tell("Warning", "TooManySucceededPods", message)
        self._tell("Normal", "Completed", "Job completed")

    def _tell(self, kind: str, reason: str, message: str) -> None:
        self._c.recorder.event(self._c.reference(self._job), kind, reason, message)
