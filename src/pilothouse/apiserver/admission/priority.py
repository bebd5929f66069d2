"""Priority: a pod's class becomes its number (plugin/pkg/admission/priority)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.field import go_quote
from pilothouse.api.resources import PRIORITY_CLASSES
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target

_CLASSES: Target = ("scheduling.k8s.io", "priorityclasses", "")
_DEFAULT_POLICY = "PreemptLowerPriority"


class Priority(Plugin):
    name: ClassVar[str] = "Priority"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS, _CLASSES))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        if a.resource.plural != "pods" or a.obj is None:
            return
        spec = a.obj["spec"]
        if a.operation == "UPDATE":
            _keep(spec, a.old or {})
            return
        name = spec.get("priorityClassName", "")
        priority_class = await self._named(a, name) if name else self._default()
        value, policy = 0, _DEFAULT_POLICY
        if priority_class is not None:
            value = priority_class["value"]
            policy = priority_class.get("preemptionPolicy") or _DEFAULT_POLICY
            spec["priorityClassName"] = priority_class["metadata"]["name"]
        sent = spec.get("priority")
        if sent is not None and sent != value:
            why = (
                f"the integer value of priority ({sent}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
            raise a.forbidden(why)
        sent_policy = spec.get("preemptionPolicy")
        if sent_policy is not None and sent_policy != policy:
            why = (
                f"the string value of PreemptionPolicy ({sent_policy}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name"
            )
            raise a.forbidden(why)
        spec["priority"], spec["preemptionPolicy"] = value, policy

    async def _named(self, a: Attributes, name: str) -> Obj:
        found = await self._lister.sure(PRIORITY_CLASSES, name)
        if found is None:
            raise a.forbidden(f"no PriorityClass with name {name} was found")
        return found

    def _default(self) -> Obj | None:
        """The class marked globalDefault; the lowest when several are."""
        marked = [c for c in self._lister.list(PRIORITY_CLASSES) if c.get("globalDefault")]
        return min(marked, key=lambda c: c["value"]) if marked else None

    async def validate(self, a: Attributes) -> None:
        """At most one class may be the default."""
        if a.resource.plural != "priorityclasses" or a.obj is None or not a.obj.get("globalDefault"):
            return
        for other in self._lister.list(PRIORITY_CLASSES):
            if other.get("globalDefault") and other["metadata"]["name"] != a.name:
                why = (
                    f"PriorityClass {go_quote(other['metadata']['name'])} is already marked as default. "
                    "Only one default can exist"
                )
                raise a.forbidden(why)


def _keep(spec: Obj, old: Obj) -> None:
    """An update may leave priority and policy out."""
    before = old.get("spec") or {}
    for field in ("priority", "preemptionPolicy"):
        if spec.get(field) is None and before.get(field) is not None:
            spec[field] = before[field]
