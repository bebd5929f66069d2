"""Pods for which preemption makes room, each on the node that is to take it (pkg/scheduler/backend/queue/nominator.go).

What the scheduler has just nominated counts from that moment on; the pod's own status says so only later.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.scheduler.pod_info import PodInfo, on_node


class Nominator:
    def __init__(self) -> None:
        self._pods: dict[str, PodInfo] = {}

    def put(self, info: PodInfo, node: str) -> None:
        self._pods[info.uid] = on_node(info, node)

    def remove(self, uid: str) -> None:
        self._pods.pop(uid, None)

    def node_of(self, uid: str) -> str:
        """The node that is nominated for a pod, "" for none."""
        info = self._pods.get(uid)
        return info.node if info is not None else ""

    def pods(self) -> Sequence[PodInfo]:
        return tuple(self._pods.values())
