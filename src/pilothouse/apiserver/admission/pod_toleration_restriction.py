"""PodTolerationRestriction: a namespace gives its pods tolerations, and says which they may have
(plugin/pkg/admission/podtolerationrestriction)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from pilothouse.api import errors
from pilothouse.api.resources import NAMESPACES
from pilothouse.api.types import Obj
from pilothouse.api.validation.pods.update import qos_class
from pilothouse.apiserver.admission import tolerations
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target

_DEFAULTS = "scheduler.alpha.kubernetes.io/defaultTolerations"
_ALLOWED = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
_MEMORY_PRESSURE = {
    "key": "node.kubernetes.io/memory-pressure",
    "operator": "Exists",
    "effect": "NoSchedule",
}


class PodTolerationRestriction(Plugin):
    name: ClassVar[str] = "PodTolerationRestriction"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        given: Obj = env.configuration.get(self.name) or {}
        self._default: list[Obj] = given.get("default") or []
        self._allowed: list[Obj] = given.get("whitelist") or []

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        if a.operation == "CREATE":
            wanted = self._said(a, _DEFAULTS, self._default)
            present: Sequence[Obj] = spec.get("tolerations") or ()
            if wanted and any(_conflict(one, other) for one in wanted for other in present):
                raise a.forbidden("pod tolerations conflict with its namespace tolerations")
            if wanted:
                spec["tolerations"] = tolerations.merge(wanted, present)
        if qos_class(spec) != "BestEffort":
            spec["tolerations"] = tolerations.merge(spec.get("tolerations") or (), (_MEMORY_PRESSURE,))

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        present = a.obj["spec"].get("tolerations") or ()
        allowed = self._said(a, _ALLOWED, self._allowed)
        if not present or not allowed:
            return
        if qos_class(a.obj["spec"]) != "BestEffort":
            allowed = tolerations.merge(allowed, (_MEMORY_PRESSURE,))
        if not all(any(tolerations.covers(wide, one) for wide in allowed) for one in present):
            raise a.forbidden(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace "
                "whitelist"
            )

    def _said(self, a: Attributes, annotation: str, otherwise: list[Obj]) -> list[Obj]:
        namespace = self._lister.get(NAMESPACES, a.namespace)
        if namespace is None:
            raise errors.not_found("", "namespaces", a.namespace)
        text = (namespace["metadata"].get("annotations") or {}).get(annotation)
        if text is None:
            return otherwise
        try:
            return msgspec.json.decode(text, type=list[Obj])
        except msgspec.DecodeError as error:
            raise errors.ApiError(500, "", str(error)) from None


def _conflict(one: Obj, other: Obj) -> bool:
    """The same taint, tolerated otherwise."""
    same = all(one.get(key, "") == other.get(key, "") for key in ("key", "effect"))
    return same and one != other
