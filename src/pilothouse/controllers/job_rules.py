"""What a job's pods add up to, and what to do next. Pure functions: they read objects and decide.

Rules: k8s.io/kubernetes/pkg/controller/job and https://kubernetes.io/docs/concepts/workloads/controllers/job/.

A pod counts once (KEP-2307). It carries a finalizer until it is counted, and its count goes two ways:

    finished, with finalizer ─▶ its UID in status.uncountedTerminatedPods ─▶ finalizer taken off ─▶ counter raised
    (with an index: succeeded pods go into status.completedIndexes at once, which cannot count twice)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pilothouse.api.types import Obj
from pilothouse.controllers import job_indexes, job_policies
from pilothouse.controllers.pods import deletion_order, is_active, is_ready, is_terminal, is_terminating
from pilothouse.kit.world import parse_timestamp

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX_LABEL = job_indexes.ANNOTATION
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"
_INDEX_VARIABLE = "JOB_COMPLETION_INDEX"

POD_BURST = 500
"""The most pods made or deleted in one go (MaxPodCreateDeletePerSync)."""
UNCOUNTED_MAX = 500
BACKOFF_S = 10.0
BACKOFF_S_MAX = 600.0
_NAME_MAX = 63
_SUFFIX_LENGTH = 5


# -- the job ------------------------------------------------------------------------------------------------


def condition(status: Obj, kind: str) -> Obj | None:
    return next((c for c in status.get("conditions") or () if c["type"] == kind), None)


def is_true(status: Obj, kind: str) -> bool:
    found = condition(status, kind)
    return found is not None and found["status"] == "True"


def is_finished(job: Obj) -> bool:
    status = job.get("status") or {}
    return is_true(status, "Complete") or is_true(status, "Failed")


def is_indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def is_suspended(job: Obj) -> bool:
    return bool(job["spec"].get("suspend"))


def per_index(job: Obj) -> bool:
    return job["spec"].get("backoffLimitPerIndex") is not None


def waits_for_the_end(job: Obj) -> bool:
    """Pods are replaced only when they have failed, not while they terminate (KEP-3939)."""
    spec = job["spec"]
    return spec.get("podReplacementPolicy") == "Failed" or spec.get("podFailurePolicy") is not None


def managed_elsewhere(job: Obj) -> bool:
    """KEP-4368: spec.managedBy names another controller."""
    return job["spec"].get("managedBy") not in (None, "kubernetes.io/job-controller")


def make_condition(kind: str, status: str, reason: str, message: str, now: str) -> Obj:
    return {
        "type": kind,
        "status": status,
        "lastProbeTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def with_condition(conditions: list[Obj], new: Obj) -> list[Obj]:
    """Conditions with `new` in its place; themselves when it says nothing new. A first False says nothing."""
    old = condition({"conditions": conditions}, new["type"])
    if old is None:
        return conditions if new["status"] == "False" else [*conditions, new]
    if all(old.get(name) == new[name] for name in ("status", "reason", "message")):
        return conditions
    return [new if c is old else c for c in conditions]


# -- its pods -----------------------------------------------------------------------------------------------


def is_tracked(pod: Obj) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


def has_failed(pod: Obj, job: Obj) -> bool:
    """A deleted pod counts as failed: it may never get the chance to say so."""
    if phase(pod) == "Failed":
        return True
    return not waits_for_the_end(job) and is_terminating(pod) and phase(pod) != "Succeeded"


def finished_s(pod: Obj) -> float:
    """When a pod ended: its last container's end, else its Ready condition's change, else its deletion
    (getFinishedTime)."""
    status = pod.get("status") or {}
    ends = [
        ended["finishedAt"]
        for c in status.get("containerStatuses") or ()
        if (ended := (c.get("state") or {}).get("terminated")) and ended.get("finishedAt")
    ]
    if ends and len(ends) == len(status.get("containerStatuses") or ()):
        return max(parse_timestamp(end) for end in ends)
    ready = condition(status, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return parse_timestamp(ready["lastTransitionTime"])
    meta = pod["metadata"]
    return parse_timestamp(meta.get("deletionTimestamp") or meta["creationTimestamp"])


@dataclass(slots=True)
class Tally:
    """A job's pods at one moment. `status` is being written: it starts as the stored one."""

    job: Obj
    pods: list[Obj]
    removing: set[str]
    """UIDs whose finalizer was taken off already, though the informer may still show it."""
    status: Obj
    active: list[Obj] = field(default_factory=list)
    ready: int = 0
    terminating: int = 0
    succeeded: int = 0
    failed: int = 0
    new_succeeded: list[Obj] = field(default_factory=list)
    new_failed: list[Obj] = field(default_factory=list)
    before_indexes: set[int] = field(default_factory=set)
    done_indexes: set[int] = field(default_factory=set)
    failed_indexes: set[int] | None = None
    held: dict[int, Obj] = field(default_factory=dict)
    """By index the failed pod whose finalizer stays until its replacement has taken over its failure count."""

    def pending_count(self, pod: Obj) -> bool:
        """With a finalizer that nobody has taken off."""
        return is_tracked(pod) and pod["metadata"]["uid"] not in self.removing


