"""Warnings that plugins of ours have for the people behind a pod."""

from __future__ import annotations

from collections import OrderedDict

from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.pod_info import PodInfo

INVALID = "InvalidSchedulingAnnotation"
_TOLD_MAX = 4096


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
