"""PodTopologyLabels: a pod carries the zone and region of the node that it is bound to
(plugin/pkg/admission/podtopologylabels, KEP-4742)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import NODES
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target

LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")
_BINDING: Target = ("", "pods", "binding")


class PodTopologyLabels(Plugin):
    name: ClassVar[str] = "PodTopologyLabels"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS, _BINDING))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        """A binding's labels become the pod's. Labels that are there already stay."""
        assert a.obj is not None
        if a.subresource:
            target = a.obj.get("target") or {}
            name = target.get("name", "") if target.get("kind") == "Node" else ""
        else:
            name = a.obj["spec"].get("nodeName", "")
        node = self._lister.get(NODES, name) if name else None
        given = ((node or {}).get("metadata") or {}).get("labels") or {}
        copied = {key: given[key] for key in LABELS if key in given}
        if copied:
            meta = a.obj.setdefault("metadata", {})
            meta["labels"] = {**copied, **(meta.get("labels") or {})}
