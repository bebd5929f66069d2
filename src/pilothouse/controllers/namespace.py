"""Namespace controller: empties a namespace that is going, then lets it go
(k8s.io/kubernetes/pkg/controller/namespace/deletion).

Pods are deleted and waited for first, so that no pod outlives what it was protected by, such as a network policy
(KEP-5080); then everything else. What is left is reported in the conditions that `kubectl describe namespace` shows.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NAMESPACES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller, TryAgain
from pilothouse.controllers.pods import is_terminal
from pilothouse.kit.world import parse_timestamp

log = logging.getLogger(__name__)

_MESSAGES = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    "NamespaceFinalizersRemaining": ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}
_PATIENCE_S = 5.0
_FINALIZER_S = 15
"""How long finalizers are given before another look (finalizerEstimateSeconds)."""


_OPTIONS: Obj = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}


class _Deletable(NamedTuple):
    resource: Resource
    by_collection: bool
    """Whether one request deletes all of a namespace."""


class _Left(NamedTuple):
    """What a resource still has in the namespace: how many objects, and how many carry which finalizer."""

    resource: Resource
    instances: int
    finalizers: dict[str, int]
    estimate_s: int
    """How long they may take; 0 when nothing says that they should still be there."""


@dataclass(slots=True)
class Attempt:
    """One attempt to empty a namespace."""

    left: list[_Left] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    undiscovered: dict[str, str] = field(default_factory=dict)
    """By group and version, why what it serves is not known."""

    @property
    def is_done(self) -> bool:
        return not (self.left or self.failures or self.undiscovered)

    def again_s(self) -> float | None:
        """Seconds until the next, when all that is known is that things take their time; else None."""
        estimate_s = max((item.estimate_s for item in self.left), default=0)
        return estimate_s // 2 + 1.0 if estimate_s and not self.failures and not self.undiscovered else None


class NamespaceController(Controller):
    name: ClassVar[str] = "namespace-controller"
    queue_name: ClassVar[str] = "namespace"
    workers: ClassVar[int] = 10

    def setup(self) -> None:
        self._namespaces = self.watch(NAMESPACES)
        self._pods = self.informer(PODS)
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self._pods.add_handler(_PodsGone(self))

    def pod_gone(self, namespace: str) -> None:
        """The last pod of a namespace that is going went: what waits for that need not wait for its time."""
        found = self._namespaces.get(namespace)
        if found is None or not found["metadata"].get("deletionTimestamp"):
            return
        if not self._pods.by_index("namespace", namespace):
            self.queue.add(namespace)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return None
        finalizers = (namespace.get("spec") or {}).get("finalizers") or []
        if "kubernetes" not in finalizers:
            return None
        attempt = await self._empty(namespace)
        await self._report(key, attempt)
        if attempt.is_done:
            await self._finalize(key, finalizers)
            return None
        again_s = attempt.again_s()
        if again_s is None:
            raise TryAgain(_aggregate([*attempt.undiscovered.values(), *attempt.failures]))
        return min(again_s, _PATIENCE_S)

    async def _empty(self, namespace: Obj) -> Attempt:
        name = namespace["metadata"]["name"]
        attempt = Attempt()
        deletable = await self._deletable(attempt)
        age_s = self.world.now() - parse_timestamp(namespace["metadata"]["deletionTimestamp"])
        pods = [d for d in deletable if d.resource.group == "" and d.resource.plural == "pods"]
        others = [d for d in deletable if d not in pods]
        for chosen in (pods, others):
            await asyncio.gather(*(self._delete_all(d, name, age_s, attempt) for d in chosen))
            if attempt.left:
                break
        return attempt

    async def _deletable(self, attempt: Attempt) -> list[_Deletable]:
        """Namespaced resources that can be deleted, in their preferred versions."""
        found: dict[tuple[str, str], _Deletable] = {}
        groups = [("", ["v1"])]
        listing = await self.client.raw("GET", "/apis")
        groups += [(g["name"], [v["version"] for v in g["versions"]]) for g in listing["groups"]]
        for group, versions in groups:
            for version in versions:
                path = f"/apis/{group}/{version}" if group else f"/api/{version}"
                try:
                    document = await self.client.raw("GET", path)
                except ApiError as error:
                    if error.code != 404:
                        attempt.undiscovered[f"{group}/{version}"] = undiscovered(f"{group}/{version}", error)
                    continue
                for r in document["resources"]:
                    if r["namespaced"] and "/" not in r["name"] and {"delete", "list"} <= set(r["verbs"]):
                        resource = Resource(group, version, r["name"], r["kind"])
                        found.setdefault(
                            (group, r["name"]), _Deletable(resource, "deletecollection" in r["verbs"])
                        )
        return list(found.values())

    async def _delete_all(
        self, deletable: _Deletable, namespace: str, age_s: float, attempt: Attempt
    ) -> None:
        resource = deletable.resource
        try:
            before = (await self.client.list(resource, namespace))["items"]
            if not before:
                return
            if deletable.by_collection:
                await self.client.delete_collection(resource, namespace, _OPTIONS)
            else:
                await self._delete_each(resource, namespace, before)
            items = (await self.client.list(resource, namespace))["items"]
        except ApiError as error:
            if error.code not in (404, 405):
                attempt.failures.append(str(error))
            return
        if not items:
            return
        left = _count(resource, items, before, age_s)
        attempt.left.append(left)
        if not left.estimate_s:
            what = f"{resource.group}/{resource.version}, Resource={resource.plural}"
            attempt.failures.append(
                f"unexpected items still remain in namespace: {namespace} for gvr: {what}"
            )

    async def _delete_each(self, resource: Resource, namespace: str, items: list[Obj]) -> None:
        for item in items:
            try:
                await self.client.delete(resource, item["metadata"]["name"], namespace, _OPTIONS)
            except ApiError as error:
                if error.code not in (404, 405):
                    raise

    async def _finalize(self, name: str, finalizers: list[str]) -> None:
        body: Obj = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name},
            "spec": {"finalizers": [f for f in finalizers if f != "kubernetes"]},
        }
        try:
            fresh = await self.client.get(NAMESPACES, name)
            body["metadata"] = fresh["metadata"]
            await self.client.update(NAMESPACES, body, subresource="finalize")
        except ApiError as error:
            if error.code != 404:
                raise

    async def _report(self, name: str, attempt: Attempt) -> None:
        try:
            namespace = await self.client.get(NAMESPACES, name)
            status = dict(namespace.get("status") or {})
            old = status.get("conditions") or []
            status["conditions"] = self._conditions(old, attempt)
            if status["conditions"] != old:
                wanted = {**namespace, "apiVersion": "v1", "kind": "Namespace", "status": status}
                await self.client.update(NAMESPACES, wanted, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

    def _conditions(self, old: list[Obj], attempt: Attempt) -> list[Obj]:
        """Ours, brought up to date in place; those of others stay."""
        bad = problems(attempt)
        wanted = {kind: self._condition(kind, bad.get(kind), good, old) for kind, good in _MESSAGES.items()}
        kept = [wanted.pop(c["type"], c) for c in old]
        return [*kept, *wanted.values()]

    def _condition(
        self, kind: str, bad: tuple[str, str] | None, good: tuple[str, str], old: list[Obj]
    ) -> Obj:
        status = "True" if bad else "False"
        reason, message = bad or good
        present = next((c for c in old if c["type"] == kind), None)
        if present is not None and (present.get("reason"), present.get("message")) == (reason, message):
            return present
        since: Any = self.world.timestamp()
        if present is not None and present["status"] == status:
            since = present["lastTransitionTime"]
        return {
            "type": kind,
            "status": status,
            "lastTransitionTime": since,
            "reason": reason,
            "message": message,
        }


class _PodsGone:
    def __init__(self, controller: NamespaceController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        """Nothing waits for pods to come."""

    def on_update(self, old: Obj, new: Obj) -> None:
        """Nor for them to change."""

    def on_delete(self, obj: Obj) -> None:
        self._controller.pod_gone(obj["metadata"]["namespace"])


def problems(attempt: Attempt) -> dict[str, tuple[str, str]]:
    """(reason, message) by condition, of those that are not as they should be."""
    bad: dict[str, tuple[str, str]] = {}
    if attempt.undiscovered:
        whys = ", ".join(f"{name}: {why}" for name, why in sorted(attempt.undiscovered.items()))
        bad["NamespaceDeletionDiscoveryFailure"] = (
            "DiscoveryFailed",
            f"Discovery failed for some groups, {len(attempt.undiscovered)} failing: "
            f"unable to retrieve the complete list of server APIs: {whys}",
        )
    if attempt.failures:
        bad["NamespaceDeletionContentFailure"] = (
            "ContentDeletionFailed",
            ", ".join(sorted(attempt.failures)),
        )
    if attempt.left:
        parts = sorted(f"{_name(x.resource)} has {x.instances} resource instances" for x in attempt.left)
        bad["NamespaceContentRemaining"] = (
            "SomeResourcesRemain",
            "Some resources are remaining: " + ", ".join(parts),
        )
    counts: Counter[str] = Counter()
    for item in attempt.left:
        counts.update(item.finalizers)
    if counts:
        parts = sorted(f"{finalizer} in {count} resource instances" for finalizer, count in counts.items())
        bad["NamespaceFinalizersRemaining"] = (
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: " + ", ".join(parts),
        )
    return bad


def undiscovered(group_version: str, error: ApiError) -> str:
    """An API server behind this one that does not answer is known by the aggregated document to be stale."""
    return f"stale GroupVersion discovery: {group_version}" if error.code == 503 else str(error)


def _count(resource: Resource, items: list[Obj], before: list[Obj], age_s: float) -> _Left:
    finalizers = Counter(f for item in items for f in item["metadata"].get("finalizers") or ())
    estimate_s = _grace_s(before) if resource == PODS else 0
    if age_s >= estimate_s:
        estimate_s = _FINALIZER_S if finalizers else 0
    return _Left(resource, len(items), dict(finalizers), estimate_s)


def _grace_s(pods: list[Obj]) -> int:
    """The longest that a pod that still runs may take to end (estimateGracefulTerminationForPods)."""
    graces = (pod["spec"].get("terminationGracePeriodSeconds") or 0 for pod in pods if not is_terminal(pod))
    return max(graces, default=0)


def _name(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else f"{resource.plural}."


def _aggregate(messages: list[str]) -> str:
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
