"""Validation of HorizontalPodAutoscaler in its stored version (pkg/apis/autoscaling/validation)."""

from __future__ import annotations

from collections.abc import Callable

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.pods.forms import non_negative

SOURCE_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
STABILIZATION_S_MAX = 3600
PERIOD_S_MAX = 1800
EITHER_VALUE = "must set either a target value for metric or a per-pod target"
EITHER_RAW = "must set either a target raw value or a target utilization"
NO_SOURCE = "must populate information for the given metric source"


def autoscaler(obj: Obj, *, to_zero: bool = False) -> f.Errors:
    """`to_zero`: there may be none at all."""
    out: f.Errors = []
    spec = obj["spec"]
    low, high = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    least = 0 if to_zero else 1
    if low is not None and low < least:
        out.append(f.invalid("spec.minReplicas", low, f"must be greater than or equal to {least}"))
    if high < 1:
        out.append(f.required("spec.maxReplicas", "must be set and greater than 0"))
    if low is not None and high < low:
        why = "must be greater than or equal to `minReplicas`"
        out.append(f.invalid("spec.maxReplicas", high, why))
    target = spec.get("scaleTargetRef") or {}
    _reference(target, "spec.scaleTargetRef", out, core=target.get("kind") == "ReplicationController")
    _metrics(spec.get("metrics") or [], "spec.metrics", low, out)
    behavior = spec.get("behavior")
    for key in ("scaleUp", "scaleDown") if behavior is not None else ():
        if behavior.get(key) is not None:
            _rules(behavior[key], f"spec.behavior.{key}", out)
    return out


def autoscaler_status(obj: Obj) -> f.Errors:
    out: f.Errors = []
    non_negative(obj["status"], "currentReplicas", "status", out)
    non_negative(obj["status"], "desiredReplicas", "status", out)
    return out


def _reference(reference: Obj, path: str, out: f.Errors, *, core: bool) -> None:
    """`core`: a kind of the core group will do."""
    for key in ("kind", "name"):
        value = reference.get(key)
        if not value:
            out.append(f.required(f"{path}.{key}"))
        else:
            out += [f.invalid(f"{path}.{key}", value, text) for text in names.path_segment(value)]
    version = reference.get("apiVersion", "")
    if version.count("/") > 1:
        why = f"unexpected GroupVersion string: {version}"
        out.append(f.invalid(f"{path}.apiVersion", version, why))
    elif not core and not version.rpartition("/")[0]:
        out.append(f.invalid(f"{path}.apiVersion", version, "apiVersion must specify API group"))


def _metrics(metrics: list[Obj], path: str, low: int | None, out: f.Errors) -> None:
    for i, metric in enumerate(metrics):
        _metric(metric, f"{path}[{i}]", out)
    if low == 0 and not any(metric.get("type") in ("Object", "External") for metric in metrics):
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        out.append(f.forbidden(path, why))


def _metric(metric: Obj, path: str, out: f.Errors) -> None:
    kind = metric.get("type", "")
    if not kind:
        out.append(f.required(f"{path}.type", "must specify a metric source type"))
    elif kind not in SOURCE_TYPES:
        out.append(f.not_supported(f"{path}.type", kind, SOURCE_TYPES))
    given = [key for key in _SOURCES if metric.get(key) is not None]
    if given:
        _SOURCES[given[0]](metric[given[0]], f"{path}.{given[0]}", out)
    if kind not in SOURCE_TYPES:
        out.append(f.not_supported(f"{path}.type", kind, SOURCE_TYPES))
    wanted = kind[:1].lower() + kind[1:] if kind in SOURCE_TYPES else ""
    if wanted and wanted not in given:
        out.append(f.required(f"{path}.{wanted}", NO_SOURCE))
    if len(given) != 1:
        for key in given:
            if key != wanted:
                why = "must populate the given metric source only"
                out.append(f.forbidden(f"{path}.{key}", why))


def _object(source: Obj, path: str, out: f.Errors) -> None:
    _reference(source.get("describedObject") or {}, f"{path}.describedObject", out, core=True)
    _identifier(source, path, out)
    target = _target(source, path, out)
    if target.get("value") is None and target.get("averageValue") is None:
        out.append(f.required(f"{path}.target.averageValue", EITHER_VALUE))


