"""NamespaceLifecycle: nothing is made in a namespace that is missing or going; some namespaces never go
(k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import errors
from pilothouse.api.resources import NAMESPACES
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin

IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_ACCESS_REVIEW = ("authorization.k8s.io", "localsubjectaccessreviews")


class NamespaceLifecycle(Plugin):
    name: ClassVar[str] = "NamespaceLifecycle"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE", "DELETE"))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        resource = a.resource
        if a.operation == "DELETE":
            if resource.plural == "namespaces" and not resource.group and a.name in IMMORTAL:
                raise errors.forbidden("", "namespaces", a.name, "this namespace may not be deleted")
            return
        if not a.namespace or (resource.group, resource.plural) == _ACCESS_REVIEW:
            return
        namespace = await self._lister.sure(NAMESPACES, a.namespace)
        if namespace is None:
            raise errors.not_found("", "namespaces", a.namespace)
        if a.operation == "CREATE" and (namespace.get("status") or {}).get("phase") == "Terminating":
            raise self._terminating(a)

    def _terminating(self, a: Attributes) -> errors.ApiError:
        why = f"unable to create new content in namespace {a.namespace} because it is being terminated"
        error = a.forbidden(why)
        error.details = {
            **(error.details or {}),
            "causes": [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {a.namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ],
        }
        return error
