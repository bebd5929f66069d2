"""Strategies of the kinds in admissionregistration.k8s.io (pkg/registry/admissionregistration)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import admissionregistration as validation
from pilothouse.apiserver.registry.strategy import Context, MetadataCheck, Strategy

GROUP = "admissionregistration.k8s.io"


class WebhookConfigurationStrategy(Strategy):
    known_finalizers: ClassVar[bool] = False
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False

    def __init__(self, mutating: bool) -> None:
        self._mutating = mutating

    def changes_generation(self, obj: Obj, old: Obj) -> bool:
        return bool(obj.get("webhooks") != old.get("webhooks"))

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.webhook_configuration(obj, self._mutating)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.webhook_configuration(obj, self._mutating, old)


class PolicyStrategy(Strategy):
    known_finalizers: ClassVar[bool] = False
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    generation: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False


class ValidatingAdmissionPolicyStrategy(PolicyStrategy):
    status_keeps_metadata: ClassVar[bool] = True

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.validating_admission_policy(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.validating_admission_policy(obj, old)

    def validate_status_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.validating_admission_policy_status(obj)


class MutatingAdmissionPolicyStrategy(PolicyStrategy):
    has_status: ClassVar[bool] = False

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return validation.mutating_admission_policy(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return validation.mutating_admission_policy(obj, old)


class BindingStrategy(Strategy):
    known_finalizers: ClassVar[bool] = False
    metadata_checks: ClassVar[tuple[MetadataCheck, ...]] = ("create",)
    has_status: ClassVar[bool] = False
    generation: ClassVar[bool] = True
    allow_unconditional_update: ClassVar[bool] = False

    def __init__(self, rules: Callable[[Obj], f.Errors]) -> None:
        self._rules = rules

    def validate(self, ctx: Context, obj: Obj) -> f.Errors:
        return self._rules(obj)

    def validate_update(self, ctx: Context, obj: Obj, old: Obj) -> f.Errors:
        return self._rules(obj)


STRATEGIES: dict[tuple[str, str], Strategy] = {
    (GROUP, "ValidatingWebhookConfiguration"): WebhookConfigurationStrategy(mutating=False),
    (GROUP, "MutatingWebhookConfiguration"): WebhookConfigurationStrategy(mutating=True),
    (GROUP, "ValidatingAdmissionPolicy"): ValidatingAdmissionPolicyStrategy(),
    (GROUP, "MutatingAdmissionPolicy"): MutatingAdmissionPolicyStrategy(),
    (GROUP, "ValidatingAdmissionPolicyBinding"): BindingStrategy(
        validation.validating_admission_policy_binding
    ),
    (GROUP, "MutatingAdmissionPolicyBinding"): BindingStrategy(validation.mutating_admission_policy_binding),
}
