"""What a deployment's numbers and conditions must be. Pure functions: they read objects and decide.

Rules: k8s.io/kubernetes/pkg/controller/deployment and its util package, and
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition
from pilothouse.kit.world import SUFFIX_ALPHABET, parse_timestamp

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
ROLLBACK_TO = "deprecated.deployment.rollback.to"
HASH_LABEL = "pod-template-hash"

_NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        ROLLBACK_TO,
    )
)
_HISTORY_LENGTH_MAX = 2000
NO_DEADLINE = 2**31 - 1
UNLIMITED = 2**31 - 1
"""A history limit that is none."""
_INTEGER = re.compile(r"[+-]?[0-9]+")


def resolve(value: Any, total: int, *, up: bool) -> int:
    """An absolute number or a percentage of `total`, rounded up or down (intstr.GetScaledValueFromIntOrPercent)."""
    if isinstance(value, str):
        share = total * int(value.rstrip("%")) / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value or 0)


def replicas(obj: Obj) -> int:
    found: int = obj["spec"].get("replicas", 1)
    return found


def is_rolling(d: Obj) -> bool:
    return bool((d["spec"].get("strategy") or {}).get("type") == "RollingUpdate")


def fence(d: Obj) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as numbers; never both 0, or nothing could move (ResolveFenceposts)."""
    rolling = (d["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    surge = resolve(rolling.get("maxSurge"), replicas(d), up=True)
    unavailable = resolve(rolling.get("maxUnavailable"), replicas(d), up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, unavailable


def max_surge(d: Obj) -> int:
    return fence(d)[0] if is_rolling(d) else 0


def max_unavailable(d: Obj) -> int:
    if not is_rolling(d) or replicas(d) == 0:
        return 0
    return min(fence(d)[1], replicas(d))


def template_hash(template: Obj, collisions: int) -> str:
    """A short, pronounceable-word-free digest of a pod template (FNV-1a 32, as upstream; the bytes hashed are
    the template's JSON, so the value differs from upstream's Go dump)."""
    digest = 2166136261
    for byte in msgspec.json.encode(template, order="deterministic") + str(collisions or "").encode():
        digest = ((digest ^ byte) * 16777619) & 0xFFFFFFFF
    return "".join(SUFFIX_ALPHABET[ord(c) % len(SUFFIX_ALPHABET)] for c in str(digest))


def same_template(a: Obj, b: Obj) -> bool:
    """Equal but for the hash label (EqualIgnoreHash)."""
    return _without_hash(a) == _without_hash(b)


def _without_hash(template: Obj) -> Obj:
    meta = template.get("metadata") or {}
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": {**meta, "labels": labels}}


def find_new(d: Obj, sets: Iterable[Obj]) -> Obj | None:
    """The oldest replica set with the deployment's template."""
    for rs in sorted(sets, key=by_age):
        if same_template(rs["spec"]["template"], d["spec"]["template"]):
            return rs
    return None


def by_age(rs: Obj) -> tuple[str, str]:
    return rs["metadata"].get("creationTimestamp", ""), rs["metadata"]["name"]


def active(sets: Iterable[Obj]) -> list[Obj]:
    return [rs for rs in sets if replicas(rs) > 0]


def total(sets: Iterable[Obj]) -> int:
    return sum(replicas(rs) for rs in sets)


def status_sum(sets: Iterable[Obj], field: str) -> int:
    return sum((rs.get("status") or {}).get(field, 0) for rs in sets)


def terminating(sets: Iterable[Obj]) -> int | None:
    """How many pods are on their way out; None when a set that was looked at does not say
    (GetTerminatingReplicaCountForReplicaSets)."""
    statuses = [rs.get("status") or {} for rs in sets]
    counts = [s.get("terminatingReplicas") for s in statuses if s.get("observedGeneration")]
    return None if None in counts else sum(c for c in counts if c is not None)


def annotation(obj: Obj, name: str) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(name, ""))


def _integer(text: str) -> int:
    return int(text) if _INTEGER.fullmatch(text) else 0


def revision(obj: Obj) -> int:
    return _integer(annotation(obj, REVISION))


def last_revision(sets: Iterable[Obj]) -> int:
    """The second highest revision; 0 when there are fewer than two (LastRevision)."""
    found = sorted({revision(rs) for rs in sets}, reverse=True)
    return found[1] if len(found) > 1 else 0


def rollback_to(d: Obj) -> int | None:
    """The revision that the deprecated annotation asks for, 0 for the last one; None when it asks for none."""
    text = annotation(d, ROLLBACK_TO)
    return int(text) if _INTEGER.fullmatch(text) else None


def rolled_back(d: Obj, rs: Obj) -> Obj:
    """The deployment with a set's template and the annotations of that time (rollbackToTemplate)."""
    own = {k: v for k, v in (d["metadata"].get("annotations") or {}).items() if k in _NOT_COPIED}
    then = {k: v for k, v in (rs["metadata"].get("annotations") or {}).items() if k not in _NOT_COPIED}
    template = _without_hash(rs["spec"]["template"])
    return {
        **d,
        "metadata": {**d["metadata"], "annotations": {**own, **then}},
        "spec": {**d["spec"], "template": template},
    }


def is_scaling(d: Obj, sets: Iterable[Obj]) -> bool:
    """The deployment was resized since its sets were: scale before rolling on."""
    for rs in active(sets):
        desired = annotation(rs, DESIRED_REPLICAS)
        if _INTEGER.fullmatch(desired) and int(desired) != replicas(d):
            return True
    return False


def replica_annotations(d: Obj) -> dict[str, str]:
    return {DESIRED_REPLICAS: str(replicas(d)), MAX_REPLICAS: str(replicas(d) + max_surge(d))}


def new_annotations(d: Obj, current: dict[str, str], new_revision: int, *, exists: bool) -> dict[str, str]:
    """The annotations that the new replica set must have (SetNewReplicaSetAnnotations)."""
    wanted = dict(current)
    for key, value in (d["metadata"].get("annotations") or {}).items():
        if key not in _NOT_COPIED:
            wanted[key] = value
    old_text = wanted.get(REVISION, "")
    if old_text and not _INTEGER.fullmatch(old_text):
        return current
    if _integer(old_text) < new_revision:
        wanted[REVISION] = str(new_revision)
        if old_text:
            history = [h for h in wanted.get(REVISION_HISTORY, "").split(",") if h]
            history.append(old_text)
            while len(",".join(history)) > _HISTORY_LENGTH_MAX:
                history.pop(0)
            wanted[REVISION_HISTORY] = ",".join(history)
    if not exists:
        wanted.update(replica_annotations(d))
    return wanted


def new_set_size(d: Obj, sets: list[Obj], new: Obj | None) -> int:
    """How large the new set may be now (NewRSNewReplicas)."""
    current = replicas(new) if new is not None else 0
    if not is_rolling(d):
        return replicas(d)
    room = replicas(d) + max_surge(d) - total(sets)
    if room <= 0:
        return current
    return current + min(room, replicas(d) - current)


def fraction(rs: Obj, d: Obj) -> int:
    """How much a set grows or shrinks when the deployment is resized proportionally."""
    if replicas(d) == 0:
        return -replicas(rs)
    before = _integer(annotation(rs, MAX_REPLICAS)) or (d.get("status") or {}).get("replicas", 0)
    if not before:
        return 0
    size = replicas(rs) * (replicas(d) + max_surge(d)) / before
    return math.floor(size + 0.5) - replicas(rs)


def proportional(d: Obj, sets: list[Obj]) -> dict[str, int]:
    """The size of each active set after a resize in the middle of a rollout, by name."""
    allowed = replicas(d) + max_surge(d) if replicas(d) > 0 else 0
    to_add = allowed - total(sets)
    newest_first = sorted(sets, key=by_age, reverse=to_add >= 0)
    ordered = sorted(newest_first, key=replicas, reverse=True)
    sizes: dict[str, int] = {}
    added = 0
    for rs in ordered:
        share = 0
        if replicas(rs) and to_add not in (0, added):
            left = to_add - added
            share = min(fraction(rs, d), left) if to_add > 0 else max(fraction(rs, d), left)
        sizes[rs["metadata"]["name"]] = replicas(rs) + share
        added += share
    if ordered and to_add != added:
        first = ordered[0]["metadata"]["name"]
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def available(rs: Obj) -> int:
    """How many of a set's pods will be available: a set that was made smaller still reports those that are about to
    go, and whoever counted on them (as upstream does) would take away as many again."""
    reported: int = (rs.get("status") or {}).get("availableReplicas", 0)
    return min(reported, replicas(rs))


def spare(d: Obj, sets: Iterable[Obj]) -> int:
    """How many available pods may go."""
    return sum(map(available, sets)) - (replicas(d) - max_unavailable(d))


def unavailable(rs: Obj) -> int:
    """How many of a set's pods are not available (or not even there)."""
    return replicas(rs) - available(rs)


def without_unhealthy(sets: list[Obj], limit: int) -> list[tuple[Obj, int]]:
    """New sizes: unavailable pods go, of the oldest set first, `limit` at most (cleanupUnhealthyReplicas)."""
    return _shrunk(sets, limit, unavailable)


def without(sets: list[Obj], limit: int) -> list[tuple[Obj, int]]:
    """New sizes: `limit` pods go, of the oldest set first (scaleDownOldReplicaSetsForRollingUpdate)."""
    return _shrunk(sets, limit, replicas)


def _shrunk(sets: list[Obj], limit: int, most: Callable[[Obj], int]) -> list[tuple[Obj, int]]:
    sizes = []
    for rs in sorted(sets, key=by_age):
        gone = max(min(limit, most(rs), replicas(rs)), 0)
        limit -= gone
        sizes.append((rs, replicas(rs) - gone))
    return sizes


def is_saturated(d: Obj, new: Obj | None) -> bool:
    """The new set carries the whole deployment."""
    if new is None:
        return False
    desired = annotation(new, DESIRED_REPLICAS)
    if not _INTEGER.fullmatch(desired):
        return False
    wanted = replicas(d)
    available = (new.get("status") or {}).get("availableReplicas", 0)
    return replicas(new) == wanted and int(desired) == wanted and available == wanted


def set_condition(conditions: list[Obj], new: Obj) -> list[Obj]:
    """Conditions with `new` in; unchanged when status and reason are (SetDeploymentCondition)."""
    old = next((c for c in conditions if c["type"] == new["type"]), None)
    if old is not None:
        if old["status"] == new["status"] and old.get("reason") == new["reason"]:
            return conditions
        if old["status"] == new["status"]:
            new = {**new, "lastTransitionTime": old.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*(c for c in conditions if c["type"] != new["type"]), new]


def make_condition(kind: str, status: str, reason: str, message: str, now: str) -> Obj:
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    }


def deadline_s(d: Obj) -> int | None:
    """spec.progressDeadlineSeconds; None when there is none."""
    seconds: int | None = d["spec"].get("progressDeadlineSeconds")
    return None if seconds is None or seconds == NO_DEADLINE else seconds


def calculate_status(d: Obj, sets: list[Obj], new: Obj | None, now: str) -> Obj:
    """The status that the sets' statuses add up to, with its Available condition."""
    old = d.get("status") or {}
    available = status_sum(sets, "availableReplicas")
    status: Obj = {
        "observedGeneration": d["metadata"].get("generation", 0),
        "replicas": status_sum(sets, "replicas"),
        "updatedReplicas": status_sum([new] if new else [], "replicas"),
        "readyReplicas": status_sum(sets, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(total(sets) - available, 0),
    }
    leaving = terminating(sets)
    if leaving is not None:
        status["terminatingReplicas"] = leaving
    if "collisionCount" in old:
        status["collisionCount"] = old["collisionCount"]
    if available >= replicas(d) - max_unavailable(d):
        message = "Deployment has minimum availability."
        minimum = make_condition("Available", "True", "MinimumReplicasAvailable", message, now)
    else:
        message = "Deployment does not have minimum availability."
        minimum = make_condition("Available", "False", "MinimumReplicasUnavailable", message, now)
    status["conditions"] = set_condition(list(old.get("conditions") or []), minimum)
    return status


def is_complete(d: Obj, status: Obj) -> bool:
    wanted = replicas(d)
    return bool(
        status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("observedGeneration", 0) >= d["metadata"].get("generation", 0)
    )


def has_progressed(d: Obj, status: Obj) -> bool:
    """Compared with the stored status: more new pods, fewer old ones, more ready, more available."""
    old = d.get("status") or {}

    def outdated(s: Obj) -> int:
        return int(s.get("replicas", 0) - s.get("updatedReplicas", 0))

    return (
        status["updatedReplicas"] > old.get("updatedReplicas", 0)
        or outdated(status) < outdated(old)
        or status["readyReplicas"] > old.get("readyReplicas", 0)
        or status["availableReplicas"] > old.get("availableReplicas", 0)
    )


def has_timed_out(d: Obj, status: Obj, now_s: float) -> bool:
    """No progress for the deadline. A deployment that is complete or was never timed cannot time out."""
    found = condition({"status": status}, "Progressing")
    limit = deadline_s(d)
    if found is None or limit is None or found.get("reason") == "NewReplicaSetAvailable":
        return False
    if found.get("reason") == "ProgressDeadlineExceeded":
        return True
    return parse_timestamp(found["lastUpdateTime"]) + limit < now_s


def progress_condition(d: Obj, status: Obj, new: Obj | None, now: str, now_s: float) -> Obj | None:
    """The Progressing condition to set now, or None to leave it."""
    subject = f'ReplicaSet "{new["metadata"]["name"]}"' if new else f'Deployment "{d["metadata"]["name"]}"'
    if is_complete(d, status):
        message = f"{subject} has successfully progressed."
        return make_condition("Progressing", "True", "NewReplicaSetAvailable", message, now)
    if has_progressed(d, status):
        return make_condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
    if has_timed_out(d, status, now_s):
        message = f"{subject} has timed out progressing."
        return make_condition("Progressing", "False", "ProgressDeadlineExceeded", message, now)
    return None


def replica_failure(sets: list[Obj], new: Obj | None, now: str) -> Obj | None:
    """The first ReplicaFailure of the new set, else of any."""
    for rs in [*([new] if new else []), *sets]:
        found = condition(rs, "ReplicaFailure")
        if found is not None:
            return {
                "type": "ReplicaFailure",
                "status": found["status"],
                "lastUpdateTime": found.get("lastTransitionTime", now),
                "lastTransitionTime": found.get("lastTransitionTime", now),
                "reason": found.get("reason", ""),
                "message": found.get("message", ""),
            }
    return None


def expendable(old: list[Obj], keep: int) -> list[Obj]:
    """Old sets beyond the history limit that nothing runs in, oldest revision first."""
    alive = [rs for rs in old if not rs["metadata"].get("deletionTimestamp")]
    surplus = len(alive) - keep
    if surplus <= 0:
        return []
    return [
        rs
        for rs in sorted(alive, key=lambda rs: (revision(rs), by_age(rs)))[:surplus]
        if replicas(rs) == 0
        and (rs.get("status") or {}).get("replicas", 0) == 0
        and rs["metadata"].get("generation", 0) <= (rs.get("status") or {}).get("observedGeneration", 0)
    ]
