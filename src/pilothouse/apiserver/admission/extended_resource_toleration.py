"""ExtendedResourceToleration: pods that ask for a vendor's devices tolerate the taint that keeps others off those nodes
(plugin/pkg/admission/extendedresourcetoleration)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.validation.pods.resources import is_extended
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Operation, Plugin, Target


class ExtendedResourceToleration(Plugin):
    name: ClassVar[str] = "ExtendedResourceToleration"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        asked = {
            name
            for key in ("containers", "initContainers")
            for container in spec.get(key) or ()
            for name in (container.get("resources") or {}).get("requests") or ()
            if is_extended(name)
        }
        present = list(spec.get("tolerations") or ())
        wanted = [{"key": name, "operator": "Exists", "effect": "NoSchedule"} for name in sorted(asked)]
        missing = [toleration for toleration in wanted if toleration not in present]
        if missing:
            spec["tolerations"] = [*present, *missing]
