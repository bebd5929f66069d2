"""What pods and nodes declare to the plugins that upstream does not have: names, and how wrong ones are told of.

Annotations and labels all end in the domain `scheduling.pilothouse.dev`. One that cannot be read counts as not given,
and an event on the pod says what it should look like.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from pilothouse.api.types import Obj
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.pod_info import PodInfo

DOMAIN = "scheduling.pilothouse.dev"
INVALID = "InvalidSchedulingAnnotation"
_TOLD_MAX = 4096


class InvalidAnnotation(ValueError):
    """Says which annotation, and what it should look like."""

    def __init__(self, key: str, text: str, wanted: str) -> None:
        super().__init__(f'annotation {key} must be {wanted}, not "{text}"')


def annotations_of(pod: Obj) -> Mapping[str, str]:
    return pod["metadata"].get("annotations") or {}


def unknown_args(args: Obj, known: tuple[str, ...]) -> None:
    """ValueError for arguments that a plugin of ours does not have."""
    for name in args:
        if name not in (*known, "apiVersion", "kind"):
            raise ValueError(f'unknown argument "{name}": it takes {", ".join(known) or "none"}')


class Teller:
    """Warnings on pods, each once as long as it stays the same."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._told: OrderedDict[tuple[str, str], str] = OrderedDict()

    def tell(self, info: PodInfo, reason: str, message: str) -> None:
        key = (info.uid, reason)
        if self._told.get(key) == message:
            return
        self._told[key] = message
        if len(self._told) > _TOLD_MAX:
            self._told.popitem(last=False)
        regarding = {**info.pod, "kind": "Pod", "apiVersion": "v1"}
        component = str(info.pod["spec"].get("schedulerName", ""))
        self._handle.recorder.event(
            regarding, "Warning", reason, message, action="Scheduling", component=component
        )
