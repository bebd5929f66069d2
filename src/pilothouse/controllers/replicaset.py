"""ReplicaSet controller: as many pods as asked for (k8s.io/kubernetes/pkg/controller/replicaset).

ReplicationController is the same loop over another kind: see `replication`.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import REPLICA_SETS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Failure, controller_of, controller_ref, is_terminating_namespace
from pilothouse.controllers import surplus
from pilothouse.controllers.pods import (
    condition,
    is_active,
    is_available,
    is_ready,
    is_terminal,
    is_terminating,
    template_pod,
)
from pilothouse.controllers.pods_owner import PodsOwner, controller_uid
from pilothouse.kit.world import parse_timestamp

_SLACK_S = 0.01
"""Times are compared by the second, and a timer may be early by a hair."""
BURST_REPLICAS = 500
"""The most pods made or deleted in one go."""


class ReplicaSetController(PodsOwner):
    """Keeps spec.replicas pods."""

    name: ClassVar[str] = "replicaset-controller"
    queue_name: ClassVar[str] = "replicaset"
    resource: ClassVar[Resource] = REPLICA_SETS
    counts_terminating: ClassVar[bool] = True
    """Reports status.terminatingReplicas (KEP-3973)."""

    def setup(self) -> None:
        super().setup()
        self._owners.add_index("controller", controller_uid)

    async def reconcile(self, key: str) -> float | None:
        owner = self._owners.get(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        satisfied = self._expectations.satisfied(key)
        active = await self.claim(owner)
        leaving = self._leaving(owner)
        failure: Failure | None = None
        if satisfied and not is_terminating(owner):
            failure = await self._manage(key, owner, active)
        await self._update_status(owner, active, leaving, failure)
        if failure is not None:
            raise failure
        return self._recheck_s(owner, active)

    def is_claimable(self, pod: Obj) -> bool:
        """What is finished or going is neither adopted nor released (FilterActivePods)."""
        return is_active(pod)

    def _leaving(self, owner: Obj) -> int:
        """How many of the owner's pods are on their way out (FilterTerminatingPods)."""
        selector = self.selector(owner)
        pods = self._pods.by_index("controller", owner["metadata"]["uid"])
        return sum(
            is_terminating(p) and not is_terminal(p) and selector.matches(p["metadata"].get("labels") or {})
            for p in pods
        )

    def _recheck_s(self, owner: Obj, active: list[Obj]) -> float | None:
        """When the next ready pod turns available."""
        min_ready_s = owner["spec"].get("minReadySeconds", 0)
        if not min_ready_s:
            return None
        now = self.world.now()
        waiting = [p for p in active if is_ready(p) and not is_available(p, min_ready_s, now)]
        if not waiting:
            return None
        first_s = min(_ready_since(p) for p in waiting)
        return max(first_s + float(min_ready_s) - now, 0.0) + _SLACK_S

    async def _manage(self, key: str, owner: Obj, active: list[Obj]) -> Failure | None:
        missing = owner["spec"].get("replicas", 1) - len(active)
        if missing > 0:
            return await self._create(key, owner, min(missing, BURST_REPLICAS))
        if missing < 0:
            return await self._delete(key, owner, active, min(-missing, BURST_REPLICAS))
        return None

    async def _create(self, key: str, owner: Obj, count: int) -> Failure | None:
        meta, spec = owner["metadata"], owner["spec"]

        async def create(_: int) -> Failure | None:
            ref = controller_ref(owner, self.resource)
            return await self.create_pod(owner, template_pod(spec["template"], ref, meta["name"], owner))

        self._expectations.expect_creations(key, count)
        failure = await self.create_slowly(key, list(range(count)), create)
        if failure is not None and is_terminating_namespace(failure):
            return None
        return failure

    async def _delete(self, key: str, owner: Obj, active: list[Obj], count: int) -> Failure | None:
        doomed = self._surplus(owner, active, count)
        self._expectations.expect_deletions(key, {p["metadata"]["uid"] for p in doomed})
        return await self.delete_all(key, owner, doomed)

    def _surplus(self, owner: Obj, active: list[Obj], count: int) -> list[Obj]:
        if count >= len(active):
            return active
        return surplus.surplus(active, self._related(owner), count, self.world.now())

    def _related(self, owner: Obj) -> list[Obj]:
        """Active pods of every set with the same controller (of one deployment), and orphans that they select. A set
        without a controller has no relatives, and its own pods don't count either (getIndirectlyRelatedPods; which
        asks all pods of the namespace, so that shrinking everything in it would take the square of them)."""
        parent = controller_of(owner)
        if parent is None:
            return []
        found: dict[str, Obj] = {}
        orphans = self._pods.by_index("controller", f"orphan/{owner['metadata']['namespace']}")
        for other in self._owners.by_index("controller", parent["uid"]):
            selector = self.selector(other)
            own = self._pods.by_index("controller", other["metadata"]["uid"])
            for pod in (*own, *orphans):
                if is_active(pod) and selector.matches(pod["metadata"].get("labels") or {}):
                    found[pod["metadata"]["uid"]] = pod
        return list(found.values())

    async def _update_status(
        self, owner: Obj, active: list[Obj], leaving: int, failure: Failure | None
    ) -> None:
        status = self._status(owner, active, leaving, failure)
        old = owner.get("status") or {}
        if _said(old) == _said(status):
            return
        await self.write_status(owner, status)

    def _status(self, owner: Obj, active: list[Obj], leaving: int, failure: Failure | None) -> Obj:
        template = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
        wanted_labels = template.items()
        min_ready_s, now = owner["spec"].get("minReadySeconds", 0), self.world.now()
        full = ready = available = 0
        for pod in active:
            full += wanted_labels <= (pod["metadata"].get("labels") or {}).items()
            if is_ready(pod):
                ready += 1
                available += not min_ready_s or is_available(pod, min_ready_s, now)
        status: Obj = {
            **(owner.get("status") or {}),
            "replicas": len(active),
            "fullyLabeledReplicas": full,
            "readyReplicas": ready,
            "availableReplicas": available,
            "observedGeneration": owner["metadata"].get("generation", 0),
        }
        if self.counts_terminating:
            status["terminatingReplicas"] = leaving
        status["conditions"] = self._conditions(owner, len(active), failure)
        return status

    def _conditions(self, owner: Obj, count: int, failure: Failure | None) -> list[Obj]:
        old = (owner.get("status") or {}).get("conditions") or []
        others = [c for c in old if c["type"] != "ReplicaFailure"]
        present = next((c for c in old if c["type"] == "ReplicaFailure"), None)
        if failure is None:
            return others
        if present is not None:
            return list(old)
        creating = owner["spec"].get("replicas", 1) > count
        reason, prefix = ("FailedCreate", "") if creating else ("FailedDelete", "unable to delete pods: ")
        return [
            *others,
            {
                "type": "ReplicaFailure",
                "status": "True",
                "lastTransitionTime": self.world.timestamp(),
                "reason": reason,
                "message": f"{prefix}{failure}",
            },
        ]

    def own_pod_changed(self, key: str, old: Obj, pod: Obj) -> None:
        """A pod that turned ready becomes available later."""
        owner = self._owners.get(key)
        if owner is not None and not is_ready(old) and is_ready(pod):
            min_ready_s = owner["spec"].get("minReadySeconds", 0)
            if min_ready_s:
                self.queue.add_after(key, min_ready_s + 1)


def _said(status: Obj) -> Obj:
    """A zero says no more than its absence, but for the count that older versions did not have."""
    return {k: v for k, v in status.items() if v or k == "terminatingReplicas"}


def _ready_since(pod: Obj) -> float:
    ready = condition(pod, "Ready") or {}
    return parse_timestamp(ready["lastTransitionTime"]) if ready.get("lastTransitionTime") else 0.0
