"""Which evaluator is for which resource (pkg/quota/v1/install, evaluator/core/registry.go)."""

from __future__ import annotations

from functools import lru_cache

from pilothouse.api.quota.device_claims import DeviceClaimEvaluator
from pilothouse.api.quota.evaluator import Evaluator, ObjectCount
from pilothouse.api.quota.pods import PodEvaluator
from pilothouse.api.quota.services import ServiceEvaluator
from pilothouse.api.quota.volume_claims import VolumeClaimEvaluator

IGNORED = frozenset(
    (
        ("", "bindings"),
        ("", "componentstatuses"),
        ("", "events"),
        ("events.k8s.io", "events"),
        ("authentication.k8s.io", "tokenreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
        ("authorization.k8s.io", "subjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "localsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
    )
)
"""Group and plural of what is never counted: nothing is stored, or never was counted."""

_SPECIAL: dict[tuple[str, str], Evaluator] = {
    (e.group, e.plural): e
    for e in (
        PodEvaluator(),
        ServiceEvaluator(),
        VolumeClaimEvaluator(),
        DeviceClaimEvaluator(),
        ObjectCount("", "configmaps", "configmaps"),
        ObjectCount("", "resourcequotas", "resourcequotas"),
        ObjectCount("", "replicationcontrollers", "replicationcontrollers"),
        ObjectCount("", "secrets", "secrets"),
    )
}


@lru_cache(maxsize=1024)
def evaluator(group: str, plural: str) -> Evaluator:
    """Any resource can be counted, custom ones too."""
    return _SPECIAL.get((group, plural)) or ObjectCount(group, plural)
