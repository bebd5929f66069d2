"""PodNodeSelector: a namespace says on which nodes its pods may run (plugin/pkg/admission/podnodeselector)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import errors
from pilothouse.api.resources import NAMESPACES
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.apiserver.admission.plugin import PODS, Attributes, Environment, Operation, Plugin, Target

_ANNOTATION = "scheduler.alpha.kubernetes.io/node-selector"
_CLUSTER_DEFAULT = "clusterDefaultNodeSelector"
Labels = dict[str, str]


class PodNodeSelector(Plugin):
    name: ClassVar[str] = "PodNodeSelector"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((PODS,))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister
        given: Obj = env.configuration.get(self.name) or {}
        self._configured: dict[str, str] = given.get("podNodeSelectorPluginConfig") or {}

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec, wanted = a.obj["spec"], self._wanted(a)
        self._check(a, spec, wanted)
        if wanted:
            spec["nodeSelector"] = {**wanted, **(spec.get("nodeSelector") or {})}
        self._check_allowed(a, spec)

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        self._check(a, a.obj["spec"], self._wanted(a))
        self._check_allowed(a, a.obj["spec"])

    def _wanted(self, a: Attributes) -> Labels:
        namespace = self._lister.get(NAMESPACES, a.namespace)
        if namespace is None:
            raise errors.not_found("", "namespaces", a.namespace)
        given = (namespace["metadata"].get("annotations") or {}).get(_ANNOTATION)
        return _labels(given if given is not None else self._configured.get(_CLUSTER_DEFAULT, ""))

    def _check(self, a: Attributes, spec: Obj, wanted: Labels) -> None:
        present = spec.get("nodeSelector") or {}
        if any(present.get(key, value) != value for key, value in wanted.items()):
            raise a.forbidden("pod node label selector conflicts with its namespace node label selector")

    def _check_allowed(self, a: Attributes, spec: Obj) -> None:
        allowed = _labels(self._configured.get(a.namespace, ""))
        present = spec.get("nodeSelector") or {}
        if allowed and any(allowed.get(key) != value for key, value in present.items()):
            raise a.forbidden("pod node label selector labels conflict with its namespace whitelist")


def _labels(text: str) -> Labels:
    """`a=b,c=d` (labels.ConvertSelectorToLabelsMap). 500 for anything else, as upstream's plain errors become."""
    found: Labels = {}
    for part in filter(None, text.split(",")):
        pieces = [piece.strip() for piece in part.split("=")]
        if len(pieces) != 2:
            raise errors.ApiError(500, "", f"invalid selector: {pieces}")
        for fault in (*names.is_qualified_name(pieces[0]), *names.is_label_value(pieces[1])):
            raise errors.ApiError(500, "", fault)
        found[pieces[0]] = pieces[1]
    return found
