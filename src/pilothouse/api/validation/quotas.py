"""Validation of resource quotas and limit ranges (pkg/apis/core/validation)."""

from __future__ import annotations

from typing import Any

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, names
from pilothouse.api.validation.pods.resources import (
    HUGE_PAGES,
    container_resource_name,
    is_native,
    is_standard_quota_resource,
    quantity_value,
    resource_name,
)

SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
)
POD_SCOPES = (
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
)
_EXISTS_SCOPES = ("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "Terminating")
_POD_COMPUTE = frozenset(
    (
        "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory", "pods",
    )
)  # fmt: skip
_CONFLICTS = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_SELECTOR = gotext.struct(
    MatchExpressions=gotext.Maybe(gotext.struct(ScopeName="", Operator="", Values=None))
)


def resource_quota(obj: Obj) -> f.Errors:
    return quota_spec(obj.get("spec") or {}) + quota_status(obj)


def quota_spec(spec: Obj) -> f.Errors:
    errors: f.Errors = []
    hard: dict[str, str] = spec.get("hard") or {}
    _amounts(hard, "spec.hard", errors)
    scopes = spec.get("scopes")
    if scopes:
        _scopes(scopes, hard, errors)
    if spec.get("scopeSelector") is not None:
        _selector(spec, hard, errors)
    return errors


def quota_status(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    status = obj.get("status") or {}
    for key in ("hard", "used"):
        _amounts(status.get(key) or {}, f"status.{key}", errors)
    return errors


def _amounts(amounts: dict[str, str], path: str, out: f.Errors) -> None:
    for name, amount in amounts.items():
        at = f"{path}[{name}]"
        resource_name(name, at, out)
        if "/" not in name and not is_standard_quota_resource(name):
            out.append(f.invalid(at, name, "must be a standard resource for quota"))
        quantity_value(name, amount, at, out)


def _applies(scope: str, name: str) -> bool:
    """Whether a scope means something for a resource (helper.IsResourceQuotaScopeValidForResource)."""
    if scope == "BestEffort":
        return name == "pods"
    if scope in POD_SCOPES:
        return name in _POD_COMPUTE
    if scope == "VolumeAttributesClass":
        return name in ("persistentvolumeclaims", "requests.storage")
    return True


def _scopes(scopes: list[str], hard: dict[str, str], out: f.Errors) -> None:
    path = "spec.scopes"
    for scope in scopes:
        if scope not in SCOPES:
            out.append(f.invalid(path, scopes, "unsupported scope"))
        for name in sorted(hard):
            if is_standard_quota_resource(name) and not _applies(scope, name):
                out.append(f.invalid(path, scopes, "unsupported scope applied to resource"))
    for pair in _CONFLICTS:
        if set(pair) <= set(scopes):
            out.append(f.invalid(path, scopes, "conflicting scopes"))


def _selector(spec: Obj, hard: dict[str, str], out: f.Errors) -> None:
    path = "spec.scopeSelector.matchExpressions"
    selector = spec["scopeSelector"]
    found: set[str] = set()
    for term in selector.get("matchExpressions") or ():
        scope, operator, values = term.get("scopeName", ""), term.get("operator", ""), term.get("values")
        if scope not in SCOPES:
            out.append(f.invalid(f"{path}.scopeName", scope, "unsupported scope"))
        for name in sorted(hard):
            if is_standard_quota_resource(name) and not _applies(scope, name):
                why = "unsupported scope applied to resource"
                out.append(f.invalid(path, gotext.text(selector, _SELECTOR), why))
        _term_operator(scope, operator, values, path, out)
        found.add(scope)
    for pair in _CONFLICTS:
        if set(pair) <= found:
            shown: Any = spec.get("scopes") or gotext.NULL
            out.append(f.invalid(path, shown, "conflicting scopes"))


def _term_operator(scope: str, operator: str, values: list[str] | None, path: str, out: f.Errors) -> None:
    if scope in _EXISTS_SCOPES and operator != "Exists":
        why = (
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "
            "ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort "
            "or ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        out.append(f.invalid(f"{path}.operator", operator, why))
    if operator in ("In", "NotIn"):
        if not values:
            why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            out.append(f.required(f"{path}.values", why))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
            out.append(f.invalid(f"{path}.values", values, why))
    else:
        out.append(f.invalid(f"{path}.operator", operator, "not a valid selector operator"))


def resource_quota_update(obj: Obj, old: Obj) -> f.Errors:
    errors = quota_spec(obj.get("spec") or {})
    new, before = ((o.get("spec") or {}).get("scopes") or [] for o in (obj, old))
    if set(new) != set(before):
        errors.append(f.invalid("spec.scopes", new or gotext.NULL, "field is immutable"))
    return errors


# Limit ranges

LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_MILLI_MAX = (1 << 63) - 1
_MILLI_SAFE = _MILLI_MAX // 1000


def limit_range(obj: Obj) -> f.Errors:
    errors: f.Errors = []
    seen: set[str] = set()
    for i, limit in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, kind = f"spec.limits[{i}]", limit.get("type", "")
        errors += _limit_type(kind, f"{path}.type")
        if kind in seen:
            errors.append(f.duplicate(f"{path}.type", kind))
        seen.add(kind)
        _limit(limit, kind, path, errors)
    return errors


def _limit_type(kind: str, path: str) -> f.Errors:
    faults = names.is_qualified_name(kind)
    if faults:
        return [f.invalid(path, kind, why) for why in faults]
    if "/" not in kind and kind not in LIMIT_TYPES:
        return [f.invalid(path, kind, "must be a standard limit type or fully qualified")]
    return []


def _limit(limit: Obj, kind: str, path: str, out: f.Errors) -> None:
    check = container_resource_name if kind in ("Pod", "Container") else resource_name
    known: dict[str, None] = {}

    def take(key: str) -> dict[str, quantity.Quantity]:
        found = {}
        for name, amount in (limit.get(key) or {}).items():
            check(name, f"{path}.{key}[{name}]", out)
            known[name] = None
            found[name] = quantity.parse(amount)
        return found

    most, least = take("max"), take("min")
    default: dict[str, quantity.Quantity] = {}
    request: dict[str, quantity.Quantity] = {}
    if kind == "Pod":
        for key in ("default", "defaultRequest"):
            if limit.get(key):
                out.append(f.forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
    else:
        default, request = take("default"), take("defaultRequest")
    if kind == "PersistentVolumeClaim" and "storage" not in least and "storage" not in most:
        why = "either minimum or maximum storage value is required, but neither was provided"
        out.append(f.required(f"{path}.limits", why))
    ratio = take("maxLimitRequestRatio")
    for name in known:
        of = _Amounts(*(group.get(name) for group in (least, most, default, request, ratio)))
        of.check(name, path, out)


class _Amounts:
    """All that a limit says of one resource; None where it says nothing."""

    def __init__(
        self,
        least: quantity.Quantity | None,
        most: quantity.Quantity | None,
        default: quantity.Quantity | None,
        request: quantity.Quantity | None,
        ratio: quantity.Quantity | None,
    ) -> None:
        self.least = least
        self.most = most
        self.default = default
        self.request = request
        self.ratio = ratio

    def check(self, name: str, path: str, out: f.Errors) -> None:
        for low, high, key, shown, text in (
            (self.least, self.most, "min", self.least, "min value {} is greater than max value {}"),
            (
                self.least,
                self.request,
                "defaultRequest",
                self.request,
                "min value {} is greater than default request value {}",
            ),
            (
                self.request,
                self.most,
                "defaultRequest",
                self.request,
                "default request value {} is greater than max value {}",
            ),
            (
                self.request,
                self.default,
                "defaultRequest",
                self.request,
                "default request value {} is greater than default limit value {}",
            ),
            (
                self.least,
                self.default,
                "default",
                self.least,
                "min value {} is greater than default value {}",
            ),
            (self.default, self.most, "default", self.most, "default value {} is greater than max value {}"),
        ):
            if low is not None and high is not None and low.nano > high.nano:
                out.append(f.invalid(f"{path}.{key}[{name}]", str(shown), text.format(low, high)))
        self._check_ratio(f"{path}.maxLimitRequestRatio[{name}]", out)
        self._check_equal(name, path, out)

    def _check_ratio(self, path: str, out: f.Errors) -> None:
        ratio, least, most = self.ratio, self.least, self.most
        if ratio is None:
            return
        if ratio.nano < 10**9:
            out.append(f.invalid(path, str(ratio), f"ratio {ratio} is less than 1"))
        if least is None or most is None:
            return
        wanted, low, high = float(ratio.value), least.value, most.value
        if max(ratio.value, low, high) < _MILLI_SAFE:
            wanted, low, high = ratio.milli / 1000, least.milli, most.milli
        if low == 0:
            return
        if wanted > high / low:
            why = f"ratio {ratio} is greater than max/min = {high / low:.6f}"
            out.append(f.invalid(path, str(ratio), why))

    def _check_equal(self, name: str, path: str, out: f.Errors) -> None:
        """What cannot be overcommitted has one amount."""
        if is_native(name) and not name.startswith(HUGE_PAGES):
            return
        default, request = self.default, self.request
        if default is not None and request is not None and default.nano != request.nano:
            why = f"default value {default} must equal to defaultRequest value {request} in {name}"
            out.append(f.invalid(f"{path}.defaultRequest[{name}]", str(request), why))
