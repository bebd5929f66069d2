"""Validation of the kinds in authentication.k8s.io (pkg/apis/authentication/validation).

A TokenReview and a SelfSubjectReview have nothing to validate but what their endpoints say themselves.
"""

from __future__ import annotations

from pilothouse.api import field as f
from pilothouse.api.types import Obj

TOKEN_SECONDS_MIN = 10 * 60
TOKEN_SECONDS_MAX = 1 << 32


def token_request(obj: Obj) -> f.Errors:
    seconds, path = obj["spec"].get("expirationSeconds") or 0, "spec.expirationSeconds"
    if seconds < TOKEN_SECONDS_MIN:
        return [f.invalid(path, seconds, "may not specify a duration less than 10 minutes")]
    if seconds > TOKEN_SECONDS_MAX:
        return [f.invalid(path, seconds, "may not specify a duration larger than 2^32 seconds")]
    return []
