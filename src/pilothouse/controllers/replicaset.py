"""ReplicaSet controller: as many pods as asked for (k8s.io/kubernetes/pkg/controller/replicaset).

ReplicationController is the same loop over another kind: see `replication`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PODS, REPLICA_SETS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.controllers import adoption
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.pods import (
    deletion_order,
    is_active,
    is_available,
    is_ready,
    is_terminal,
    is_terminating,
    template_pod,
)
from pilothouse.controllers.reconciler import Controller, Environment, controller_of, controller_ref

log = logging.getLogger(__name__)

BURST_REPLICAS = 500
"""The most pods made or deleted in one go."""
SLOW_START_BATCH = 1
"""Pods are made in batches of 1, 2, 4, …, so that a cluster that refuses them is not flooded."""


class ReplicaSetController(Controller):
    """Keeps spec.replicas pods."""

    name: ClassVar[str] = "replicaset-controller"
    resource: ClassVar[Resource] = REPLICA_SETS
    counts_terminating: ClassVar[bool] = True
    """Reports status.terminatingReplicas (KEP-3973)."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._expectations = Expectations(env.world)

    def setup(self) -> None:
        self._sets = self.watch(self.resource)
        self._pods = self.informer(PODS)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self._pods.add_index("controller", _controller_uid)
        self._pods.add_handler(_PodHandler(self))

    def selector(self, owner: Obj) -> labels.Selector:
        return labels.from_label_selector(owner["spec"].get("selector"))

    async def reconcile(self, key: str) -> float | None:
        owner = self._sets.get(key)
        if owner is None:
            self._expectations.forget(key)
            return None
        satisfied = self._expectations.satisfied(key)
        pods = await self._claim(owner)
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

    async def _claim(self, owner: Obj) -> list[Obj]:
        """The pods that are this owner's, after adopting those that match and releasing those that don't."""
        meta = owner["metadata"]
        owned = self._pods.by_index("controller", meta["uid"])
        orphans = self._pods.by_index("controller", f"orphan/{meta['namespace']}")
        claim = adoption.Claim(self.client, owner, self.resource, PODS, self.selector(owner))
        return await claim.all([*owned, *orphans])

    async def _manage(self, key: str, owner: Obj, active: list[Obj]) -> ApiError | None:
        missing = owner["spec"].get("replicas", 1) - len(active)
        if missing > 0:
            return await self._create(key, owner, min(missing, BURST_REPLICAS))
        if missing < 0:
            return await self._delete(key, owner, active, min(-missing, BURST_REPLICAS))
        return None

    async def _create(self, key: str, owner: Obj, count: int) -> ApiError | None:
        self._expectations.expect_creations(key, count)
        left, batch = count, min(count, SLOW_START_BATCH)
        failure: ApiError | None = None
        while left and failure is None:
            made = await asyncio.gather(*(self._create_one(owner) for _ in range(batch)))
            failures = [e for e in made if e is not None]
            for _ in failures:
                self._expectations.creation_observed(key)
            left -= batch
            failure = failures[0] if failures else None
            batch = min(batch * 2, left)
        for _ in range(left):
            self._expectations.creation_observed(key)
        if failure is not None and failure.reason == "Forbidden" and _is_terminating_namespace(failure):
            return None
        return failure

    async def _create_one(self, owner: Obj) -> ApiError | None:
        pod = template_pod(
            owner["spec"]["template"], controller_ref(owner, self.resource), owner["metadata"]["name"], owner
        )
        regarding = self.reference(owner)
        try:
            made = await self.client.create(PODS, pod, owner["metadata"]["namespace"])
        except ApiError as error:
            if not _is_terminating_namespace(error):
                self.recorder.event(regarding, "Warning", "FailedCreate", f"Error creating: {error}")
            return error
        self.recorder.event(
            regarding, "Normal", "SuccessfulCreate", f"Created pod: {made['metadata']['name']}"
        )
        return None

    async def _delete(self, key: str, owner: Obj, active: list[Obj], count: int) -> ApiError | None:
        doomed = self._surplus(owner, active, count)
        self._expectations.expect_deletions(key, {p["metadata"]["uid"] for p in doomed})
        results = await asyncio.gather(*(self._delete_one(key, owner, p) for p in doomed))
        return next((e for e in results if e is not None), None)

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
        for other in self._sets.list():
            ref = controller_of(other)
            if ref and ref["uid"] == parent["uid"] and other["metadata"]["uid"] != owner["metadata"]["uid"]:
                pods = self._pods.by_index("controller", other["metadata"]["uid"])
                siblings += [p for p in pods if is_active(p)]
        return siblings

    async def _delete_one(self, key: str, owner: Obj, pod: Obj) -> ApiError | None:
        meta = pod["metadata"]
        regarding = self.reference(owner)
        try:
            await self.client.delete(PODS, meta["name"], meta["namespace"])
        except ApiError as error:
            self._expectations.deletion_observed(key, meta["uid"])
            if error.code == 404:
                return None
            self.recorder.event(regarding, "Warning", "FailedDelete", f"Error deleting: {error}")
            return error
        self.recorder.event(regarding, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}")
        return None

    async def _update_status(
        self, owner: Obj, pods: list[Obj], active: list[Obj], failure: ApiError | None
    ) -> None:
        status = self._status(owner, pods, active, failure)
        old = owner.get("status") or {}
        if {k: v for k, v in old.items() if v} == {k: v for k, v in status.items() if v}:
            return
        wanted = {
            **owner,
            "apiVersion": self.resource.group_version,
            "kind": self.resource.kind,
            "status": status,
        }
        try:
            await self.client.update(self.resource, wanted, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

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

    def reference(self, owner: Obj) -> Obj:
        """An ObjectReference: listed objects carry no kind."""
        meta = owner["metadata"]
        return {
            "kind": self.resource.kind,
            "apiVersion": self.resource.group_version,
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        }

    def wants(self, pod: Obj) -> list[str]:
        """Keys of the sets that might adopt an orphan."""
        pod_labels = pod["metadata"].get("labels") or {}
        if not pod_labels:
            return []
        namespace = pod["metadata"]["namespace"]
        return [
            key_of(s)
            for s in self._sets.list()
            if s["metadata"]["namespace"] == namespace and self.selector(s).matches(pod_labels)
        ]

    def owner_key(self, pod: Obj) -> str | None:
        """The key of the set that controls a pod, if it is one of ours."""
        ref = controller_of(pod)
        if ref is None or ref["kind"] != self.resource.kind:
            return None
        key = f"{pod['metadata']['namespace']}/{ref['name']}"
        owner = self._sets.get(key)
        return key if owner is not None and owner["metadata"]["uid"] == ref["uid"] else None

    def pod_created(self, pod: Obj) -> None:
        if is_terminating(pod):
            self.pod_deleted(pod)
            return
        key = self.owner_key(pod)
        if key is not None:
            self._expectations.creation_observed(key)
            self.queue.add(key)
        elif controller_of(pod) is None:
            for candidate in self.wants(pod):
                self.queue.add(candidate)

    def pod_changed(self, old: Obj, pod: Obj) -> None:
        if is_terminating(pod) and not is_terminating(old):
            self.pod_deleted(pod)
            return
        before, now = self.owner_key(old), self.owner_key(pod)
        if before is not None and before != now:
            self.queue.add(before)
        if now is not None:
            self.queue.add(now)
            self._recheck_availability(now, old, pod)
        elif controller_of(pod) is None and (
            old["metadata"].get("labels") != pod["metadata"].get("labels") or before is not None
        ):
            for candidate in self.wants(pod):
                self.queue.add(candidate)

    def _recheck_availability(self, key: str, old: Obj, pod: Obj) -> None:
        owner = self._sets.get(key)
        if owner is not None and not is_ready(old) and is_ready(pod):
            min_ready_s = owner["spec"].get("minReadySeconds", 0)
            if min_ready_s:
                self.queue.add_after(key, min_ready_s + 1)

    def pod_deleted(self, pod: Obj) -> None:
        key = self.owner_key(pod)
        if key is not None:
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self.queue.add(key)


class _PodHandler:
    def __init__(self, controller: ReplicaSetController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        self._controller.pod_created(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._controller.pod_changed(old, new)

    def on_delete(self, obj: Obj) -> None:
        self._controller.pod_deleted(obj)


def _controller_uid(pod: Obj) -> tuple[str, ...]:
    """Index: the controlling owner's UID, or orphan/NAMESPACE."""
    ref = controller_of(pod)
    return (ref["uid"],) if ref is not None else (f"orphan/{pod['metadata']['namespace']}",)


def _is_terminating_namespace(error: ApiError) -> bool:
    causes = (error.details or {}).get("causes") or ()
    return any(c.get("reason") == "NamespaceTerminating" for c in causes)
