"""LimitRanger: a namespace's limit ranges, for pods and claims (plugin/pkg/admission/limitranger).

Pods are looked at when they are made and when they are resized, claims at every update; what is being deleted, never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pilothouse.api.resources import LIMIT_RANGES
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import limits
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target

_RESIZE: Target = ("", "pods", "resize")
_CLAIMS: Target = ("", "persistentvolumeclaims", "")
_FAULTS: dict[str, Callable[[Obj, Obj], list[str]]] = {
    "pods": limits.pod_faults,
    "persistentvolumeclaims": limits.claim_faults,
}


class LimitRanger(Plugin):
    name: ClassVar[str] = "LimitRanger"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS, _RESIZE, _CLAIMS))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        if a.resource.plural != "pods" or not _is_looked_at(a):
            return
        assert a.obj is not None
        for limit_range in self._lister.list(LIMIT_RANGES, a.namespace):
            limits.set_defaults(a.obj, limit_range)

    async def validate(self, a: Attributes) -> None:
        if not _is_looked_at(a):
            return
        assert a.obj is not None
        for limit_range in self._lister.list(LIMIT_RANGES, a.namespace):
            faults = list(dict.fromkeys(_FAULTS[a.resource.plural](a.obj, limit_range)))
            if faults:
                raise a.forbidden(faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]")


def _is_looked_at(a: Attributes) -> bool:
    if a.resource.plural == "pods" and (a.subresource == "resize") != (a.operation == "UPDATE"):
        return False
    return not (a.old or {}).get("metadata", {}).get("deletionTimestamp")
