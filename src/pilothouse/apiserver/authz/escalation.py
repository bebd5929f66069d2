"""Nobody grants what he does not have
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping,
pkg/registry/rbac/*/policybased).

A role may be written by who holds all its rules, or has the verb `escalate` on it; a binding by who holds all rules
of the role it names, or has the verb `bind` on that role. Members of system:masters may write any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.types import Obj
from pilothouse.apiserver.authz import coverage
from pilothouse.apiserver.authz.rbac import MASTERS, Decision, Rbac
from pilothouse.apiserver.registry.strategy import Context
from pilothouse.apiserver.request import RequestInfo, UserInfo

GROUP = "rbac.authorization.k8s.io"
_EVERYTHING: list[Obj] = [
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
]
_UNGUARDED = ("ownerReferences", "finalizers", "managedFields")
"""Metadata that the garbage collector must be able to change."""

Authorize = Callable[[UserInfo, RequestInfo], Decision]


class EscalationGuard:
    """Called with the object that is to be stored and the one in its place, after mutating admission and before
    validation. `plural` is the resource's."""

    def __init__(self, rbac: Rbac, authorize: Authorize, plural: str) -> None:
        self._rbac = rbac
        self._authorize = authorize
        self._plural = plural

    def check(self, ctx: Context, obj: Obj, old: Obj | None) -> None:
        """403 when the writer would give away more than he has."""
        if MASTERS in ctx.user.groups:
            return
        if self._plural in ("roles", "clusterroles"):
            self._check_role(ctx, obj, old)
        else:
            self._check_binding(ctx, obj, old)

    def _check_role(self, ctx: Context, obj: Obj, old: Obj | None) -> None:
        if self._may(ctx, "escalate", GROUP, self._plural, ctx.name):
            return
        if _only_for_garbage_collector(obj, old):
            return
        self._confirm(ctx, obj, obj.get("rules") or ())
        held = self._rbac.rules(ctx.user, ctx.namespace)
        # An aggregating role can gather any rule, now or later.
        if (_aggregates(obj) or _aggregates(old)) and coverage.missing(held, _EVERYTHING):
            raise self._forbidden(obj, "must have cluster-admin privileges to use the aggregationRule")

    def _check_binding(self, ctx: Context, obj: Obj, old: Obj | None) -> None:
        if _only_for_garbage_collector(obj, old):
            return
        ref = obj.get("roleRef") or {}
        kind, name = ref.get("kind", ""), ref.get("name", "")
        plural = _REFERRED.get(kind)
        if plural is None:
            raise errors.ApiError(500, "", f"unsupported role reference kind: {go_quote(kind)}")
        if self._may(ctx, "bind", ref.get("apiGroup", ""), plural, name):
            return
        rules = self._rbac.role_rules(ref, ctx.namespace)
        if rules is None:
            raise errors.not_found(GROUP, plural.removesuffix("s"), name)
        self._confirm(ctx, obj, rules)

    def _may(self, ctx: Context, verb: str, group: str, plural: str, name: str) -> bool:
        asked = RequestInfo(
            True, "", verb, group=group, version="*", namespace=ctx.namespace, resource=plural, name=name
        )
        return self._authorize(ctx.user, asked).allowed

    def _confirm(self, ctx: Context, obj: Obj, rules: Iterable[Obj]) -> None:
        user = ctx.user
        lacking = coverage.missing(self._rbac.rules(user, ctx.namespace), rules)
        if not lacking:
            return
        why = (
            f"user {go_quote(user.name)} (groups={coverage.go_list(user.groups)}) is attempting to grant RBAC "
            f"permissions not currently held:\n{coverage.describe(lacking)}"
        )
        unresolved = list(dict.fromkeys(self._rbac.missing(user, ctx.namespace)))
        if unresolved:
            listed = unresolved[0] if len(unresolved) == 1 else f"[{', '.join(unresolved)}]"
            why += f"; resolution errors: [{listed}]"
        raise self._forbidden(obj, why)

    def _forbidden(self, obj: Obj, why: str) -> errors.ApiError:
        return errors.forbidden(GROUP, self._plural, obj["metadata"].get("name", ""), why)


_REFERRED = {"ClusterRole": "clusterroles", "Role": "roles"}


def _aggregates(role: Obj | None) -> bool:
    return bool(role and (role.get("aggregationRule") or {}).get("clusterRoleSelectors"))


def _only_for_garbage_collector(obj: Obj, old: Obj | None) -> bool:
    """pkg/registry/rbac IsOnlyMutatingGCFields."""
    return old is not None and _guarded(obj) == _guarded(old)


def _guarded(obj: Obj) -> Obj:
    meta = {k: v for k, v in obj["metadata"].items() if k not in _UNGUARDED and k != "resourceVersion"}
    return {**obj, "metadata": meta}
