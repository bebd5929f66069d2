"""What a deletion does to an object: grace, finalizers, propagation. Pure decisions on dicts.

    live ──delete──▶ grace > 0 or finalizers ──▶ terminating ──finalizers gone, grace 0──▶ gone
      └────────────── neither ─────────────────────────────────────────────────────────────▶ gone

Rules: k8s.io/apiserver/pkg/registry/rest/delete.go and generic/registry/store.go.
"""

from __future__ import annotations

from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp, timestamp

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"


class Grace(NamedTuple):
    """`graceful`: the object was marked with a grace period. `pending`: it is already terminating and this
    request changes nothing."""

    graceful: bool
    pending: bool


def check_preconditions(options: Obj, obj: Obj, group: str, kind: str, name: str) -> None:
    """Raises 409 when the UID or resourceVersion asked for is not the object's; it names the kind, not the
    resource (rest.BeforeDelete)."""
    wanted = options.get("preconditions") or {}
    meta = obj["metadata"]
    uid, revision = wanted.get("uid"), wanted.get("resourceVersion")
    if uid is not None and uid != meta.get("uid"):
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({meta.get('uid')}). "
            "The object might have been deleted and then recreated"
        )
        raise errors.conflict(group, kind, name, why)
    if revision is not None and revision != meta.get("resourceVersion"):
        why = (
            f"the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record "
            f"({meta.get('resourceVersion')}). The object might have been modified"
        )
        raise errors.conflict(group, kind, name, why)


def begin(meta: Obj, options: Obj, grace_s: int | None, now_s: float) -> Grace:
    """Mark `meta` (owned) for graceful deletion. `grace_s` is what the kind's strategy decided, None for kinds
    that know no grace."""
    asked = options.get("gracePeriodSeconds")
    if meta.get("deletionTimestamp"):
        current = meta.get("deletionGracePeriodSeconds")
        if current is None:
            return Grace(False, False)
        if asked is None or asked >= current:
            return Grace(False, True)
        started_s = parse_timestamp(meta["deletionTimestamp"]) - current
        meta["deletionTimestamp"] = timestamp(started_s + asked)
        meta["deletionGracePeriodSeconds"] = asked
        return Grace(True, False)
    if grace_s is None:
        return Grace(False, False)
    meta["deletionTimestamp"] = timestamp(now_s + grace_s)
    meta["deletionGracePeriodSeconds"] = grace_s
    if meta.get("generation", 0) > 0:
        meta["generation"] += 1
    return Grace(True, False)


def finalizers(meta: Obj, options: Obj, default_propagation: str) -> list[str]:
    """The finalizers that the object has once this deletion's propagation policy is written into them."""
    current: list[str] = meta.get("finalizers") or []
    wanted = [f for f in current if f not in (ORPHAN, FOREGROUND)]
    if _orphans(current, options, default_propagation):
        wanted.append(ORPHAN)
    if _foreground(current, options):
        wanted.append(FOREGROUND)
    return wanted


def _orphans(current: list[str], options: Obj, default_propagation: str) -> bool:
    explicit = options.get("orphanDependents")
    if explicit is not None:
        return bool(explicit)
    policy = options.get("propagationPolicy")
    if policy is not None:
        return bool(policy == "Orphan")
    return ORPHAN in current or (FOREGROUND not in current and default_propagation == "Orphan")


def _foreground(current: list[str], options: Obj) -> bool:
    if options.get("orphanDependents") is not None:
        return False
    policy = options.get("propagationPolicy")
    if policy is not None:
        return bool(policy == "Foreground")
    return FOREGROUND in current


def mark(meta: Obj, now_s: float) -> None:
    """Mark an object of a kind without grace that must wait for its finalizers (markAsDeleting)."""
    existing = meta.get("deletionTimestamp")
    if not existing and meta.get("generation", 0) > 0:
        meta["generation"] += 1
    if not existing or parse_timestamp(existing) > now_s:
        meta["deletionTimestamp"] = timestamp(now_s)
    meta["deletionGracePeriodSeconds"] = 0


def is_finished(obj: Obj) -> bool:
    """Whether an update leaves nothing that an object under deletion waits for (ShouldDeleteDuringUpdate)."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    return meta.get("deletionGracePeriodSeconds") in (None, 0)
