"""The base of controllers that own pods: which pods are theirs, what they expect to see, and making and deleting
pods with the events that tell of it (k8s.io/kubernetes/pkg/controller RealPodControl and slowStartBatch).

    pod appears ──▶ creation observed ─┐
    pod goes    ──▶ deletion observed ─┼─▶ the owner's key is queued
    pod changes ───────────────────────┘     (an orphan: the keys of all that might adopt it)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, TypeVar

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import (
    Controller,
    Environment,
    Failure,
    controller_of,
    is_not_found,
    is_terminating_namespace,
)
from pilothouse.controllers import adoption
from pilothouse.controllers.consistency import Consistency
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.pods import is_terminating
from pilothouse.kit.metrics import counter

SLOW_START_BATCH = 1
"""Pods are made in batches of 1, 2, 4, …, so that a cluster that refuses them is not flooded."""

STALE_S = 1.0
"""How long an object whose last writes the informers have not shown waits at most; their events wake it before."""

T = TypeVar("T")


class PodsOwner(Controller):
    """A controller whose objects of `resource` own pods."""

    resource: ClassVar[Resource]
    batch_s: ClassVar[float] = 0.0
    """How long changes of pods wait for more of them."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._expectations = Expectations(env.world)
        self._skips = counter(
            env.metrics,
            f"{self.name.replace('-', '_')}_stale_sync_skips_total",
            "Number of times the controller skipped a sync because its cache was stale",
        )

    def setup(self) -> None:
        self._owners = self.watch(self.resource)
        self._owners.add_handler(_OwnerHandler(self))
        self._pods = self.informer(PODS)
        self._pods.add_index("controller", controller_uid)
        self._pods.add_handler(_PodHandler(self))
        self._consistency = Consistency(self.world, {self.resource: self._owners, PODS: self._pods})

    async def _handle(self, key: str) -> None:
        if self._consistency.ready(key):
            await super()._handle(key)
        else:
            self._skips.inc()
            self.queue.add_after(key, STALE_S)

    def wrote(self, owner: Obj, resource: Resource, answer: Obj) -> None:
        """The owner is not looked at again before the informer shows this write."""
        self._consistency.wrote(key_of(owner), resource, answer)

    def selector(self, owner: Obj) -> labels.Selector:
        return labels.from_label_selector(owner["spec"].get("selector"))

    async def claim(self, owner: Obj) -> list[Obj]:
        """The pods that are this owner's, after adopting those that match and releasing those that don't.
        TryAgain: the owner is going or gone."""
        meta = owner["metadata"]
        owned = self._pods.by_index("controller", meta["uid"])
        orphans = self._pods.by_index("controller", f"orphan/{meta['namespace']}")
        claim = adoption.Claim(
            self.client,
            owner,
            self.resource,
            PODS,
            self.selector(owner),
            lambda pod: self.is_member(owner, pod),
            lambda answer: self.wrote(owner, PODS, answer),
        )
        return await claim.all([pod for pod in (*owned, *orphans) if self.is_claimable(pod)])

    def is_claimable(self, pod: Obj) -> bool:
        """Whether a pod is worth adopting and releasing at all."""
        return True

    def is_member(self, owner: Obj, pod: Obj) -> bool:
        """Whether a pod can be this owner's, whatever its labels: one that cannot is never adopted."""
        return True

    # -- making and deleting ----------------------------------------------------------------------------

    async def create_pod(self, owner: Obj, pod: Obj) -> Failure | None:
        """Make a pod and tell; the failure, if it is one. A connection that broke is one: the pod may be there."""
        regarding = self.reference(owner)
        try:
            made = await self.client.create(PODS, pod, owner["metadata"]["namespace"])
        except (ApiError, ConnectionError) as error:
            if not is_terminating_namespace(error):
                self.recorder.event(regarding, "Warning", "FailedCreate", f"Error creating: {error}")
            return error
        self.wrote(owner, PODS, made)
        message = f"Created pod: {made['metadata']['name']}"
        self.recorder.event(regarding, "Normal", "SuccessfulCreate", message)
        return None

    async def delete_pod(self, key: str, owner: Obj, pod: Obj) -> Failure | None:
        """Delete a pod and tell; the failure, if it is one. A pod that is gone already is none."""
        meta = pod["metadata"]
        regarding = self.reference(owner)
        try:
            await self.client.delete(PODS, meta["name"], meta["namespace"])
        except (ApiError, ConnectionError) as error:
            self._expectations.deletion_observed(key, meta["uid"])
            if is_not_found(error):
                return None
            self.recorder.event(regarding, "Warning", "FailedDelete", f"Error deleting: {error}")
            return error
        self.recorder.event(regarding, "Normal", "SuccessfulDelete", f"Deleted pod: {meta['name']}")
        return None

    async def create_slowly(
        self, key: str, what: list[T], create: Callable[[T], Awaitable[Failure | None]]
    ) -> Failure | None:
        """Make one pod for each of `what` in growing batches, until one fails; the first failure. Creations that
        were expected and do not come are taken off the expectations."""
        left, batch = what, SLOW_START_BATCH
        failure: Failure | None = None
        while left and failure is None:
            made = await asyncio.gather(*(create(one) for one in left[:batch]))
            failures = [error for error in made if error is not None]
            for _ in failures:
                self._expectations.creation_observed(key)
            left, batch = left[batch:], batch * 2
            failure = failures[0] if failures else None
        for _ in left:
            self._expectations.creation_observed(key)
        return failure

    async def delete_all(self, key: str, owner: Obj, pods: Iterable[Obj]) -> Failure | None:
        """Delete pods whose deletions are expected; the first failure."""
        results = await asyncio.gather(*(self.delete_pod(key, owner, pod) for pod in pods))
        return next((error for error in results if error is not None), None)

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

    async def write_status(self, owner: Obj, status: Obj) -> None:
        """Replace the status; an owner that is gone needs none."""
        wanted = {
            **owner,
            "apiVersion": self.resource.group_version,
            "kind": self.resource.kind,
            "status": status,
        }
        try:
            self.wrote(
                owner, self.resource, await self.client.update(self.resource, wanted, subresource="status")
            )
        except ApiError as error:
            if error.code != 404:
                raise

    # -- what the informers say -------------------------------------------------------------------------

    def forget(self, key: str) -> None:
        """The owner is gone: one of the same name that follows has written and expects nothing yet."""
        self._expectations.forget(key)
        self._consistency.forget(key)

    def wants(self, pod: Obj) -> list[str]:
        """Keys of the owners that might adopt an orphan."""
        pod_labels = pod["metadata"].get("labels") or {}
        if not pod_labels:
            return []
        namespace = pod["metadata"]["namespace"]
        return [
            key_of(o)
            for o in self._owners.list()
            if o["metadata"]["namespace"] == namespace and self.selector(o).matches(pod_labels)
        ]

    def owner_key(self, pod: Obj) -> str | None:
        """The key of the owner that controls a pod, if it is one of ours."""
        ref = controller_of(pod)
        if ref is None or ref["kind"] != self.resource.kind:
            return None
        key = f"{pod['metadata']['namespace']}/{ref['name']}"
        owner = self._owners.get(key)
        return key if owner is not None and owner["metadata"]["uid"] == ref["uid"] else None

    def _wake(self, key: str) -> None:
        self.queue.add_after(key, self.batch_s)

    def pod_created(self, pod: Obj) -> None:
        if is_terminating(pod):
            self.pod_deleted(pod)
            return
        key = self.owner_key(pod)
        if key is not None:
            self._expectations.creation_observed(key)
            self._wake(key)
        elif controller_of(pod) is None:
            for candidate in self.wants(pod):
                self._wake(candidate)

    def pod_changed(self, old: Obj, pod: Obj) -> None:
        if is_terminating(pod) and not is_terminating(old):
            self.pod_deleted(pod)
            return
        before, now = self.owner_key(old), self.owner_key(pod)
        if before is not None and before != now:
            self._wake(before)
        if now is not None:
            self._wake(now)
            self.own_pod_changed(now, old, pod)
        elif controller_of(pod) is None and (
            old["metadata"].get("labels") != pod["metadata"].get("labels") or before is not None
        ):
            for candidate in self.wants(pod):
                self._wake(candidate)

    def own_pod_changed(self, key: str, old: Obj, pod: Obj) -> None:
        """For what a kind does beyond looking at the owner again."""

    def pod_deleted(self, pod: Obj) -> None:
        key = self.owner_key(pod)
        if key is not None:
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self._wake(key)


class _OwnerHandler:
    """An owner that goes takes along what is known of it."""

    def __init__(self, controller: PodsOwner) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        """It expects nothing yet."""

    def on_update(self, old: Obj, new: Obj) -> None:
        if old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._controller.forget(key_of(old))

    def on_delete(self, obj: Obj) -> None:
        self._controller.forget(key_of(obj))


class _PodHandler:
    def __init__(self, controller: PodsOwner) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        self._controller.pod_created(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._controller.pod_changed(old, new)

    def on_delete(self, obj: Obj) -> None:
        self._controller.pod_deleted(obj)


def controller_uid(obj: Obj) -> tuple[str, ...]:
    """Index: the controlling owner's UID, or orphan/NAMESPACE."""
    ref = controller_of(obj)
    return (ref["uid"],) if ref is not None else (f"orphan/{obj['metadata']['namespace']}",)
