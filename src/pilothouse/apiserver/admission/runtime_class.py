"""RuntimeClass: a pod gets the overhead of its runtime class, and goes where that class runs
(plugin/pkg/admission/runtimeclass, https://kubernetes.io/docs/concepts/containers/runtime-class/)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import amounts
from pilothouse.api.field import go_quote
from pilothouse.api.resources import RUNTIME_CLASSES
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission import tolerations
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target


class RuntimeClass(Plugin):
    name: ClassVar[str] = "RuntimeClass"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        found = await self._class(a, a.obj["spec"])
        if found is not None:
            _set_overhead(a, a.obj["spec"], found)
            _set_scheduling(a, a.obj["spec"], found.get("scheduling") or {})

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        found = await self._class(a, spec)
        if found is not None and found.get("overhead") is not None:
            _check_overhead(a, spec, found)
        elif spec.get("overhead") is not None:
            raise a.forbidden(
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )

    async def _class(self, a: Attributes, spec: Obj) -> Obj | None:
        name = spec.get("runtimeClassName")
        if name is None:
            return None
        found = await self._lister.sure(RUNTIME_CLASSES, name)
        if found is None:
            raise a.forbidden(f"pod rejected: RuntimeClass {go_quote(name)} not found")
        return found


def _set_overhead(a: Attributes, spec: Obj, runtime_class: Obj) -> None:
    if runtime_class.get("overhead") is None:
        return
    if spec.get("overhead") is not None:
        _check_overhead(a, spec, runtime_class)
    fixed = runtime_class["overhead"].get("podFixed")
    if fixed:
        spec["overhead"] = dict(fixed)


def _check_overhead(a: Attributes, spec: Obj, runtime_class: Obj) -> None:
    fixed = amounts.read(runtime_class["overhead"].get("podFixed"))
    if not amounts.equal(fixed, amounts.read(spec.get("overhead"))):
        raise a.forbidden("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")


def _set_scheduling(a: Attributes, spec: Obj, scheduling: Obj) -> None:
    """The class narrows down the nodes; where it contradicts the pod, nobody can be right."""
    wanted, present = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    for key in sorted(wanted):
        if key in present and present[key] != wanted[key]:
            raise a.forbidden(
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted[key]}; "
                f"pod.spec.nodeSelector[{key}] = {present[key]}"
            )
    if wanted:
        spec["nodeSelector"] = {**present, **wanted}
    if scheduling.get("tolerations"):
        spec["tolerations"] = tolerations.merge(spec.get("tolerations") or (), scheduling["tolerations"])
