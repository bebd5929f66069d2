"""TTL controller: how long kubelets may keep secrets and config maps, by the size of the cluster, as an annotation of
every node (k8s.io/kubernetes/pkg/controller/ttl)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from pilothouse.api.errors import ApiError
from pilothouse.api.resources import NODES
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller

ANNOTATION = "node.alpha.kubernetes.io/ttl"


class Step(NamedTuple):
    """The TTL for clusters of these sizes; neighbours overlap, so that one node more or less does not swing it."""

    size_min: int
    size_max: int
    ttl_s: int


STEPS = (
    Step(0, 100, 0),
    Step(90, 500, 15),
    Step(450, 1000, 30),
    Step(900, 2000, 60),
    Step(1800, 10000, 300),
    Step(9000, 2**31 - 1, 600),
)


def step_for(size: int, present: int) -> int:
    """The index of the step for a cluster of `size` nodes that stands on step `present`."""
    while size > STEPS[present].size_max:
        present += 1
    while size < STEPS[present].size_min:
        present -= 1
    return present


class NodeTtlController(Controller):
    name: ClassVar[str] = "ttl-controller"
    queue_name: ClassVar[str] = "ttlcontroller"

    def setup(self) -> None:
        self._step = 0
        self._nodes = self.watch(NODES, changed=_lost_annotation)

    async def reconcile(self, key: str) -> float | None:
        node = self._nodes.get(key)
        before, self._step = self._step, step_for(len(self._nodes), self._step)
        if before != self._step:
            for other in self._nodes.list():
                self.queue.add(key_of(other))
        wanted = str(STEPS[self._step].ttl_s)
        if node is None or (node["metadata"].get("annotations") or {}).get(ANNOTATION) == wanted:
            return None
        patch = {"metadata": {"annotations": {ANNOTATION: wanted}}}
        try:
            await self.client.patch(NODES, key, patch, patch_type="strategic")
        except ApiError as error:
            if error.code != 404:
                raise
        return None


def _lost_annotation(old: Obj, new: Obj) -> bool:
    """Heartbeats move nothing."""
    before, now = (o["metadata"].get("annotations") or {} for o in (old, new))
    return bool(before.get(ANNOTATION) != now.get(ANNOTATION))
