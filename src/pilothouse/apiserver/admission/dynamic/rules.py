"""Whether a rule is about an operation (k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules)."""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes

GROUP = "admissionregistration.k8s.io"
_EXEMPT = frozenset(
    (
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    )
)


def is_exempt(a: Attributes) -> bool:
    """Configurations are never intercepted: a bad one must not keep its own removal out."""
    return a.kind.group == GROUP and a.kind.kind in _EXEMPT


def matches(rule: Obj, a: Attributes, resource: Resource, namespace: str) -> bool:
    """`resource` is what the request is for, or an equivalent of it; `namespace` is a namespace's own name where the
    request is for one."""
    return _in_scope(rule.get("scope") or "*", resource, namespace) and names(rule, a, resource)


def names(rule: Obj, a: Attributes, resource: Resource) -> bool:
    """The same but for the scope: all of it hangs on the kind of write alone."""
    return (
        _named(rule.get("operations") or (), a.operation)
        and _named(rule.get("apiGroups") or (), resource.group)
        and _named(rule.get("apiVersions") or (), resource.version)
        and _has_resource(rule.get("resources") or (), resource.plural, a.subresource)
    )


def _in_scope(scope: str, resource: Resource, namespace: str) -> bool:
    if scope == "*":
        return True
    is_namespace = (resource.group, resource.plural) == ("", "namespaces")
    in_namespace = bool(namespace) and not is_namespace
    return in_namespace if scope == "Namespaced" else not in_namespace


def _named(items: Sequence[str], wanted: str) -> bool:
    return wanted in items or "*" in items


def _has_resource(items: Sequence[str], plural: str, subresource: str) -> bool:
    for item in items:
        parent, _, sub = item.partition("/")
        if parent in ("*", plural) and sub in ("*", subresource):
            return True
    return False
