"""PodGroupProtection: groups are kept while pods belong to them (plugin/pkg/admission/podgroupprotection, by the gate
GenericWorkload)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import POD_GROUPS
from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin, Target

_FINALIZER = "scheduling.k8s.io/podgroup-protection"


class PodGroupProtection(Plugin):
    name: ClassVar[str] = "PodGroupProtection"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset(((POD_GROUPS.group, POD_GROUPS.plural, ""),))

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        present = a.obj["metadata"].get("finalizers") or []
        if _FINALIZER not in present:
            a.obj["metadata"]["finalizers"] = [*present, _FINALIZER]
