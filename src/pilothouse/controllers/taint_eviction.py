"""Taint eviction controller: pods leave nodes whose NoExecute taints they do not tolerate, at once or after
their tolerationSeconds (k8s.io/kubernetes/pkg/controller/tainteviction)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.taints import tolerates
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of, split_key
from pilothouse.controllers.pods import is_terminating
from pilothouse.controllers.reconciler import Controller
from pilothouse.kit.world import parse_timestamp


class TaintEvictionController(Controller):
    name: ClassVar[str] = "taint-eviction-controller"

    def setup(self) -> None:
        self._pods = self.watch(PODS, changed=_moved)
        self._pods.add_index("node", lambda pod: (pod["spec"].get("nodeName", ""),))
        self._nodes = self.watch(NODES, keys=self._pods_of, changed=_taints_changed)
        self._since: dict[str, tuple[str, float]] = {}

    def _pods_of(self, node: Obj) -> Iterable[str]:
        return [key_of(p) for p in self._pods.by_index("node", node["metadata"]["name"])]

    async def reconcile(self, key: str) -> float | None:
        pod = self._pods.get(key)
        node = self._nodes.get(pod["spec"].get("nodeName", "")) if pod is not None else None
        taints = _no_execute(node)
        if pod is None or not taints or is_terminating(pod):
            self._since.pop(key, None)
            return None
        left_s = self._left_s(key, pod, taints)
        if left_s is None or left_s > 0:
            return left_s
        await self._evict(key, pod)
        return None

    def _left_s(self, key: str, pod: Obj, taints: list[Obj]) -> float | None:
        """Seconds until the pod must go; None when it may stay."""
        tolerations = pod["spec"].get("tolerations") or []
        limits: list[float] = []
        for taint in taints:
            matching = [t for t in tolerations if tolerates(t, taint)]
            if not matching:
                return 0.0
            limits += [t["tolerationSeconds"] for t in matching if t.get("tolerationSeconds") is not None]
        if not limits:
            return None
        now = self.world.now()
        started = min(parse_timestamp(t["timeAdded"]) if t.get("timeAdded") else now for t in taints)
        mark = self._since.setdefault(key, (pod["metadata"]["uid"], max(started, now - 1)))
        if mark[0] != pod["metadata"]["uid"]:
            mark = self._since[key] = (pod["metadata"]["uid"], now)
        return max(mark[1] + min(limits) - now, 0.0)

    async def _evict(self, key: str, pod: Obj) -> None:
        namespace, name = split_key(key)
        regarding = {**pod, "kind": "Pod", "apiVersion": "v1"}
        self.recorder.event(regarding, "Normal", "TaintManagerEviction", f"Marking for deletion Pod {key}")
        target = {
            "type": "DisruptionTarget",
            "status": "True",
            "observedGeneration": pod["metadata"].get("generation", 0),
            "lastProbeTime": None,
            "lastTransitionTime": self.world.timestamp(),
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        try:
            await self.client.patch(
                PODS,
                name,
                {"status": {"conditions": [target]}},
                namespace,
                patch_type="strategic",
                subresource="status",
            )
            await self.client.delete(PODS, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise


def _no_execute(node: Obj | None) -> list[Obj]:
    taints = ((node or {}).get("spec") or {}).get("taints") or ()
    return [t for t in taints if t["effect"] == "NoExecute"]


def _moved(old: Obj, new: Obj) -> bool:
    return any(old["spec"].get(name) != new["spec"].get(name) for name in ("nodeName", "tolerations"))


def _taints_changed(old: Obj, new: Obj) -> bool:
    return bool(_no_execute(old) != _no_execute(new))