def tally(job: Obj, pods: list[Obj], removing: set[str]) -> Tally:
    status = dict(job.get("status") or {})
    uncounted = status.get("uncountedTerminatedPods") or {}
    t = Tally(job, pods, removing, status)
    t.active = [p for p in pods if is_active(p)]
    t.ready = sum(1 for p in t.active if is_ready(p))
    t.terminating = sum(1 for p in pods if is_terminating(p) and not is_terminal(p))
    known_ok, known_bad = set(uncounted.get("succeeded") or ()), set(uncounted.get("failed") or ())
    valid = [p for p in pods if t.pending_count(p) and _has_valid_index(job, p)]
    t.new_succeeded = [p for p in valid if phase(p) == "Succeeded" and p["metadata"]["uid"] not in known_ok]
    t.new_failed = [p for p in valid if has_failed(p, job) and p["metadata"]["uid"] not in known_bad]
    policy = job["spec"].get("podFailurePolicy")
    t.succeeded = status.get("succeeded", 0) + len(t.new_succeeded) + len(known_ok)
    counted = sum(1 for p in t.new_failed if job_policies.failure(policy, p).counts)
    t.failed = status.get("failed", 0) + counted + len(known_bad)
    if is_indexed(job):
        _tally_indexes(t)
    return t


def _has_valid_index(job: Obj, pod: Obj) -> bool:
    return not is_indexed(job) or 0 <= job_indexes.of_pod(pod) < job["spec"]["completions"]


def _tally_indexes(t: Tally) -> None:
    completions = t.job["spec"]["completions"]
    t.before_indexes = job_indexes.parse(t.status.get("completedIndexes", ""), completions)
    tracked = [p for p in t.pods if is_tracked(p) and _has_valid_index(t.job, p)]
    t.done_indexes = t.before_indexes | job_indexes.of_pods(p for p in tracked if phase(p) == "Succeeded")
    t.succeeded = len(t.done_indexes)
    if not per_index(t.job):
        return
    failed = job_indexes.parse(t.status.get("failedIndexes") or "", completions)
    t.failed_indexes = failed | job_indexes.of_pods(p for p in tracked if _fails_index(t.job, p))
    _hold(t, tracked)


def _fails_index(job: Obj, pod: Obj) -> bool:
    if not has_failed(pod, job):
        return False
    verdict = job_policies.failure(job["spec"].get("podFailurePolicy"), pod)
    if verdict.action == "FailIndex":
        return True
    return verdict.counts and _annotated(pod, FAILURE_COUNT) >= job["spec"]["backoffLimitPerIndex"]


def _hold(t: Tally, tracked: list[Obj]) -> None:
    settled = t.done_indexes | (t.failed_indexes or set()) | job_indexes.of_pods(t.active)
    for pod in tracked:
        index = job_indexes.of_pod(pod)
        if not t.pending_count(pod) or not has_failed(pod, t.job) or index in settled:
            continue
        other = t.held.get(index)
        if other is None or (_failures(other), finished_s(other)) <= (_failures(pod), finished_s(pod)):
            t.held[index] = pod


def _failures(pod: Obj) -> int:
    return _annotated(pod, FAILURE_COUNT) + _annotated(pod, IGNORED_FAILURE_COUNT)


def _annotated(pod: Obj, name: str) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(name, "0")
    return int(text) if text.isdigit() else 0


# -- the end ------------------------------------------------------------------------------------------------

