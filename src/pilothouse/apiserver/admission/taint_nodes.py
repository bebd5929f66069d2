"""TaintNodesByCondition: a new node takes no pods until somebody found it ready
(plugin/pkg/admission/nodetaint)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin, Target

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition(Plugin):
    name: ClassVar[str] = "TaintNodesByCondition"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((("", "nodes", ""),))

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(t["key"] == NOT_READY and t["effect"] == "NoSchedule" for t in taints):
            spec["taints"] = [*taints, {"key": NOT_READY, "effect": "NoSchedule"}]
