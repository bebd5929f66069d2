"""ReplicaSet controller: as many pods as asked for (k8s.io/kubernetes/pkg/controller/replicaset).

ReplicationController is the same loop over another kind: see `replication`.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import REPLICA_SETS, Resource
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import (
    deletion_order,
    is_active,
    is_available,
    is_ready,
    is_terminal,
    is_terminating,
    template_pod,
)
from pilothouse.controllers.pods_owner import PodsOwner, is_terminating_namespace
from pilothouse.controllers.reconciler import controller_of, controller_ref

BURST_REPLICAS = 500
"""The most pods made or deleted in one go."""


class ReplicaSetController(PodsOwner):
    """Keeps spec.replicas pods."""

    name: ClassVar[str] = "replicaset-controller"
    resource: ClassVar[Resource] = REPLICA_SETS
    counts_terminating: ClassVar[bool] = True
    """Reports status.terminatingReplicas (KEP-3973)."""

    async def reconcile(self, key: str) -> float | None:
        owner = self._owners.get(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        satisfied = self._expectations.satisfied(key)
        pods = await self.claim(owner)
        active = [p for p in pods if is_active(p)]
        failure: ApiError | None = None
        if satisfied and not is_terminating(owner):
            failure = await self._manage(key, owner, active)
        await self._update_status(owner, pods, active, failure)
        if failure is not None:
            raise failure
        return self._recheck_s(owner, active)

    def _recheck_s(self, owner: Obj, active: list[Obj]) -> float | None:
        """When the next ready pod turns available."""
        min_ready_s = owner["spec"].get("minReadySeconds", 0)
        if not min_ready_s:
            return None
        now = self.world.now()
        waiting = [p for p in active if is_ready(p) and not is_available(p, min_ready_s, now)]
        return float(min_ready_s) if waiting else None

    async def _manage(self, key: str, owner: Obj, active: list[Obj]) -> ApiError | None:
        missing = owner["spec"].get("replicas", 1) - len(active)
        if missing > 0:
            return await self._create(key, owner, min(missing, BURST_REPLICAS))
        if missing < 0:
            return await self._delete(key, owner, active, min(-missing, BURST_REPLICAS))
        return None

    async def _create(self, key: str, owner: Obj, count: int) -> ApiError | None:
        meta, spec = owner["metadata"], owner["spec"]

        async def create(_: int) -> ApiError | None:
            ref = controller_ref(owner, self.resource)
            return await self.create_pod(owner, template_pod(spec["template"], ref, meta["name"], owner))

        self._expectations.expect_creations(key, count)
        failure = await self.create_slowly(key, list(range(count)), create)
        if failure is not None and failure.reason == "Forbidden" and is_terminating_namespace(failure):
            return None
        return failure

    async def _delete(self, key: str, owner: Obj, active: list[Obj], count: int) -> ApiError | None:
        doomed = self._surplus(owner, active, count)
        self._expectations.expect_deletions(key, {p["metadata"]["uid"] for p in doomed})
        return await self.delete_all(key, owner, doomed)

    def _surplus(self, owner: Obj, active: list[Obj], count: int) -> list[Obj]:
        """The pods to go: see `deletion_order`; pods that share a node with more siblings go first."""
        if count >= len(active):
            return active
        on_node: dict[str, int] = {}
        for pod in self._siblings(owner, active):
            node = pod["spec"].get("nodeName", "")
            on_node[node] = on_node.get(node, 0) + 1
        ranked = sorted(
            active, key=lambda p: deletion_order(p, on_node.get(p["spec"].get("nodeName", ""), 0))
        )
        return ranked[:count]

    def _siblings(self, owner: Obj, active: list[Obj]) -> list[Obj]:
        """Active pods of every set with the same controller (of one deployment)."""
        parent = controller_of(owner)
        if parent is None:
            return active
        siblings = list(active)
        for other in self._owners.list():
            ref = controller_of(other)
            if ref and ref["uid"] == parent["uid"] and other["metadata"]["uid"] != owner["metadata"]["uid"]:
                pods = self._pods.by_index("controller", other["metadata"]["uid"])
                siblings += [p for p in pods if is_active(p)]
        return siblings

    async def _update_status(
        self, owner: Obj, pods: list[Obj], active: list[Obj], failure: ApiError | None
    ) -> None:
        status = self._status(owner, pods, active, failure)
        old = owner.get("status") or {}
        if {k: v for k, v in old.items() if v} == {k: v for k, v in status.items() if v}:
            return
        await self.write_status(owner, status)

    def _status(self, owner: Obj, pods: list[Obj], active: list[Obj], failure: ApiError | None) -> Obj:
        template = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        wanted_labels = template.items()
        min_ready_s, now = owner["spec"].get("minReadySeconds", 0), self.world.now()
        full = ready = available = 0
        for pod in active:
            full += wanted_labels <= (pod["metadata"].get("labels") or {}).items()
            if is_ready(pod):
                ready += 1
                available += is_available(pod, min_ready_s, now)
        status: Obj = {
            **(owner.get("status") or {}),
            "replicas": len(active),
            "fullyLabeledReplicas": full,
            "readyReplicas": ready,
            "availableReplicas": available,
            "observedGeneration": owner["metadata"].get("generation", 0),
        }
        if self.counts_terminating:
            status["terminatingReplicas"] = sum(1 for p in pods if is_terminating(p) and not is_terminal(p))
        status["conditions"] = self._conditions(owner, len(active), failure)
        return status

    def _conditions(self, owner: Obj, count: int, failure: ApiError | None) -> list[Obj]:
        old = (owner.get("status") or {}).get("conditions") or []
        others = [c for c in old if c["type"] != "ReplicaFailure"]
        present = next((c for c in old if c["type"] == "ReplicaFailure"), None)
        if failure is None:
            return others
        if present is not None:
            return list(old)
        reason = "FailedCreate" if owner["spec"].get("replicas", 1) > count else "FailedDelete"
        return [
            *others,
            {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": self.world.timestamp(),
                "reason": reason,
                "message": str(failure),
            },
        ]

    def own_pod_changed(self, key: str, old: Obj, pod: Obj) -> None:
        """A pod that turned ready becomes available later."""
        owner = self._owners.get(key)
        if owner is not None and not is_ready(old) and is_ready(pod):
            min_ready_s = owner["spec"].get("minReadySeconds", 0)
            if min_ready_s:
                self.queue.add_after(key, min_ready_s + 1)
