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
    controller_of,
    is_terminating_namespace,
)
from pilothouse.controllers import adoption
from pilothouse.controllers.expectations import Expectations
from pilothouse.controllers.pods import is_terminating

SLOW_START_BATCH = 1
"""Pods are made in batches of 1, 2, 4, …, so that a cluster that refuses them is not flooded."""

T = TypeVar("T")


class PodsOwner(Controller):
    """A controller whose objects of `resource` own pods."""

    resource: ClassVar[Resource]
    batch_s: ClassVar[float] = 0.0
    """How long changes of pods wait for more of them."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._expectations = Expectations(env.world)

    def setup(self) -> None:
        self._owners = self.watch(self.resource)
        self._owners.add_handler(_OwnerHandler(self._expectations))
        self._pods = self.informer(PODS)
        self._pods.add_index("controller", controller_uid)
        self._pods.add_handler(_PodHandler(self))

    def selector(self, owner: Obj) -> labels.Selector:
        return labels.from_label_selector(owner["spec"].get("selector"))

    async def claim(self, owner: Obj) -> list[Obj]:
        """The pods that are this owner's, after adopting those that match and releasing those that don't.
        TryAgain: the owner is going or gone."""
        meta = owner["metadata"]
        owned = self._pods.by_index("controller", meta["uid"])
        orphans = self._pods.by_index("controller", f"orphan/{meta['namespace']}")
        claim = adoption.Claim(self.client, owner, self.resource, PODS, self.selector(owner))
        return await claim.all([pod for pod in (*owned, *orphans) if self.is_claimable(pod)])

    def is_claimable(self, pod: Obj) -> bool:
        """Whether a pod is worth adopting and releasing at all."""
        return True

    # -- making and deleting ----------------------------------------------------------------------------

    async def create_pod(self, owner: Obj, pod: Obj) -> ApiError | None:
        """Make a pod and tell; the failure, if it is one."""
        regarding = self.reference(owner)
        try:
            made = await self.client.create(PODS, pod, owner["metadata"]["namespace"])
        except ApiError as error:
            if not is_terminating_namespace(error):
                self.recorder.event(regarding, "Warning", "FailedCreate", f"Error creating: {error}")
            return error
        message = f"Created pod: {made['metadata']['name']}"
        self.recorder.event(regarding, "Normal", "SuccessfulCreate", message)
        return None

    async def delete_pod(self, key: str, owner: Obj, pod: Obj) -> ApiError | None:
        """Delete a pod and tell; the failure, if it is one. A pod that is gone already is none."""
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

    async def create_slowly(
        self, key: str, what: list[T], create: Callable[[T], Awaitable[ApiError | None]]
    ) -> ApiError | None:
        """Make one pod for each of `what` in growing batches, until one fails; the first failure. Creations that
        were expected and do not come are taken off the expectations."""
        left, batch = what, SLOW_START_BATCH
        failure: ApiError | None = None
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

    async def delete_all(self, key: str, owner: Obj, pods: Iterable[Obj]) -> ApiError | None:
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
            await self.client.update(self.resource, wanted, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

    # -- what the informers say -------------------------------------------------------------------------

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
    """An owner that goes takes its expectations along: one of the same name that follows expects nothing yet."""

    def __init__(self, expectations: Expectations) -> None:
        self._expectations = expectations

    def on_add(self, obj: Obj) -> None:
        """It expects nothing yet."""

    def on_update(self, old: Obj, new: Obj) -> None:
        if old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._expectations.forget(key_of(old))

    def on_delete(self, obj: Obj) -> None:
        self._expectations.forget(key_of(obj))


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
