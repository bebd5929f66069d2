"""When what an endpoints object shows was set off: the annotation endpoints.kubernetes.io/last-change-trigger-time,
from which the network programming latency is measured (k8s.io/endpointslice trigger_time_tracker.go)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


class TriggerTimes:
    """Per service: the times that were seen at its last reconciliation."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, dict[str, str]]] = {}

    def observe(self, key: str, service: Obj, pods: Iterable[Obj]) -> str:
        """The earliest time that is new: of a pod's readiness, or the service's creation. "" when nothing is."""
        known = self._seen.get(key)
        created = str(service["metadata"].get("creationTimestamp") or "")
        times = {pod["metadata"]["name"]: time for pod in pods if (time := _ready_changed(pod))}
        self._seen[key] = (created, times)
        if known is None:
            return created
        new = [time for name, time in times.items() if time > known[1].get(name, "")]
        return min([*new, created] if created > known[0] else new, default="")

    def forget(self, key: str) -> None:
        self._seen.pop(key, None)


def annotated(annotations: Obj | None, time: str) -> Obj:
    """Annotations with this time, or with none."""
    kept = {k: v for k, v in (annotations or {}).items() if k != TRIGGER_TIME}
    return {**kept, TRIGGER_TIME: time} if time else kept


def _ready_changed(pod: Obj) -> str:
    found = condition(pod, "Ready")
    return str((found or {}).get("lastTransitionTime") or "")