LIMIT_REACHED = "Job has reached the specified backoff limit"
DEADLINE_PASSED = "Job was active longer than specified deadline"


class End(NamedTuple):
    """How a job ends: `kind` is the interim condition, FailureTarget or SuccessCriteriaMet."""

    kind: str
    reason: str
    message: str

    @property
    def final(self) -> str:
        return "Failed" if self.kind == "FailureTarget" else "Complete"


COMPLETED = End("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")


def ending(t: Tally, now_s: float) -> End | None:
    """Why the job ends now, completions apart; what was decided before stays decided."""
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        decided = condition(t.status, kind)
        if decided is not None and decided["status"] == "True":
            return End(kind, decided.get("reason", ""), decided.get("message", ""))
    spec = t.job["spec"]
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        message = job_policies.failed_ones(policy, (p for p in t.pods if has_failed(p, t.job)))
        if message:
            return End("FailureTarget", "PodFailurePolicy", message)
    if t.failed > spec["backoffLimit"] or _restarts_too_often(t):
        return End("FailureTarget", "BackoffLimitExceeded", LIMIT_REACHED)
    left_s = deadline_left_s(t, now_s)
    if left_s is not None and left_s <= 0:
        return End("FailureTarget", "DeadlineExceeded", DEADLINE_PASSED)
    return _ending_by_index(t) if is_indexed(t.job) else None


def _ending_by_index(t: Tally) -> End | None:
    spec = t.job["spec"]
    if t.failed_indexes is not None:
        failed, most = len(t.failed_indexes), spec.get("maxFailedIndexes")
        if most is not None and failed > most:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return End("FailureTarget", "MaxFailedIndexesExceeded", message)
        if failed and failed + len(t.done_indexes) >= spec["completions"]:
            return End("FailureTarget", "FailedIndexes", "Job has failed indexes")
    matched = job_policies.success(spec.get("successPolicy"), spec["completions"], t.done_indexes)
    return End("SuccessCriteriaMet", "SuccessPolicy", matched) if matched is not None else None


def _restarts_too_often(t: Tally) -> bool:
    """With restartPolicy OnFailure the kubelet's restarts count against the limit."""
    spec = t.job["spec"]
    if (spec["template"].get("spec") or {}).get("restartPolicy") != "OnFailure":
        return False
    restarts = sum(
        c.get("restartCount", 0)
        for p in t.pods
        if phase(p) in ("Running", "Pending")
        for name in ("initContainerStatuses", "containerStatuses")
        for c in (p.get("status") or {}).get(name) or ()
    )
    limit: int = spec["backoffLimit"]
    return restarts > 0 if limit == 0 else bool(restarts >= limit)


def deadline_left_s(t: Tally, now_s: float) -> float | None:
    """Seconds until activeDeadlineSeconds are over; None when no deadline runs."""
    limit = t.job["spec"].get("activeDeadlineSeconds")
    started = t.status.get("startTime")
    if limit is None or started is None or is_suspended(t.job):
        return None
    return parse_timestamp(started) + float(limit) - now_s


def is_complete(t: Tally, active: int) -> bool:
    """Without completions one success is enough, once nobody works any more."""
    completions = t.job["spec"].get("completions")
    return active == 0 and (t.succeeded > 0 if completions is None else t.succeeded >= completions)


# -- pods to make and to delete -----------------------------------------------------------------------------


class Change(NamedTuple):
    """Either deletions or creations, never both in one step."""

    delete: list[Obj]
    create: int


def change(t: Tally) -> Change:
    if is_suspended(t.job):
        return Change(surplus(t.job, t.active, len(t.active)), 0)
    wanted = _wanted(t)
    delete = surplus(t.job, t.active, max(len(t.active) - wanted, 0))[:POD_BURST]
    if delete:
        return Change(delete, 0)
    going = t.terminating if waits_for_the_end(t.job) else 0
    return Change([], min(max(wanted - going - len(t.active), 0), POD_BURST))


def _wanted(t: Tally) -> int:
    spec = t.job["spec"]
    parallelism: int = spec["parallelism"]
    completions: int | None = spec.get("completions")
    if completions is None:
        return len(t.active) if t.succeeded > 0 else parallelism
    return max(min(completions - t.succeeded, parallelism), 0)


