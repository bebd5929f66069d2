"""Table columns of HorizontalPodAutoscaler (pkg/printers/internalversion/printers.go formatHPAMetrics).

A row shows the stored version; in version 1 the same object reads the same.
"""

from __future__ import annotations

from typing import Any

from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.tables.cells import age, name
from pilothouse.apiserver.registry.tables.column import AGE, NAME, Column, Table

UNKNOWN = "<unknown>"
SHOWN_MAX = 2
_FIELDS = {
    "Pods": "pods",
    "Object": "object",
    "External": "external",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _autoscaler(obj: Obj, now_s: float) -> list[Any]:
    spec, status = obj["spec"], obj["status"]
    target, low = spec.get("scaleTargetRef") or {}, spec.get("minReplicas")
    return [
        name(obj),
        f"{target.get('kind', '')}/{target.get('name', '')}",
        _targets(obj),
        "<unset>" if low is None else str(low),
        spec.get("maxReplicas", 0),
        status.get("currentReplicas", 0),
        age(obj, now_s),
    ]


def _targets(obj: Obj) -> str:
    spec, status = obj["spec"], obj["status"]
    if obj.get("apiVersion") == "autoscaling/v1":
        share, used = (
            spec.get("targetCPUUtilizationPercentage"),
            status.get("currentCPUUtilizationPercentage"),
        )
        return "<none>" if share is None else f"cpu: {_percent(used)}/{share}%"
    metrics, current = spec.get("metrics") or [], status.get("currentMetrics") or []
    if not metrics:
        return "<none>"
    shown = [
        text
        for i, metric in enumerate(metrics)
        if (text := _metric(metric, current[i] if i < len(current) else {}))
    ]
    if len(shown) <= SHOWN_MAX:
        return ", ".join(shown)
    return f"{', '.join(shown[:SHOWN_MAX])} + {len(metrics) - SHOWN_MAX} more..."


def _percent(share: int | None) -> str:
    return UNKNOWN if share is None else f"{share}%"


def _metric(metric: Obj, status: Obj) -> str:
    kind = metric.get("type", "")
    field = _FIELDS.get(kind)
    if field is None:
        return ""
    source = metric.get(field) or {}
    target, now = source.get("target") or {}, (status.get(field) or {}).get("current") or {}
    average = target.get("averageValue")
    if kind in ("Resource", "ContainerResource"):
        what = source.get("name", "")
        if average is not None:
            return f"{what}: {now.get('averageValue') or UNKNOWN}/{average}"
        share = target.get("averageUtilization")
        wanted = "<auto>" if share is None else f"{share}%"
        return f"{what}: {_percent(now.get('averageUtilization'))}/{wanted}"
    if kind == "Pods":
        return f"{now.get('averageValue') or UNKNOWN}/{average}"
    if average is not None:
        return f"{now.get('averageValue') or UNKNOWN}/{average} (avg)"
    return f"{now.get('value') or UNKNOWN}/{target.get('value')}"


def _scale(obj: Obj, now_s: float) -> list[Any]:
    replicas = (obj["spec"].get("replicas", 0), obj["status"].get("replicas", 0))
    return [name(obj), *replicas, age(obj, now_s)]


TABLES: dict[tuple[str, str], Table] = {
    ("autoscaling", "HorizontalPodAutoscaler"): Table(
        (
            NAME,
            Column("Reference", describe="@spec.scaleTargetRef"),
            Column("Targets", describe="@spec.metrics"),
            Column("MinPods", describe="@spec.minReplicas"),
            Column("MaxPods", describe="@spec.maxReplicas"),
            Column("Replicas", describe="@status.currentReplicas"),
            AGE,
        ),
        _autoscaler,
    ),
    ("autoscaling", "Scale"): Table(
        (
            NAME,
            Column("Desired", "integer", describe="@spec.replicas"),
            Column("Available", "integer", describe="@status.replicas"),
            AGE,
        ),
        _scale,
    ),
}
