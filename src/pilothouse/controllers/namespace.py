"""Namespace controller: empties a namespace that is going, then lets it go
(k8s.io/kubernetes/pkg/controller/namespace/deletion).

Every deletable resource is deleted, pods last waited for; what is left is reported in the conditions that
`kubectl describe namespace` shows.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NAMESPACES, PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.controllers.reconciler import Controller

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
_WAIT_S = 1.0


class _Left(NamedTuple):
    """What a resource still has in the namespace: object count, and how many carry which finalizer."""

    resource: Resource
    instances: int
    finalizers: dict[str, int]
    grace_s: int


class NamespaceController(Controller):
    name: ClassVar[str] = "namespace-controller"
    workers: ClassVar[int] = 10

    def setup(self) -> None:
        self._namespaces = self.watch(NAMESPACES)

    async def reconcile(self, key: str) -> float | None:
        namespace = self._namespaces.get(key)
        if namespace is None or not namespace["metadata"].get("deletionTimestamp"):
            return None
        finalizers = (namespace.get("spec") or {}).get("finalizers") or []
        if "kubernetes" not in finalizers:
            return None
        resources, undiscovered = await self._resources()
        failures: list[str] = []
        left = await asyncio.gather(*(self._empty(r, key, failures) for r in resources))
        remaining = [item for item in left if item is not None and item.instances]
        if not remaining and not failures and not undiscovered:
            await self._finalize(namespace, finalizers)
            return None
        await self._report(key, remaining, failures, undiscovered)
        grace_s = max((item.grace_s for item in remaining), default=0)
        return max(_WAIT_S, grace_s / 2 + 1 if grace_s else 0)

    async def _resources(self) -> tuple[list[Resource], list[str]]:
        """Namespaced resources that can be deleted, in their preferred versions, and what discovery missed."""
        found: dict[tuple[str, str], Resource] = {}
        problems: list[str] = []
        groups = [("", ["v1"])]
        listing = await self.client.raw("GET", "/apis")
        groups += [(g["name"], [v["version"] for v in g["versions"]]) for g in listing["groups"]]
        for group, versions in groups:
            for version in versions:
                path = f"/apis/{group}/{version}" if group else f"/api/{version}"
                try:
                    document = await self.client.raw("GET", path)
                except ApiError as error:
                    problems.append(f"{group}/{version}: {error}")
                    continue
                for r in document["resources"]:
                    if (
                        r["namespaced"]
                        and "/" not in r["name"]
                        and "delete" in r["verbs"]
                        and "list" in r["verbs"]
                    ):
                        found.setdefault((group, r["name"]), Resource(group, version, r["name"], r["kind"]))
        return list(found.values()), problems

    async def _empty(self, resource: Resource, namespace: str, failures: list[str]) -> _Left | None:
        try:
            listed = await self.client.list(resource, namespace)
            if not listed["items"]:
                return None
            await self.client.delete_collection(
                resource,
                namespace,
                {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"},
            )
            listed = await self.client.list(resource, namespace)
        except ApiError as error:
            if error.code in (404, 405):
                return None
            failures.append(f"unexpected error deleting {resource.plural}: {error}")
            return None
        return _count(resource, listed["items"])

    async def _finalize(self, namespace: Obj, finalizers: list[str]) -> None:
        name = namespace["metadata"]["name"]
        kept = [f for f in finalizers if f != "kubernetes"]
        body: Obj = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "resourceVersion": namespace["metadata"]["resourceVersion"]},
            "spec": {"finalizers": kept},
        }
        try:
            await self.client.update(NAMESPACES, body, subresource="finalize")
        except ApiError as error:
            if error.code != 404:
                raise

    async def _report(
        self, name: str, remaining: list[_Left], failures: list[str], undiscovered: list[str]
    ) -> None:
        namespace = self._namespaces.get(name)
        if namespace is None:
            return
        status = dict(namespace.get("status") or {})
        conditions = self._conditions(status.get("conditions") or [], remaining, failures, undiscovered)
        if conditions == status.get("conditions"):
            return
        status["conditions"] = conditions
        wanted = {**namespace, "apiVersion": "v1", "kind": "Namespace", "status": status}
        await self.client.update(NAMESPACES, wanted, subresource="status")

    def _conditions(
        self, old: list[Obj], remaining: list[_Left], failures: list[str], undiscovered: list[str]
    ) -> list[Obj]:
        bad: dict[str, tuple[str, str]] = {}
        if undiscovered:
            bad["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", "; ".join(undiscovered))
        if failures:
            bad["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", _aggregate(failures))
        if remaining:
            parts = sorted(
                f"{_name(item.resource)} has {item.instances} resource instances" for item in remaining
            )
            bad["NamespaceContentRemaining"] = (
                "SomeResourcesRemain",
                "Some resources are remaining: " + ", ".join(parts),
            )
        counts: dict[str, int] = {}
        for item in remaining:
            for finalizer, count in item.finalizers.items():
                counts[finalizer] = counts.get(finalizer, 0) + count
        if counts:
            parts = [
                f"{finalizer} in {count} resource instances" for finalizer, count in sorted(counts.items())
            ]
            bad["NamespaceFinalizersRemaining"] = (
                "SomeFinalizersRemain",
                "Some content in the namespace has finalizers remaining: " + ", ".join(parts),
            )
        return [self._condition(kind, bad.get(kind), good, old) for kind, good in _MESSAGES.items()]

    def _condition(
        self, kind: str, bad: tuple[str, str] | None, good: tuple[str, str], old: list[Obj]
    ) -> Obj:
        status = "True" if bad else "False"
        reason, message = bad or good
        present = next((c for c in old if c["type"] == kind), None)
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


def _count(resource: Resource, items: list[Obj]) -> _Left:
    finalizers: dict[str, int] = {}
    grace_s = 0
    for item in items:
        for finalizer in item["metadata"].get("finalizers") or ():
            finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
        if resource == PODS:
            grace_s = max(grace_s, item["metadata"].get("deletionGracePeriodSeconds") or 0)
    return _Left(resource, len(items), finalizers, min(grace_s, 15))


def _name(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else f"{resource.plural}."


def _aggregate(messages: list[str]) -> str:
    unique = list(dict.fromkeys(messages))
    return unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"
