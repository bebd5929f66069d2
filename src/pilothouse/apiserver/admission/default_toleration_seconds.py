"""DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or not reachable
(plugin/pkg/admission/defaulttolerationseconds)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Operation, Plugin, Target

SECONDS = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class DefaultTolerationSeconds(Plugin):
    name: ClassVar[str] = "DefaultTolerationSeconds"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        present = spec.get("tolerations") or []
        missing = [key for key in _TAINTS if not any(_covers(t, key) for t in present)]
        if missing:
            added = [
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}
                for key in missing
            ]
            spec["tolerations"] = [*present, *added]


def _covers(toleration: Obj, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")
