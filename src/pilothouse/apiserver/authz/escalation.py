"""Nobody may give what he does not have: writes to roles and bindings
(pkg/registry/rbac: policybased, validation/rule.go; k8s.io/component-helpers/auth/rbac/validation).

A role's rules are broken down to single permissions, and each must be covered by one rule that the writer holds,
unless he is allowed to `escalate` the role, or to `bind` the role that a binding names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from pilothouse.api import errors
from pilothouse.api.field import go_quote
from pilothouse.api.resources import CLUSTER_ROLES, ROLES, Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.authz.rbac import MASTERS, Decision, Rbac, url_covers
from pilothouse.apiserver.request import RequestInfo, UserInfo

FULL_AUTHORITY: tuple[Obj, ...] = (
    {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
    {"verbs": ["*"], "nonResourceURLs": ["*"]},
)
_NEEDS_ALL = "must have cluster-admin privileges to use the aggregationRule"
_ROLES = {"Role": ROLES, "ClusterRole": CLUSTER_ROLES}


class Permission(NamedTuple):
    """One verb on one resource (with at most one name) or one URL."""

    verb: str
    group: str = ""
    resource: str = ""
    name: str = ""
    url: str = ""


class Writer(NamedTuple):
    """Who writes which role or binding, where."""

    user: UserInfo
    resource: Resource
    namespace: str
    name: str


class Escalation:
    """`authorize` is the whole authorizer's; rules are RBAC's alone, as upstream."""

    def __init__(self, rbac: Rbac, authorize: Callable[[UserInfo, RequestInfo], Decision]) -> None:
        self._rbac = rbac
        self._authorize = authorize

    def check_role(self, writer: Writer, rules: Iterable[Obj], *, aggregates: bool = False) -> None:
        """403 when a role would hold more than its writer. `aggregates`: it gathers rules of other roles, or did."""
        if self._may(writer, "escalate", writer.resource, writer.name):
            return
        self._check(writer, rules)
        if aggregates and self._missing(writer, FULL_AUTHORITY):
            raise _forbidden(writer, _NEEDS_ALL)

    def check_binding(self, writer: Writer, role_ref: Obj) -> None:
        """403 when a binding would give more than its writer has; 404 when there is no such role."""
        resource = _ROLES.get(role_ref.get("kind", ""))
        if resource is None:
            return  # validation says what is wrong with it
        name = role_ref.get("name", "")
        if self._may(writer, "bind", resource, name):
            return
        rules = self._rbac.rules_of(resource, name, writer.namespace)
        if rules is None:
            raise errors.not_found(resource.group, resource.plural, name)
        self._check(writer, rules)

    def _may(self, writer: Writer, verb: str, resource: Resource, name: str) -> bool:
        if MASTERS in writer.user.groups:
            return True
        question = RequestInfo(
            True,
            "",
            verb,
            group=resource.group,
            version="*",
            namespace=writer.namespace,
            resource=resource.plural,
            name=name,
        )
        return self._authorize(writer.user, question).allowed

    def _check(self, writer: Writer, rules: Iterable[Obj]) -> None:
        missing = self._missing(writer, rules)
        if not missing:
            return
        user = writer.user
        listed = "\n".join(sorted({_compact(*entry) for entry in _merged(missing)}))
        text = (
            f"user {go_quote(user.name)} (groups={_quoted(user.groups)}) is attempting to grant RBAC permissions "
            f"not currently held:\n{listed}"
        )
        unresolved = self._rbac.unresolved(user, writer.namespace)
        if unresolved:
            told = unresolved[0] if len(unresolved) == 1 else f"[{', '.join(unresolved)}]"
            text += f"; resolution errors: [{told}]"
        raise _forbidden(writer, text)

    def _missing(self, writer: Writer, rules: Iterable[Obj]) -> list[Permission]:
        held = self._rbac.rules(writer.user, writer.namespace)
        return [p for rule in rules for p in broken_down(rule) if not any(covers(h, p) for h in held)]


def broken_down(rule: Obj) -> Iterator[Permission]:
    """A PolicyRule as single permissions."""
    verbs = rule.get("verbs") or ()
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in verbs:
                for name in rule.get("resourceNames") or ("",):
                    yield Permission(verb, group, resource, name)
    for url in rule.get("nonResourceURLs") or ():
        for verb in verbs:
            yield Permission(verb, url=url)


def covers(held: Obj, wanted: Permission) -> bool:
    """Whether one PolicyRule gives a permission. `*` is covered by `*` only."""
    verbs = held.get("verbs") or ()
    if "*" not in verbs and wanted.verb not in verbs:
        return False
    if wanted.url:
        return any(url_covers(url, wanted.url) for url in held.get("nonResourceURLs") or ())
    groups = held.get("apiGroups") or ()
    if "*" not in groups and wanted.group not in groups:
        return False
    names = held.get("resourceNames") or ()
    if names and wanted.name not in names:
        return False
    resources = held.get("resources") or ()
    _, slash, subresource = wanted.resource.partition("/")
    return (
        "*" in resources or wanted.resource in resources or (bool(slash) and f"*/{subresource}" in resources)
    )


def _merged(missing: list[Permission]) -> list[tuple[Permission, list[str]]]:
    """Permissions with their verbs: those on a whole resource are told together."""
    out: list[tuple[Permission, list[str]]] = []
    simple: dict[tuple[str, str], list[str]] = {}
    for p in missing:
        verbs = simple.get((p.group, p.resource)) if not p.url and not p.name else None
        if verbs is not None:
            verbs.append(p.verb)
            continue
        out.append((p, [p.verb]))
        if not p.url and not p.name:
            simple[(p.group, p.resource)] = out[-1][1]
    return out


def _compact(p: Permission, verbs: list[str]) -> str:
    """As upstream's CompactString prints a rule."""
    if p.url:
        parts = [f"NonResourceURLs:{_quoted([p.url])}"]
    else:
        parts = [f"APIGroups:{_quoted([p.group])}", f"Resources:{_quoted([p.resource])}"]
        if p.name:
            parts.append(f"ResourceNames:{_quoted([p.name])}")
    return "{" + ", ".join([*parts, f"Verbs:{_quoted(verbs)}"]) + "}"


def _quoted(values: Iterable[str]) -> str:
    """Go's %q of a list."""
    return f"[{' '.join(map(go_quote, values))}]"


def _forbidden(writer: Writer, text: str) -> errors.ApiError:
    return errors.forbidden(writer.resource.group, writer.resource.plural, writer.name, text)