def _external(source: Obj, path: str, out: f.Errors) -> None:
    _identifier(source, path, out)
    target = _target(source, path, out)
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        out.append(f.required(f"{path}.target.averageValue", EITHER_VALUE))
    if value is not None and average is not None:
        why = "may not set both a target value for metric and a per-pod target"
        out.append(f.forbidden(f"{path}.target.value", why))


def _pods(source: Obj, path: str, out: f.Errors) -> None:
    _identifier(source, path, out)
    average = _target(source, path, out).get("averageValue")
    if average is None or quantity.parse(average).nano <= 0:
        why = "must specify a positive target averageValue"
        out.append(f.required(f"{path}.target.averageValue", why))


def _resource(source: Obj, path: str, out: f.Errors) -> None:
    if not source.get("name"):
        out.append(f.required(f"{path}.name", "must specify a resource name"))
    _resource_target(source, path, out)


def _container_resource(source: Obj, path: str, out: f.Errors) -> None:
    if not source.get("name"):
        out.append(f.required(f"{path}.name", "must specify a resource name"))
    if not source.get("container"):
        out.append(f.required(f"{path}.container", "must specify a container"))
    _resource_target(source, path, out)


def _resource_target(source: Obj, path: str, out: f.Errors) -> None:
    target = _target(source, path, out)
    share, average = target.get("averageUtilization"), target.get("averageValue")
    if share is None and average is None:
        out.append(f.required(f"{path}.target.averageUtilization", EITHER_RAW))
    if share is not None and average is not None:
        why = "may not set both a target raw value and a target utilization"
        out.append(f.forbidden(f"{path}.target.averageValue", why))


_SOURCES: dict[str, Callable[[Obj, str, f.Errors], None]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}
"""By field, in upstream's order."""


def _identifier(source: Obj, path: str, out: f.Errors) -> None:
    name = (source.get("metric") or {}).get("name", "")
    if not name:
        out.append(f.required(f"{path}.metric.name", "must specify a metric name"))
    elif found := names.path_segment(name):
        out.append(f.invalid(f"{path}.metric.name", name, ", ".join(found)))


def _target(source: Obj, path: str, out: f.Errors) -> Obj:
    target: Obj = source.get("target") or {}
    at, kind = f"{path}.target", target.get("type", "")
    if not kind:
        out.append(f.required(f"{at}.type", "must specify a metric target type"))
    if kind not in ("Utilization", "Value", "AverageValue"):
        why = "must be either Utilization, Value, or AverageValue"
        out.append(f.invalid(f"{at}.type", kind, why))
    for key in ("value", "averageValue"):
        amount = target.get(key)
        if amount is not None and quantity.parse(amount).nano <= 0:
            out.append(f.invalid(f"{at}.{key}", amount, "must be positive"))
    share = target.get("averageUtilization")
    if share is not None and share < 1:
        out.append(f.invalid(f"{at}.averageUtilization", share, "must be greater than 0"))
    return target


def _rules(rules: Obj, path: str, out: f.Errors) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None:
        _seconds(window, f"{path}.stabilizationWindowSeconds", 0, STABILIZATION_S_MAX, out)
    select = rules.get("selectPolicy")
    if select is not None and select not in ("Disabled", "Max", "Min"):
        out.append(f.not_supported(f"{path}.selectPolicy", select, ("Disabled", "Max", "Min")))
    policies = rules.get("policies") or []
    if not policies:
        out.append(f.required(f"{path}.policies", "must specify at least one Policy"))
    for i, policy in enumerate(policies):
        at = f"{path}.policies[{i}]"
        if policy.get("type") not in ("Percent", "Pods"):
            out.append(f.not_supported(f"{at}.type", policy.get("type", ""), ("Percent", "Pods")))
        if policy.get("value", 0) <= 0:
            out.append(f.invalid(f"{at}.value", policy.get("value", 0), "must be greater than zero"))
        _seconds(policy.get("periodSeconds", 0), f"{at}.periodSeconds", 1, PERIOD_S_MAX, out)
    tolerance = rules.get("tolerance")
    if tolerance is not None and quantity.parse(tolerance).nano < 0:
        out.append(f.invalid(f"{path}.tolerance", tolerance, "must be greater or equal to 0"))


def _seconds(value: int, path: str, least: int, most: int, out: f.Errors) -> None:
    if value < least:
        why = "must be greater than zero" if least else "must be greater than or equal to zero"
        out.append(f.invalid(path, value, why))
    if value > most:
        out.append(f.invalid(path, value, f"must be less than or equal to {most}"))
