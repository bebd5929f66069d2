"""Validation of PodDisruptionBudget (pkg/apis/policy/validation)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields, meta
from pilothouse.api.validation.apps import int_or_percent, percent
from pilothouse.api.validation.gotext import struct, text
from pilothouse.api.validation.pods.forms import non_negative

EVICTION_POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_SPEC = struct(MinAvailable=None, Selector=None, MaxUnavailable=None, UnhealthyPodEvictionPolicy=None)


def disruption_budget(obj: Obj) -> f.Errors:
    out: f.Errors = []
    spec = obj["spec"]
    bounds = [(key, spec[key]) for key in ("minAvailable", "maxUnavailable") if spec.get(key) is not None]
    if len(bounds) > 1:
        why = "minAvailable and maxUnavailable cannot be both set"
        out.append(f.invalid("spec", text(spec, _SPEC), why))
    for key, value in bounds:
        int_or_percent(value, f"spec.{key}", out)
        if (percent(value) or 0) > 100:
            out.append(f.invalid(f"spec.{key}", value, "must not be greater than 100%"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None and policy not in EVICTION_POLICIES:
        out.append(f.not_supported("spec.unhealthyPodEvictionPolicy", policy, EVICTION_POLICIES))
    if spec.get("selector") is not None:
        out += meta.validate_label_selector(spec["selector"], "spec.selector")
    return out


def disruption_budget_status(obj: Obj) -> f.Errors:
    status = obj["status"]
    out = fields.conditions(status.get("conditions") or [], "status.conditions")
    for key in ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"):
        non_negative(status, key, "status", out)
    return out
