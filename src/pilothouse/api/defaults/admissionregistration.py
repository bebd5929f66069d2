"""Defaults of the kinds in admissionregistration.k8s.io (pkg/apis/admissionregistration/v1/defaults.go)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

GROUP = "admissionregistration.k8s.io"


def _rules(rules: Iterable[Any] | None) -> None:
    for rule in rules or ():
        rule.setdefault("scope", "*")


def _webhook(hook: Obj) -> None:
    service = hook["clientConfig"].get("service")
    if service is not None:
        service.setdefault("port", 443)
    _rules(hook.get("rules"))
    hook.setdefault("failurePolicy", "Fail")
    hook.setdefault("matchPolicy", "Equivalent")
    hook.setdefault("namespaceSelector", {})
    hook.setdefault("objectSelector", {})
    hook.setdefault("timeoutSeconds", 10)


def validating_webhook_configuration(obj: Obj) -> None:
    for hook in obj.get("webhooks") or ():
        _webhook(hook)


def mutating_webhook_configuration(obj: Obj) -> None:
    for hook in obj.get("webhooks") or ():
        _webhook(hook)
        hook.setdefault("reinvocationPolicy", "Never")


def _match_resources(match: Obj | None) -> None:
    if match is None:
        return
    match.setdefault("matchPolicy", "Equivalent")
    match.setdefault("namespaceSelector", {})
    match.setdefault("objectSelector", {})
    _rules(match.get("resourceRules"))
    _rules(match.get("excludeResourceRules"))


def policy(obj: Obj) -> None:
    spec = obj["spec"]
    _match_resources(spec.get("matchConstraints"))
    spec.setdefault("failurePolicy", "Fail")


def binding(obj: Obj) -> None:
    _match_resources(obj["spec"].get("matchResources"))


def binding_v1alpha1(obj: Obj) -> None:
    """The first version defaulted what happens when the parameter is missing; later ones require it."""
    binding(obj)
    ref = obj["spec"].get("paramRef")
    if ref is not None:
        ref.setdefault("parameterNotFoundAction", "Deny")


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    (GROUP, "v1", "ValidatingWebhookConfiguration"): validating_webhook_configuration,
    (GROUP, "v1", "MutatingWebhookConfiguration"): mutating_webhook_configuration,
    **{
        (GROUP, version, f"{verb}AdmissionPolicy"): policy
        for version in ("v1", "v1beta1", "v1alpha1")
        for verb in ("Validating", "Mutating")
    },
    **{
        (GROUP, version, f"{verb}AdmissionPolicyBinding"): binding
        for version in ("v1", "v1beta1")
        for verb in ("Validating", "Mutating")
    },
    (GROUP, "v1alpha1", "ValidatingAdmissionPolicyBinding"): binding_v1alpha1,
    (GROUP, "v1alpha1", "MutatingAdmissionPolicyBinding"): binding_v1alpha1,
}
