"""RBAC: roles, bindings, and what they allow
(https://kubernetes.io/docs/reference/access-authn-authz/rbac/, plugin/pkg/auth/authorizer/rbac)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pilothouse.api.field import go_quote
from pilothouse.api.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister
from pilothouse.apiserver.request import RequestInfo, UserInfo

MASTERS = "system:masters"


class Decision(NamedTuple):
    allowed: bool
    reason: str = ""


class Grants(NamedTuple):
    """What one user may do in one namespace: rules, each list with its reason; and the roles that are missing."""

    rules: list[tuple[Iterable[Obj], str]]
    missing: list[str]


_KINDS = (CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES)
_GRANTS_MAX = 4096
_ALLOWED_MAX = 4096
_ALLOWED_LENGTH_MAX = 1024
_NAMESPACE_LENGTH_MAX = 63
"""Namespaces in paths are the clients' to choose: what can be none is not worth keeping."""


class Rbac:
    """Members of system:masters may do anything; others what their grants say. Grants are kept until a role or a
    binding changes, because finding them costs more than the request that they are for."""

    def __init__(self, lister: Lister) -> None:
        self._lister = lister
        self._grants: dict[tuple[str, tuple[str, ...], str], Grants] = {}
        self._allowed: dict[tuple[str, ...], Decision] = {}
        """What was allowed, whatever the object's name, by user, namespace, verb and resource."""
        self._revisions: tuple[int, ...] = ()

    def authorize(self, user: UserInfo, info: RequestInfo) -> Decision:
        if MASTERS in user.groups:
            return Decision(True)
        self._forget_what_changed()
        key = (
            user.name,
            *user.groups,
            "",
            info.namespace,
            info.verb,
            info.group,
            info.resource,
            info.subresource,
        )
        known = self._allowed.get(key) if info.is_resource else None
        if known is not None:
            return known
        grants, of_names = self._grants_of(user, info.namespace), False
        for rules, binding in grants.rules:
            for rule in rules:
                of_names = of_names or bool(rule.get("resourceNames"))
                if allows(rule, info):
                    decision = Decision(True, binding)
                    if info.is_resource and not of_names:
                        self._keep(key, decision)
                    return decision
        return Decision(False, "RBAC: " + ", ".join(grants.missing) if grants.missing else "")

    def rules(self, user: UserInfo, namespace: str) -> list[Obj]:
        """Every rule that is the user's in a namespace, cluster-wide ones first."""
        if MASTERS in user.groups:
            return [
                {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ]
        return [rule for rules, _ in self._grants_of(user, namespace).rules for rule in rules]

    def missing(self, user: UserInfo, namespace: str) -> list[str]:
        """Of the roles that are bound to the user and do not exist: why not."""
        return self._grants_of(user, namespace).missing

    def role_rules(self, ref: Obj, namespace: str) -> Iterable[Obj] | None:
        """The rules of the role that a binding's roleRef names; None when there is no such role."""
        return self._role({"roleRef": ref}, namespace, [])

    def _grants_of(self, user: UserInfo, namespace: str) -> Grants:
        self._forget_what_changed()
        key = (user.name, user.groups, namespace)
        grants = self._grants.get(key)
        if grants is None:
            missing: list[str] = []
            grants = Grants(list(self._rules(user, namespace, missing)), missing)
            if len(namespace) <= _NAMESPACE_LENGTH_MAX:
                if len(self._grants) >= _GRANTS_MAX:
                    self._grants.clear()
                self._grants[key] = grants
        return grants

    def _forget_what_changed(self) -> None:
        revision = self._lister.revision
        revisions = tuple([revision(kind) for kind in _KINDS])
        if revisions != self._revisions:
            self._grants.clear()
            self._allowed.clear()
            self._revisions = revisions

    def _keep(self, key: tuple[str, ...], decision: Decision) -> None:
        """Resources in paths are the clients' to choose, too."""
        if sum(map(len, key)) > _ALLOWED_LENGTH_MAX:
            return
        if len(self._allowed) >= _ALLOWED_MAX:
            self._allowed.clear()
        self._allowed[key] = decision

    def _rules(
        self, user: UserInfo, namespace: str, missing: list[str]
    ) -> Iterator[tuple[Iterable[Obj], str]]:
        for binding in self._lister.list(CLUSTER_ROLE_BINDINGS):
            subject = _matching(binding, user, "")
            if subject:
                rules = self._role(binding, "", missing)
                if rules is not None:
                    yield rules, _reason("ClusterRoleBinding", binding, subject)
        if not namespace:
            return
        for binding in self._lister.list(ROLE_BINDINGS, namespace):
            subject = _matching(binding, user, namespace)
            if subject:
                rules = self._role(binding, namespace, missing)
                if rules is not None:
                    yield rules, _reason("RoleBinding", binding, subject)

    def _role(self, binding: Obj, namespace: str, missing: list[str]) -> Iterable[Obj] | None:
        ref = binding["roleRef"]
        if ref["kind"] == "ClusterRole":
            role = self._lister.get(CLUSTER_ROLES, ref["name"])
            resource = "clusterrole"
        else:
            role = self._lister.get(ROLES, ref["name"], namespace)
            resource = "role"
        if role is None:
            missing.append(f"{resource}.rbac.authorization.k8s.io {go_quote(ref['name'])} not found")
            return None
        rules: Iterable[Obj] = role.get("rules") or ()
        return rules


def _matching(binding: Obj, user: UserInfo, namespace: str) -> str:
    """The subject that names the user, as texts show it; "" for none."""
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "User" and name == user.name:
            return f"User {go_quote(name)}"
        if kind == "Group" and name in user.groups:
            return f"Group {go_quote(name)}"
        if kind == "ServiceAccount":
            where = subject.get("namespace") or namespace
            if where and user.name == f"system:serviceaccount:{where}:{name}":
                return f"ServiceAccount {go_quote(f'{name}/{where}')}"
    return ""


def _reason(kind: str, binding: Obj, subject: str) -> str:
    meta, ref = binding["metadata"], binding["roleRef"]
    name = f"{meta['name']}/{meta['namespace']}" if "namespace" in meta else meta["name"]
    return f"RBAC: allowed by {kind} {go_quote(name)} of {ref['kind']} {go_quote(ref['name'])} to {subject}"


def allows(rule: Obj, info: RequestInfo) -> bool:
    """Whether one PolicyRule covers a request."""
    verbs = rule["verbs"]
    if info.verb not in verbs and "*" not in verbs:
        return False
    if not info.is_resource:
        return any(url_matches(url, info.path) for url in rule.get("nonResourceURLs") or ())
    groups = rule.get("apiGroups") or ()
    if info.group not in groups and "*" not in groups:
        return False
    if not _resource_matches(rule.get("resources") or (), info):
        return False
    names = rule.get("resourceNames")
    return not names or info.name in names


def _resource_matches(resources: Iterable[str], info: RequestInfo) -> bool:
    combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    for resource in resources:
        if resource in ("*", combined):
            return True
        if info.subresource and resource == f"*/{info.subresource}":
            return True
    return False


def url_matches(rule: str, path: str) -> bool:
    if rule in ("*", path):
        return True
    return rule.endswith("*") and path.startswith(rule.rstrip("*"))
