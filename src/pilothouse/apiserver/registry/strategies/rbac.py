"""Strategies of the kinds in rbac.authorization.k8s.io (pkg/registry/rbac).

Names may be anything that fits into a path. Escalation is refused elsewhere, before these are called.
"""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import rbac as validation
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "rbac.authorization.k8s.io"


class _AccessStrategy(Strategy):
    has_status: ClassVar[bool] = False
    allow_create_on_update: ClassVar[bool] = True
    name_message: ClassVar[str] = "path"
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create", "update")


class RoleStrategy(_AccessStrategy):
    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.role(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.role(obj)


class ClusterRoleStrategy(_AccessStrategy):
    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.cluster_role(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.cluster_role(obj, old)


class RoleBindingStrategy(_AccessStrategy):
    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.role_binding(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.role_binding(obj) + validation.role_ref_update(obj, old)


class ClusterRoleBindingStrategy(_AccessStrategy):
    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.cluster_role_binding(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.cluster_role_binding(obj) + validation.role_ref_update(obj, old)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "Role"): RoleStrategy(),
    (GROUP, "ClusterRole"): ClusterRoleStrategy(),
    (GROUP, "RoleBinding"): RoleBindingStrategy(),
    (GROUP, "ClusterRoleBinding"): ClusterRoleBindingStrategy(),
}
