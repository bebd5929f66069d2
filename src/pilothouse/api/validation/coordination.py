"""Validation of leases (pkg/apis/coordination/validation)."""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj


def lease(obj: Obj) -> f.Errors:
    spec: Obj = obj.get("spec") or {}
    errors: f.Errors = []
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        errors.append(f.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        why = "must be greater than or equal to 0"
        errors.append(f.invalid("spec.leaseTransitions", transitions, why))
    return errors