def surplus(job: Obj, active: list[Obj], least: int) -> list[Obj]:
    """Active pods to remove: those with a double, bad or missing index, and then as many as it takes."""
    remove: list[Obj] = []
    left = active
    if is_indexed(job):
        remove, left = _doubles(active, job["spec"]["completions"])
    if len(remove) < least:
        remove = remove + sorted(left, key=deletion_order)[: least - len(remove)]
    return remove


def _doubles(pods: list[Obj], completions: int) -> tuple[list[Obj], list[Obj]]:
    remove: list[Obj] = []
    by_index: dict[int, list[Obj]] = {}
    for pod in pods:
        index = job_indexes.of_pod(pod)
        if 0 <= index < completions:
            by_index.setdefault(index, []).append(pod)
        else:
            remove.append(pod)
    left = []
    for index in sorted(by_index):
        ranked = sorted(by_index[index], key=deletion_order)
        remove += ranked[:-1]
        left.append(ranked[-1])
    return remove, left


def pending_indexes(t: Tally, count: int) -> list[int]:
    """The lowest indexes that have neither a pod nor an outcome."""
    taken = t.done_indexes | (t.failed_indexes or set()) | job_indexes.of_pods(t.active)
    if waits_for_the_end(t.job):
        taken |= job_indexes.of_pods(p for p in t.pods if is_terminating(p) and not is_terminal(p))
    found: list[int] = []
    for index in range(t.job["spec"]["completions"]):
        if len(found) == count:
            break
        if index not in taken:
            found.append(index)
    return found


def index_backoff_s(held: Obj | None, now_s: float) -> float:
    """How long an index waits for its next pod (getRemainingTimePerIndex)."""
    if held is None:
        return 0.0
    return backoff_left_s(_failures(held) + 1, finished_s(held), now_s)


def backoff_left_s(failures: int, last_failure_s: float, now_s: float) -> float:
    """10 s doubled with every failure, ten minutes at most, from the last one on."""
    if failures <= 0:
        return 0.0
    delay_s = min(BACKOFF_S * 2.0 ** min(failures - 1, 63), BACKOFF_S_MAX)
    return max(last_failure_s + delay_s - now_s, 0.0)


def pod_template(job: Obj) -> Obj:
    """The template with the tracking finalizer, and for indexed jobs the index in every container's environment."""
    template = job["spec"]["template"]
    meta, spec = template.get("metadata") or {}, template.get("spec") or {}
    finalizers = meta.get("finalizers") or []
    if FINALIZER not in finalizers:
        meta = {**meta, "finalizers": [*finalizers, FINALIZER]}
    if is_indexed(job):
        lists = ("initContainers", "containers")
        spec = {**spec, **{name: [_with_index(c) for c in spec[name]] for name in lists if name in spec}}
    return {**template, "metadata": meta, "spec": spec}


def _with_index(container: Obj) -> Obj:
    env = container.get("env") or []
    if any(v["name"] == _INDEX_VARIABLE for v in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX_LABEL}']"}}
    return {**container, "env": [*env, {"name": _INDEX_VARIABLE, "valueFrom": source}]}


def indexed_template(job: Obj, template: Obj, index: int, replaced: Obj | None) -> Obj:
    """The template of one index's pod; `replaced` is the failed pod whose count goes on."""
    meta = template["metadata"]
    annotations = {**(meta.get("annotations") or {}), job_indexes.ANNOTATION: str(index)}
    if per_index(job):
        annotations |= _failure_counts(job, replaced)
    labels = {**(meta.get("labels") or {}), INDEX_LABEL: str(index)}
    spec = {**template["spec"], "hostname": f"{job['metadata']['name']}-{index}"}
    return {**template, "metadata": {**meta, "annotations": annotations, "labels": labels}, "spec": spec}


def _failure_counts(job: Obj, replaced: Obj | None) -> dict[str, str]:
    if replaced is None:
        return {FAILURE_COUNT: "0"}
    counts = job_policies.failure(job["spec"].get("podFailurePolicy"), replaced).counts
    found = {FAILURE_COUNT: str(_annotated(replaced, FAILURE_COUNT) + counts)}
    ignored = _annotated(replaced, IGNORED_FAILURE_COUNT) + (not counts)
    return {**found, IGNORED_FAILURE_COUNT: str(ignored)} if ignored else found


