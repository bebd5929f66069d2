"""Between the versions of one stored kind. Each entry turns an object that the caller owns into the other
version; where shapes are equal only the version changes."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.conversions import autoscaling, events, resource

Convert = Callable[[Obj], Obj]

TABLE: dict[tuple[str, str, str, str], Convert] = {
    ("events.k8s.io/v1", "Event", "v1", "Event"): events.to_core,
    ("v1", "Event", "events.k8s.io/v1", "Event"): events.from_core,
    (
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
    ): autoscaling.to_v2,
    (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
    ): autoscaling.to_v1,
    **resource.TABLE,
}


def pair(served: Resource, stored: Resource) -> tuple[Convert | None, Convert | None]:
    """(to storage, from storage); None where the versions are the same."""
    if served.group_version == stored.group_version:
        return None, None
    return _between(served, stored), _between(stored, served)


def _between(source: Resource, target: Resource) -> Convert:
    found = TABLE.get((source.group_version, source.kind, target.group_version, target.kind))
    if found is not None:
        return found

    def rename(obj: Obj) -> Obj:
        return {**obj, "apiVersion": target.group_version}

    return rename
