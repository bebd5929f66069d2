"""Where pods are, or are taken to be (pkg/scheduler/backend/cache).

           assume                informer: bound
    known ────────▶ assumed ─────────────────────▶ on its node ──informer: gone or ended──▶ forgotten
                       └── binding failed ──▶ forgotten

An assumed pod counts on its node from the decision on, so that the next pod finds the room taken. It never expires:
either the API server says that it is bound, or binding fails and the scheduler forgets it.
"""

from __future__ import annotations

from pilothouse.scheduler.node_table import NodeTable
from pilothouse.scheduler.pod_info import PodInfo, on_node


class Cache:
    """Keeps a node table and what is assumed of it."""

    def __init__(self) -> None:
        self.table = NodeTable()
        self._assumed: set[str] = set()

    def sizes(self) -> dict[str, int]:
        return {
            "nodes": len(self.table),
            "pods": self.table.pod_count,
            "assumed_pods": len(self._assumed),
        }

    def is_assumed(self, uid: str) -> bool:
        return uid in self._assumed

    def assume(self, info: PodInfo, node: str) -> None:
        self._assumed.add(info.uid)
        self.table.put_pod(on_node(info, node))

    def forget(self, uid: str) -> PodInfo | None:
        """A binding failed; None when the pod has arrived or gone meanwhile."""
        if uid not in self._assumed:
            return None
        self._assumed.discard(uid)
        return self.table.remove_pod(uid)

    def put(self, info: PodInfo) -> PodInfo | None:
        """A pod that the API server says is on its node; what was known of it before, None for nothing."""
        self._assumed.discard(info.uid)
        before = self.table.pod(info.uid)
        self.table.put_pod(info)
        return before

    def remove(self, uid: str) -> PodInfo | None:
        self._assumed.discard(uid)
        return self.table.remove_pod(uid)
