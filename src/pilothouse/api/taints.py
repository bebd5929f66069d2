"""Taints and tolerations (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pilothouse.api.types import Obj

NO_SCHEDULE = "NoSchedule"
NO_EXECUTE = "NoExecute"
PREFER_NO_SCHEDULE = "PreferNoSchedule"
HARD = (NO_SCHEDULE, NO_EXECUTE)


def of_node(node: Obj) -> list[Obj]:
    found: list[Obj] = (node.get("spec") or {}).get("taints") or []
    return found


def tolerates(toleration: Obj, taint: Obj) -> bool:
    """Whether a toleration covers a taint (Toleration.ToleratesTaint): an empty effect is every effect, an empty
    key with Exists every key."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    match toleration.get("operator") or "Equal":
        case "Exists":
            return True
        case "Equal":
            return bool(toleration.get("key", "") == taint["key"]) and bool(
                toleration.get("value", "") == taint.get("value", "")
            )
    return False


def tolerated(pod: Obj, taint: Obj) -> bool:
    return any(tolerates(t, taint) for t in pod["spec"].get("tolerations") or ())


def untolerated(pod: Obj, taints: Iterable[Obj], effects: Collection[str] = HARD) -> Obj | None:
    """The first taint with one of `effects` that no toleration of the pod covers."""
    for taint in taints:
        if taint.get("effect", "") in effects and not tolerated(pod, taint):
            return taint
    return None
