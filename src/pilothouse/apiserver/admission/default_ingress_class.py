"""DefaultIngressClass: an ingress that names no class gets the default one, if there is one
(plugin/pkg/admission/network/defaultingressclass)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import INGRESS_CLASSES
from pilothouse.apiserver.admission.defaults import default_class
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target

_DEFAULT = ("ingressclass.kubernetes.io/is-default-class",)
_CLASS = "kubernetes.io/ingress.class"


class DefaultIngressClass(Plugin):
    name: ClassVar[str] = "DefaultIngressClass"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((("networking.k8s.io", "ingresses", ""),))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        named = (a.obj["metadata"].get("annotations") or {}).get(_CLASS)
        if spec.get("ingressClassName") is not None or named:
            return
        found = default_class(self._lister.list(INGRESS_CLASSES), _DEFAULT)
        if found is not None:
            spec["ingressClassName"] = found["metadata"]["name"]