def indexed_prefix(name: str, index: int) -> str:
    """The generateName of an index's pod, cut so that the suffix fits (podGenerateNameWithIndex)."""
    tail = f"-{index}-"
    return name[: _NAME_MAX - _SUFFIX_LENGTH - len(tail)] + tail


# -- counting -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Count:
    """One round of counting: the pods that lose their finalizer, and whether all were looked at."""

    release: list[Obj] = field(default_factory=list)
    full: bool = False


def count(t: Tally, end: End | None) -> Count:
    """Note newly finished pods in the status (trackJobStatusAndRemoveFinalizers, its first half)."""
    spec = t.job["spec"]
    uncounted = t.status.get("uncountedTerminatedPods") or {}
    ok, bad = list(uncounted.get("succeeded") or ()), list(uncounted.get("failed") or ())
    indexes: set[int] = set()
    out = Count()
    ordered = sorted(t.pods, key=job_indexes.of_pod) if is_indexed(t.job) else t.pods
    for pod in ordered:
        if not t.pending_count(pod) or not _may_release(t, pod, end):
            continue
        out.release.append(pod)
        uid = pod["metadata"]["uid"]
        if phase(pod) == "Succeeded" and uid not in bad:
            if not is_indexed(t.job):
                ok += [uid] if uid not in ok else []
            elif _has_valid_index(t.job, pod):
                indexes.add(job_indexes.of_pod(pod))
        elif has_failed(pod, t.job) or (end is not None and end.final == "Failed"):
            verdict = job_policies.failure(spec.get("podFailurePolicy"), pod)
            if uid not in bad and verdict.counts and _has_valid_index(t.job, pod):
                bad.append(uid)
        if len(indexes - t.before_indexes) + len(ok) + len(bad) >= UNCOUNTED_MAX:
            out.full = True
            break
    t.status["uncountedTerminatedPods"] = _uncounted(ok, bad)
    if is_indexed(t.job):
        t.done_indexes = t.before_indexes | indexes
        t.status["succeeded"] = len(t.done_indexes)
        t.status["completedIndexes"] = job_indexes.render(t.done_indexes)
        if t.failed_indexes is not None:
            t.status["failedIndexes"] = job_indexes.render(t.failed_indexes)
    return out


def _may_release(t: Tally, pod: Obj, end: End | None) -> bool:
    if end is not None or is_terminating(t.job) or phase(pod) == "Succeeded":
        return True
    if not has_failed(pod, t.job):
        return False
    held = t.held.get(job_indexes.of_pod(pod))
    return held is None or held["metadata"]["uid"] != pod["metadata"]["uid"]


def _uncounted(succeeded: list[str], failed: list[str]) -> dict[str, list[str]]:
    return {k: v for k, v in (("succeeded", succeeded), ("failed", failed)) if v}


def settle(status: Obj, tracked: set[str]) -> Obj:
    """A status in which pods that have lost their finalizer are counted for good; itself when there are none
    (cleanUncountedPodsWithoutFinalizers). `tracked` are the UIDs that still have one."""
    uncounted = status.get("uncountedTerminatedPods") or {}
    out = dict(status)
    left: dict[str, list[str]] = {}
    for name in ("succeeded", "failed"):
        waiting = uncounted.get(name) or []
        left[name] = [uid for uid in waiting if uid in tracked]
        out[name] = out.get(name, 0) + len(waiting) - len(left[name])
    if all(len(left[name]) == len(uncounted.get(name) or []) for name in left):
        return status
    out["uncountedTerminatedPods"] = _uncounted(left["succeeded"], left["failed"])
    return out


def last_failures(succeeded: Iterable[Obj], failed: Iterable[Obj]) -> list[float]:
    """When pods failed since the last success, in order."""
    last_ok = max((finished_s(p) for p in succeeded), default=None)
    times = sorted(finished_s(p) for p in failed)
    return [t for t in times if last_ok is None or t > last_ok]


def significant(status: Obj) -> dict[str, Any]:
    """What makes two statuses differ: an absent number is a zero, but `ready` and `terminating` show theirs."""
    shown = ("ready", "terminating", "uncountedTerminatedPods", "failedIndexes")
    return {k: v for k, v in status.items() if v or k in shown}
