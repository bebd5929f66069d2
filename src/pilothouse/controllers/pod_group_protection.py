"""PodGroups stay while pods that have not finished belong to them
(k8s.io/kubernetes/pkg/controller/scheduling/podgroupprotection). Alpha: it runs where the API is served. Admission puts
the finalizer on; here it comes off."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.resources import POD_GROUPS, PODS
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import Controller
from pilothouse.controllers.pods import is_terminal, is_terminating

FINALIZER = "scheduling.k8s.io/podgroup-protection"


class PodGroupProtectionController(Controller):
    name: ClassVar[str] = "podgroup-protection-controller"
    queue_name: ClassVar[str] = "podgroupprotection"

    def setup(self) -> None:
        self._groups = self.watch(POD_GROUPS)
        self._pods = self.watch(
            PODS, keys=_group, changed=lambda old, new: is_terminal(old) != is_terminal(new)
        )
        self._pods.add_index("active in group", lambda pod: () if is_terminal(pod) else _group(pod))

    async def reconcile(self, key: str) -> float | None:
        group = self._groups.get(key)
        if group is None or not is_terminating(group) or self._pods.by_index("active in group", key):
            return None
        await self.set_finalizer(POD_GROUPS, group, FINALIZER, wanted=False)
        return None


def _group(pod: Obj) -> Iterable[str]:
    name = (pod["spec"].get("schedulingGroup") or {}).get("podGroupName")
    return (f"{pod['metadata']['namespace']}/{name}",) if name else ()
