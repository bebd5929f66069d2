"""Defaults of HorizontalPodAutoscaler (pkg/apis/autoscaling/v1 and v2 defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj

_UP_POLICIES = (
    {"type": "Pods", "value": 4, "periodSeconds": 15},
    {"type": "Percent", "value": 100, "periodSeconds": 15},
)
_DOWN_POLICIES = ({"type": "Percent", "value": 100, "periodSeconds": 15},)


METRICS_ANNOTATION = "autoscaling.alpha.kubernetes.io/metrics"
_CPU_SHARE = 80


def autoscaler(obj: Obj) -> None:
    spec = obj.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1


def autoscaler_v1(obj: Obj) -> None:
    """Version 1 has but one metric of its own; others stand in an annotation."""
    autoscaler(obj)
    spec, annotations = obj["spec"], obj["metadata"].get("annotations") or {}
    if spec.get("targetCPUUtilizationPercentage") is None and not annotations.get(METRICS_ANNOTATION):
        spec["targetCPUUtilizationPercentage"] = _CPU_SHARE


def autoscaler_v2(obj: Obj) -> None:
    autoscaler(obj)
    spec = obj["spec"]
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _CPU_SHARE}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if behavior is not None:
        behavior["scaleUp"] = _rules(behavior.get("scaleUp"), _UP_POLICIES, 0)
        behavior["scaleDown"] = _rules(behavior.get("scaleDown"), _DOWN_POLICIES, None)


def _rules(given: Obj | None, policies: tuple[Obj, ...], stabilization_s: int | None) -> Obj:
    rules = dict(given or {})
    if rules.get("stabilizationWindowSeconds") is None and stabilization_s is not None:
        rules["stabilizationWindowSeconds"] = stabilization_s
    if rules.get("selectPolicy") is None:
        rules["selectPolicy"] = "Max"
    if rules.get("policies") is None:
        rules["policies"] = [dict(p) for p in policies]
    return rules


DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("autoscaling", "v1", "HorizontalPodAutoscaler"): autoscaler_v1,
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): autoscaler_v2,
}
