"""OwnerReferencesPermissionEnforcement: owners are set by those who may delete the object, and owners that cannot go
before it by those who may finalize them (plugin/pkg/admission/gc)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin
from pilothouse.apiserver.request import RequestInfo

_FREE = ("", "pods", "status")
"""Kubelets do not change owners there."""


class OwnerReferencesPermissionEnforcement(Plugin):
    name: ClassVar[str] = "OwnerReferencesPermissionEnforcement"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE", "UPDATE"))

    def __init__(self, env: Environment) -> None:
        self._env = env

    def concerns(self, resource: Resource, subresource: str) -> bool:
        return (resource.group, resource.plural, subresource) != _FREE

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None
        owners, before = _owners(a.obj), _owners(a.old)
        if owners == before:
            return
        if a.operation == "UPDATE":
            self._check_delete(a)
        was_blocking = {ref.get("uid") for ref in before if ref.get("blockOwnerDeletion")}
        for ref in owners:
            if ref.get("blockOwnerDeletion") and ref.get("uid") not in was_blocking:
                self._check_finalize(a, ref)

    def _check_delete(self, a: Attributes) -> None:
        r = a.resource
        info = RequestInfo(
            True, "", "delete", "", r.group, r.version, a.namespace, r.plural, a.subresource, a.name
        )
        decision = self._env.authorize(a.user, info)
        if not decision.allowed:
            raise a.forbidden(
                f"cannot set an ownerRef on a resource you can't delete: {decision.reason}, <nil>"
            )

    def _check_finalize(self, a: Attributes, ref: Obj) -> None:
        api_version, kind = ref.get("apiVersion", ""), ref.get("kind", "")
        group, _, version = api_version.rpartition("/")
        owner = self._env.kind(group, version, kind)
        if owner is None:
            raise a.forbidden(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion "
                f'{api_version} Kind {kind}: no matches for kind "{kind}" in version "{api_version}"'
            )
        namespace = a.namespace if owner.namespaced else ""
        info = RequestInfo(
            True, "", "update", "", group, version, namespace, owner.plural, "finalizers", ref.get("name", "")
        )
        decision = self._env.authorize(a.user, info)
        if not decision.allowed:
            raise a.forbidden(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers "
                f"on: {decision.reason}, <nil>"
            )


def _owners(obj: Obj | None) -> list[Obj]:
    return list(((obj or {}).get("metadata") or {}).get("ownerReferences") or ())
