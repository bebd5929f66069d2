"""Strategies of the kinds in rbac.authorization.k8s.io (pkg/registry/rbac).

Names may be anything that fits into a path. Who gives more than he has is refused (`authz.escalation`), but for
writes that only let the garbage collector do its work.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Resource
from pilothouse.api.types import Obj
from pilothouse.api.validation import rbac as validation
from pilothouse.apiserver.authz.escalation import Writer
from pilothouse.apiserver.registry.strategy import Context, Strategy

GROUP = "rbac.authorization.k8s.io"


_COLLECTORS_FIELDS = ("ownerReferences", "finalizers", "managedFields")


class _AccessStrategy(Strategy):
    resource: ClassVar[Resource]
    has_status: ClassVar[bool] = False
    allow_create_on_update: ClassVar[bool] = True
    name_message: ClassVar[str] = "path"

    def _writer(self, ctx: Context, obj: Obj) -> Writer:
        return Writer(ctx.user, self.resource, ctx.namespace, obj["metadata"].get("name", ""))


class _AnyRoleStrategy(_AccessStrategy):
    def authorize(self, ctx: Context, obj: Obj, old: Obj | None) -> None:
        if ctx.escalation is None or (old is not None and _is_for_the_collector(obj, old)):
            return
        aggregates = any(o is not None and o.get("aggregationRule") for o in (obj, old))
        ctx.escalation.check_role(self._writer(ctx, obj), obj.get("rules") or (), aggregates=aggregates)


class _AnyBindingStrategy(_AccessStrategy):
    def authorize(self, ctx: Context, obj: Obj, old: Obj | None) -> None:
        if ctx.escalation is None or (old is not None and _is_for_the_collector(obj, old)):
            return
        ctx.escalation.check_binding(self._writer(ctx, obj), obj.get("roleRef") or {})


class RoleStrategy(_AnyRoleStrategy):
    resource = ROLES

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.role(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.role(obj)


class ClusterRoleStrategy(_AnyRoleStrategy):
    resource = CLUSTER_ROLES

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.cluster_role(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.cluster_role(obj, old)


class RoleBindingStrategy(_AnyBindingStrategy):
    resource = ROLE_BINDINGS

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.role_binding(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.role_binding(obj) + validation.role_ref_update(obj, old)


class ClusterRoleBindingStrategy(_AnyBindingStrategy):
    resource = CLUSTER_ROLE_BINDINGS

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.cluster_role_binding(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.cluster_role_binding(obj) + validation.role_ref_update(obj, old)


def _is_for_the_collector(obj: Obj, old: Obj) -> bool:
    """Whether an update changes owners and finalizers alone."""

    def rest(o: Obj) -> Obj:
        return {**o, "metadata": {k: v for k, v in o["metadata"].items() if k not in _COLLECTORS_FIELDS}}

    return rest(obj) == rest(old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "Role"): RoleStrategy(),
    (GROUP, "ClusterRole"): ClusterRoleStrategy(),
    (GROUP, "RoleBinding"): RoleBindingStrategy(),
    (GROUP, "ClusterRoleBinding"): ClusterRoleBindingStrategy(),
}
