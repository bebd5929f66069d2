"""autoscaling/v1 and v2 HorizontalPodAutoscaler: what v1 cannot say travels in annotations
(pkg/apis/autoscaling/v1/conversion.go)."""

from __future__ import annotations

from typing import Any

import msgspec

from pilothouse.api.types import Obj

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
_SPEC = ("scaleTargetRef", "minReplicas", "maxReplicas")
_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")


def to_v2(obj: Obj) -> Obj:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    meta = dict(obj["metadata"])
    annotations = dict(meta.get("annotations") or {})
    metrics = _taken(annotations, METRICS, [])
    target = spec.get("targetCPUUtilizationPercentage")
    if target is not None:
        metrics = [_cpu(target), *metrics]
    new_spec = {k: spec[k] for k in _SPEC if k in spec}
    if metrics:
        new_spec["metrics"] = metrics
    behavior = _taken(annotations, BEHAVIOR, None)
    if behavior:
        new_spec["behavior"] = behavior
    current = _taken(annotations, CURRENT, [])
    used = status.get("currentCPUUtilizationPercentage")
    if used is not None:
        current = [_current_cpu(used), *current]
    new_status: Obj = {k: status[k] for k in _STATUS if k in status}
    new_status["currentMetrics"] = current or None
    conditions = _taken(annotations, CONDITIONS, None)
    if conditions:
        new_status["conditions"] = conditions
    _put_annotations(meta, annotations)
    return {**obj, "apiVersion": "autoscaling/v2", "metadata": meta, "spec": new_spec, "status": new_status}


def to_v1(obj: Obj) -> Obj:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    meta = dict(obj["metadata"])
    annotations = dict(meta.get("annotations") or {})
    new_spec = {k: spec[k] for k in _SPEC if k in spec}
    others = []
    for metric in spec.get("metrics") or ():
        share = _cpu_share(metric, "target")
        if share is not None and "targetCPUUtilizationPercentage" not in new_spec:
            new_spec["targetCPUUtilizationPercentage"] = share
        else:
            others.append(metric)
    _give(annotations, METRICS, others)
    _give(annotations, BEHAVIOR, spec.get("behavior"))
    new_status: Obj = {k: status[k] for k in _STATUS if k in status}
    for count in ("currentReplicas", "desiredReplicas"):
        new_status.setdefault(count, 0)
    others = []
    for metric in status.get("currentMetrics") or ():
        share = _cpu_share(metric, "current")
        if share is not None and "currentCPUUtilizationPercentage" not in new_status:
            new_status["currentCPUUtilizationPercentage"] = share
        else:
            others.append(metric)
    _give(annotations, CURRENT, others)
    _give(annotations, CONDITIONS, status.get("conditions"))
    _put_annotations(meta, annotations)
    return {**obj, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": new_spec, "status": new_status}


def _cpu(share: int) -> Obj:
    target = {"type": "Utilization", "averageUtilization": share}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _current_cpu(share: int) -> Obj:
    current = {"averageValue": "0", "averageUtilization": share}
    return {"type": "Resource", "resource": {"name": "cpu", "current": current}}


def _cpu_share(metric: Obj, field: str) -> int | None:
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    share: int | None = (resource.get(field) or {}).get("averageUtilization")
    return share


def _taken(annotations: dict[str, str], name: str, otherwise: Any) -> Any:
    text = annotations.pop(name, None)
    if text is None:
        return otherwise
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return otherwise


def _give(annotations: dict[str, str], name: str, value: Any) -> None:
    if value:
        annotations[name] = msgspec.json.encode(value).decode()


def _put_annotations(meta: Obj, annotations: dict[str, str]) -> None:
    if annotations:
        meta["annotations"] = annotations
    else:
        meta.pop("annotations", None)
