"""Disruption controller: how many pods of each PodDisruptionBudget may be disrupted now
(k8s.io/kubernetes/pkg/controller/disruption). The eviction subresource spends what its status allows.

It also takes back DisruptionTarget conditions of pods that nobody deletes after all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api import labels
from pilothouse.api.errors import ApiError
from pilothouse.api.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
    Resource,
)
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.pod_conditions import condition_patch
from pilothouse.client.reconciler import Controller, controller_of
from pilothouse.controllers import disruption_rules as rules
from pilothouse.controllers.pods import is_terminating

_POD = "pod "
"""Before the keys of pods whose condition may be stale."""
_SCALED = (REPLICATION_CONTROLLERS, REPLICA_SETS, STATEFUL_SETS)


class UnknownScale(Exception):
    """The pods that should be there cannot be counted; the message is for the budget's condition."""


class DisruptionController(Controller):
    name: ClassVar[str] = "disruption-controller"
    queue_name: ClassVar[str] = "disruption"

    def setup(self) -> None:
        self._budgets = self.watch(POD_DISRUPTION_BUDGETS)
        self._pods = self.watch(PODS, keys=self._keys_of_pod)
        self._pods.add_handler(_Many(self))
        self._pods.add_index("namespace", lambda pod: (pod["metadata"]["namespace"],))
        self._scaled = {r.kind: self.informer(r) for r in (*_SCALED, DEPLOYMENTS)}

    def _keys_of_pod(self, pod: Obj) -> Iterable[str]:
        if rules.stale_in_s(pod, self.world.now()) is not None:
            yield _POD + key_of(pod)
        for budget in self.budgets_of(pod):
            yield key_of(budget)

    def warn_of_many(self, pod: Obj) -> None:
        """The eviction subresource refuses pods that several budgets cover."""
        found = self.budgets_of(pod)
        if len(found) > 1:
            meta = pod["metadata"]
            message = (
                f'Pod "{meta["namespace"]}"/"{meta["name"]}" matches multiple PodDisruptionBudgets.  '
                f'Chose "{found[0]["metadata"]["name"]}" arbitrarily.'
            )
            typed = {**pod, "apiVersion": "v1", "kind": "Pod"}
            self.recorder.event(typed, "Warning", "MultiplePodDisruptionBudgets", message)

    def budgets_of(self, pod: Obj) -> list[Obj]:
        """The budgets that cover a pod. Upstream wakes one of them, by chance; here all are told."""
        namespace, pod_labels = pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
        return [
            b
            for b in self._budgets.list()
            if b["metadata"]["namespace"] == namespace and _selector(b).matches(pod_labels)
        ]

    async def reconcile(self, key: str) -> float | None:
        if key.startswith(_POD):
            return await self._settle_pod(key.removeprefix(_POD))
        budget = self._budgets.get(key)
        if budget is None:
            return None
        try:
            return await self._sync(budget)
        except UnknownScale as error:
            message = f"Failed to calculate the number of expected pods: {error}"
            self._tell(budget, "Warning", "CalculateExpectedPodCountFailed", message)
            await self._fail_safe(budget, str(error))
            return None
        except ApiError as error:
            if error.code == 409:
                raise
            await self._fail_safe(budget, str(error))
            raise

    def _pods_of(self, budget: Obj) -> list[Obj]:
        selector = _selector(budget)
        candidates = self._pods.by_index("namespace", budget["metadata"]["namespace"])
        return [p for p in candidates if selector.matches(p["metadata"].get("labels") or {})]

    async def _sync(self, budget: Obj) -> float | None:
        """Count and write; seconds until a granted eviction is overdue."""
        pods = self._pods_of(budget)
        if not pods:
            self._tell(budget, "Normal", "NoPods", "No matching pods found")
        expected = len(pods) if rules.has_limit(budget) else 0
        if rules.needs_scale(budget):
            expected, unmanaged = await self._expected_scale(pods)
            if unmanaged:
                self._tell_unmanaged(budget)
        waiting = rules.pending(budget, pods, self.world.now())
        for pod in waiting.overdue:
            # As upstream: the namespace stands where the budget's name should.
            namespace = budget["metadata"]["namespace"]
            message = f"Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"
            typed = {**pod, "apiVersion": "v1", "kind": "Pod"}
            self.recorder.event(typed, "Warning", "NotDeleted", message)
        healthy = rules.healthy(pods, waiting.disrupted)
        found = rules.status(budget, expected, rules.desired(budget, expected), healthy, waiting.disrupted)
        await self._write(
            budget, rules.with_condition(found, rules.reason(found), "", self.world.timestamp())
        )
        return waiting.recheck_s

    async def _fail_safe(self, budget: Obj, message: str) -> None:
        """What cannot be counted must not be disrupted."""
        found = {**(budget.get("status") or {}), "disruptionsAllowed": 0}
        await self._write(budget, rules.with_condition(found, "SyncFailed", message, self.world.timestamp()))

    async def _write(self, budget: Obj, status: Obj) -> None:
        if status == (budget.get("status") or {}):
            return
        typed = {"apiVersion": POD_DISRUPTION_BUDGETS.group_version, "kind": POD_DISRUPTION_BUDGETS.kind}
        wanted = {**budget, **typed, "status": status}
        try:
            await self.client.update(POD_DISRUPTION_BUDGETS, wanted, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

    # -- how many pods there should be ------------------------------------------------------------------

    async def _expected_scale(self, pods: list[Obj]) -> tuple[int, bool]:
        """The sum of the scales of all controllers of the pods, and whether pods without one are among them."""
        scales: dict[str, int] = {}
        seen: set[str] = set()
        unmanaged = False
        for pod in pods:
            ref = controller_of(pod)
            if ref is None:
                unmanaged = True
            elif ref["uid"] not in seen:
                seen.add(ref["uid"])
                found = await self._scale_of(ref, pod["metadata"]["namespace"])
                if found is None:
                    raise UnknownScale(f'found no controllers for pod "{pod["metadata"]["name"]}"')
                scales[found[0]] = found[1]
        return sum(scales.values()), unmanaged

    async def _scale_of(self, ref: Obj, namespace: str) -> tuple[str, int] | None:
        """(UID, replicas) of the object that decides on the pod's number: a replica set's deployment, else its
        controller; None when it is not there."""
        known = self._scaled.get(ref["kind"])
        if known is not None and ref["apiVersion"] == known.resource.group_version:
            owner = known.get(f"{namespace}/{ref['name']}")
            if owner is None or owner["metadata"]["uid"] != ref["uid"]:
                return None
            above = controller_of(owner)
            if ref["kind"] == REPLICA_SETS.kind and above is not None and above["kind"] == DEPLOYMENTS.kind:
                return await self._scale_of(above, namespace)
            return owner["metadata"]["uid"], owner["spec"].get("replicas", 1)
        return await self._scale_by_subresource(ref, namespace)

    async def _scale_by_subresource(self, ref: Obj, namespace: str) -> tuple[str, int] | None:
        resource = await self._scalable(ref["apiVersion"], ref["kind"])
        try:
            scale = await self.client.get(resource, ref["name"], namespace, subresource="scale")
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        if scale["metadata"].get("uid") != ref["uid"]:
            return None
        return ref["uid"], (scale.get("spec") or {}).get("replicas", 0)

    async def _scalable(self, api_version: str, kind: str) -> Resource:
        """The resource of a kind, from discovery. UnknownScale when it has no scale."""
        group, _, version = api_version.rpartition("/")
        served = await self.client.raw("GET", f"/apis/{api_version}" if group else f"/api/{version}")
        entries = served["resources"]
        found = next((e for e in entries if e["kind"] == kind and "/" not in e["name"]), None)
        if found is None:
            raise UnknownScale(f'no matches for kind "{kind}" in version "{api_version}"')
        plural = found["name"]
        if not any(e["name"] == f"{plural}/scale" for e in entries):
            qualified = f"{plural}.{group}" if group else plural
            raise UnknownScale(f"{qualified} does not implement the scale subresource")
        return Resource(group, version, plural, kind, found["namespaced"])

    # -- pods that were to be disrupted -----------------------------------------------------------------

    async def _settle_pod(self, key: str) -> float | None:
        pod = self._pods.get(key)
        left_s = rules.stale_in_s(pod, self.world.now()) if pod is not None else None
        if pod is None or left_s is None or left_s > 0 or is_terminating(pod):
            return left_s
        meta = pod["metadata"]
        target = {
            "type": "DisruptionTarget",
            "status": "False",
            "observedGeneration": meta.get("generation", 0),
            "lastProbeTime": None,
            "lastTransitionTime": self.world.timestamp(),
            "reason": None,
            "message": None,
        }
        patch = condition_patch(pod, target)
        try:
            await self.client.patch(
                PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status"
            )
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    # -- events -----------------------------------------------------------------------------------------

    def _tell_unmanaged(self, budget: Obj) -> None:
        selector = rules.go_selector(budget["spec"].get("selector"))
        message = (
            f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. "
            "As a result, the status of the PDB cannot be calculated correctly, which may result in undefined "
            "behavior. "
            'To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value.'
        )
        self._tell(budget, "Warning", "UnmanagedPods", message)

    def _tell(self, budget: Obj, kind: str, reason: str, message: str) -> None:
        typed = {"apiVersion": POD_DISRUPTION_BUDGETS.group_version, "kind": POD_DISRUPTION_BUDGETS.kind}
        self.recorder.event({**budget, **typed}, kind, reason, message)


class _Many:
    def __init__(self, controller: DisruptionController) -> None:
        self._controller = controller

    def on_add(self, obj: Obj) -> None:
        self._controller.warn_of_many(obj)

    def on_update(self, old: Obj, new: Obj) -> None:
        self._controller.warn_of_many(new)

    def on_delete(self, obj: Obj) -> None:
        """It is nobody's any more."""


def _selector(budget: Obj) -> labels.Selector:
    return labels.from_label_selector(budget["spec"].get("selector"))
