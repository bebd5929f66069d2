"""LimitPodHardAntiAffinityTopology: a pod keeps others off its node, never off a whole zone
(plugin/pkg/admission/antiaffinity)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.apiserver.admission.plugin import PODS, Attributes, Operation, Plugin, Target

_HOSTNAME = "kubernetes.io/hostname"


class LimitPodHardAntiAffinityTopology(Plugin):
    name: ClassVar[str] = "LimitPodHardAntiAffinityTopology"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        rules = (a.obj["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
        for term in rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ():
            key = term.get("topologyKey", "")
            if key != _HOSTNAME:
                raise a.forbidden(
                    f"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {key} but only key "
                    f"{_HOSTNAME} is allowed"
                )
