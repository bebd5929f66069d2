"""PrioritySort: higher priority first, then who has waited longer."""

from __future__ import annotations

from pilothouse.scheduler.framework import QueueSortPlugin
from pilothouse.scheduler.pod_info import PodInfo


class PrioritySort(QueueSortPlugin):
    name = "PrioritySort"
    ranked = True

    def sort_key(self, info: PodInfo, since_s: float) -> tuple[float, ...]:
        return (-info.priority, since_s)
