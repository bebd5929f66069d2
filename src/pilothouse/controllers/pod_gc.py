"""Pod garbage collector: pods that nobody else will remove (k8s.io/kubernetes/pkg/controller/podgc,
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection).

    finished, and too many of them              the oldest beyond the threshold
    terminating, on a node that is out of service   at once
    on a node that no longer exists             after a quarantine, and a look at the API server
    terminating, and never scheduled            at once
"""

from __future__ import annotations

import logging
from typing import ClassVar

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES, PODS
from pilothouse.api.types import Obj
from pilothouse.client.pod_conditions import DISRUPTION_TARGET, condition_patch, disruption_target
from pilothouse.client.reconciler import Controller, Environment
from pilothouse.controllers.pods import condition, is_ready, is_terminal, is_terminating

log = logging.getLogger(__name__)

PERIOD_S = 20.0
QUARANTINE_S = 40.0
TERMINATED_MAX = 12_500
"""--terminated-pod-gc-threshold; 0 keeps all."""
_OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
_ROUND = "round"


class PodGarbageCollector(Controller):
    name: ClassVar[str] = "pod-garbage-collector-controller"
    workers: ClassVar[int] = 1

    def __init__(self, env: Environment, *, terminated_max: int = TERMINATED_MAX) -> None:
        super().__init__(env)
        self._terminated_max = terminated_max

    def setup(self) -> None:
        self._pods = self.informer(PODS)
        self._nodes = self.informer(NODES)
        self._missing_since: dict[str, float] = {}
        """By node that pods name and that is not there."""
        self.queue.add(_ROUND)

    async def reconcile(self, key: str) -> float | None:
        pods = list(self._pods.list())
        for pod in surplus(pods, self._terminated_max):
            await self._remove(pod)
        for pod in pods:
            if is_terminating(pod) and self._is_out_of_service(pod):
                await self._remove(pod)
        await self._remove_orphans(pods)
        for pod in pods:
            if is_terminating(pod) and not pod["spec"].get("nodeName"):
                await self._remove(pod)
        return PERIOD_S

    def _is_out_of_service(self, pod: Obj) -> bool:
        """The user has said that the node is down for good, and it is not ready indeed (KEP-2268)."""
        node = self._nodes.get(pod["spec"].get("nodeName", ""))
        if node is None or is_ready(node):
            return False
        return any(t["key"] == _OUT_OF_SERVICE for t in (node.get("spec") or {}).get("taints") or ())

    async def _remove_orphans(self, pods: list[Obj]) -> None:
        now_s = self.world.clock.monotonic()
        named = {p["spec"]["nodeName"] for p in pods if p["spec"].get("nodeName")}
        missing = {name for name in named if self._nodes.get(name) is None}
        self._missing_since = {name: self._missing_since.get(name, now_s) for name in missing}
        for name, since_s in list(self._missing_since.items()):
            if now_s - since_s < QUARANTINE_S or await self._exists(name):
                continue
            for pod in pods:
                if pod["spec"].get("nodeName") == name:
                    await self._remove(pod, "PodGC: node no longer exists")

    async def _exists(self, name: str) -> bool:
        """The informer may be behind: only the API server knows that a node is gone."""
        try:
            await self.client.get(NODES, name)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return True

    async def _remove(self, pod: Obj, disrupted: str = "") -> None:
        """Delete at once; a pod that has not finished is marked as failed before, so that it counts as that. One that
        somebody keeps (an admission webhook, say) is tried again in the next round and holds up no others."""
        meta = pod["metadata"]
        try:
            if not is_terminal(pod):
                await self._fail(pod, disrupted)
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            await self.client.delete(PODS, meta["name"], meta["namespace"], options)
        except ApiError as error:
            if error.code not in (404, 409):
                log.warning("%s: pod %s/%s: %s", self.name, meta["namespace"], meta["name"], error)

    async def _fail(self, pod: Obj, disrupted: str) -> None:
        meta = pod["metadata"]
        patch: Obj = {"metadata": {"uid": meta["uid"]}, "status": {}}
        if disrupted:
            patch = condition_patch(pod, self._target(pod, disrupted))
        patch["status"]["phase"] = "Failed"
        await self.client.patch(
            PODS, meta["name"], patch, meta["namespace"], patch_type="strategic", subresource="status"
        )

    def _target(self, pod: Obj, message: str) -> Obj:
        present = condition(pod, DISRUPTION_TARGET)
        changed = present is None or present["status"] != "True"
        since = self.world.timestamp() if changed or present is None else present.get("lastTransitionTime")
        return disruption_target(pod, "DeletionByPodGC", message, since)


def surplus(pods: list[Obj], most: int) -> list[Obj]:
    """The oldest finished pods beyond `most`, evicted ones first; none when `most` is 0."""
    if most <= 0:
        return []
    finished = [p for p in pods if is_terminal(p)]
    finished.sort(key=_by_worth)
    return finished[: max(len(finished) - most, 0)]


def _by_worth(pod: Obj) -> tuple[bool, str, str]:
    meta = pod["metadata"]
    evicted = (pod.get("status") or {}).get("reason") == "Evicted"
    return not evicted, meta.get("creationTimestamp") or "", meta["name"]
