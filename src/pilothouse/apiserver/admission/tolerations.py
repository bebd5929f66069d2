"""Tolerations as sets of taints (k8s.io/kubernetes/pkg/util/tolerations)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.types import Obj


def merge(first: Iterable[Obj], second: Iterable[Obj]) -> list[Obj]:
    """Both lists, without what another one covers. Of equal ones the first stays."""
    every = [*first, *second]
    merged: list[Obj] = []
    for i, toleration in enumerate(every):
        if any(covers(kept, toleration) for kept in merged):
            continue
        if any(later != toleration and covers(later, toleration) for later in every[i + 1 :]):
            continue
        merged.append(toleration)
    return merged


def covers(wide: Obj, narrow: Obj) -> bool:
    """Whether `wide` tolerates all that `narrow` does."""
    if wide == narrow:
        return True
    exists = wide.get("operator") == "Exists"
    if wide.get("key", "") != narrow.get("key", "") and (wide.get("key") or not exists):
        return False
    if wide.get("effect") and wide["effect"] != narrow.get("effect"):
        return False
    if wide.get("effect") == "NoExecute" and wide.get("tolerationSeconds") is not None:
        seconds = narrow.get("tolerationSeconds")
        if seconds is None or seconds > wide["tolerationSeconds"]:
            return False
    if exists:
        return True
    if wide.get("operator", "") not in ("", "Equal"):
        return False
    return narrow.get("operator") == "Equal" and narrow.get("value", "") == wide.get("value", "")
