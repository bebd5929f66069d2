"""Pods for which preemption makes room, each on the node that is to take it (pkg/scheduler/backend/queue/nominator.go).

What the scheduler has just nominated counts from that moment on; the pod's own status says so only later. Room that is
kept no more is room for others: `freed` is told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pilothouse.scheduler.pod_info import PodInfo, on_node


class Nominator:
    def __init__(self) -> None:
        self._pods: dict[str, PodInfo] = {}
        self.under_way: set[str] = set()
        """UIDs of the pods whose victims are being told that they must go."""
        self.freed: Callable[[PodInfo], None] = lambda info: None
        """Told of a pod, as if it were on its node, when nothing is kept for it there any more."""

    def put(self, info: PodInfo, node: str) -> None:
        before = self._pods.get(info.uid)
        self._pods[info.uid] = on_node(info, node)
        if before is not None and before.node != node:
            self.freed(before)

    def seen(self, was: str, new: PodInfo) -> None:
        """What the API server says of a pod without a node, and `was` the node that its status had named before
        (UpdateNominatedPod). Only a change counts: what this scheduler has decided since may be on its way there."""
        if new.nominated != was:
            if new.nominated:
                self.put(new, new.nominated)
            else:
                self.remove(new.uid)
        elif new.uid in self._pods:
            self._pods[new.uid] = on_node(new, self._pods[new.uid].node)

    def remove(self, uid: str, placed: str = "") -> None:
        """`placed` is the node that the pod has got, if it has one: what was kept there it takes itself."""
        info = self._pods.pop(uid, None)
        if info is not None and info.node != placed:
            self.freed(info)

    def node_of(self, uid: str) -> str:
        """The node that is nominated for a pod, "" for none."""
        info = self._pods.get(uid)
        return info.node if info is not None else ""

    def pods(self) -> Sequence[PodInfo]:
        return tuple(self._pods.values())
