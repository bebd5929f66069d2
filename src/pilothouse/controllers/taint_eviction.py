"""Taint eviction controller: pods leave nodes whose NoExecute taints they do not tolerate, at once or after
their tolerationSeconds (k8s.io/kubernetes/pkg/controller/tainteviction)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.taints import tolerates
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of, split_key
from pilothouse.client.pod_conditions import condition_patch, disruption_target
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.pods import is_terminating


class _Plan(NamedTuple):
    """That a pod of this UID goes at this monotonic time."""

    uid: str
    due_s: float


class TaintEvictionController(Controller):
    name: ClassVar[str] = "taint-eviction-controller"
    queue_name: ClassVar[str] = "noexec_taint_pod"

    def setup(self) -> None:
        self._pods = self.watch(PODS, changed=_moved)
        self._pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))
        self._nodes = self.watch(NODES, keys=self._pods_of, changed=_taints_changed)
        self._planned: dict[str, _Plan] = {}

    def _pods_of(self, node: Obj) -> Iterable[str]:
        return [key_of(p) for p in self._pods.by_index("node", node["metadata"]["name"])]

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        if pod is None:
            self._cancel(key)
            return None
        if is_terminating(pod):
            self._planned.pop(key, None)
            return None
        allowed_s = tolerated_s(pod, _no_execute(self._nodes.get(pod["spec"].get("nodeName", ""))))
        if not allowed_s:
            self._cancel(key)
            if allowed_s is not None:
                await self._evict(key, pod)
            return None
        plan = self._plan(key, pod, allowed_s)
        left_s = plan.due_s - self.world.clock.monotonic()
        if left_s > 0:
            return left_s
        await self._evict(key, pod)
        del self._planned[key]
        return None

    def _plan(self, key: str, pod: Obj, allowed_s: float) -> _Plan:
        """When the pod must go. What was planned first stands, whichever taints follow."""
        plan = self._planned.get(key)
        if plan is None or plan.uid != pod["metadata"]["uid"]:
            plan = _Plan(pod["metadata"]["uid"], self.world.clock.monotonic() + allowed_s)
            self._planned[key] = plan
        return plan

    def _cancel(self, key: str) -> None:
        if self._planned.pop(key, None) is not None:
            self._tell(key, f"Cancelling deletion of Pod {key}")

    def _tell(self, key: str, message: str) -> None:
        namespace, name = split_key(key)
        regarding = {"kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name}
        self.recorder.event(regarding, "Normal", "TaintManagerEviction", message)

    async def _evict(self, key: str, pod: Obj) -> None:
        namespace, name = split_key(key)
        self._tell(key, f"Marking for deletion Pod {key}")
        why = "Taint manager: deleting due to NoExecute taint"
        target = disruption_target(pod, "DeletionByTaintManager", why, self.world.timestamp())
        try:
            await self.client.patch(
                PODS,
                name,
                condition_patch(pod, target),
                namespace,
                patch_type="strategic",
                subresource="status",
            )
            await self.client.delete(PODS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise


def tolerated_s(pod: Obj, taints: list[Obj]) -> float | None:
    """Seconds that a pod may stay beside these taints: 0 to go at once, None to stay. The first toleration that
    matches a taint is the one that counts (GetMatchingTolerations, getMinTolerationTime)."""
    limits: list[float] = []
    for taint in taints:
        used = next((t for t in pod["spec"].get("tolerations") or () if tolerates(t, taint)), None)
        if used is None:
            return 0.0
        if used.get("tolerationSeconds") is not None:
            limits.append(max(float(used["tolerationSeconds"]), 0.0))
    return min(limits, default=None)


def _no_execute(node: Obj | None) -> list[Obj]:
    taints = ((node or {}).get("spec") or {}).get("taints") or ()
    return [t for t in taints if t["effect"] == "NoExecute"]


def _moved(old: Obj, new: Obj) -> bool:
    return any(old["spec"].get(name) != new["spec"].get(name) for name in ("nodeName", "tolerations"))


def _taints_changed(old: Obj, new: Obj) -> bool:
    return bool(_no_execute(old) != _no_execute(new))
