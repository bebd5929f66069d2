"""Pods: their number, what they request and may use (pkg/quota/v1/evaluator/core/pods.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pilothouse.api import amounts, pod_resources
from pilothouse.api.amounts import Amounts
from pilothouse.api.quota import scopes
from pilothouse.api.quota.evaluator import ONE, Evaluator
from pilothouse.api.types import Obj
from pilothouse.api.validation.pods.resources import HUGE_PAGES, is_extended, is_native
from pilothouse.api.validation.pods.update import qos_class
from pilothouse.kit.world import parse_timestamp

_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_NAMES = frozenset(
    ("pods", *_COMPUTE, *(f"{key}.{name}" for key in ("requests", "limits") for name in _COMPUTE))
)
_MUST_BE_SAID = frozenset(("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"))
"""Under a quota of these every container must say its own. Upstream calls that a mistake, and adds no more."""
_REQUESTS = "requests."
_DEVICE_CLASS = "deviceclass.resource.kubernetes.io/"
"""Devices of a class, asked for as an extended resource (KEP-5004)."""


class PodEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("", "pods")

    def handles(self, operation: str, subresource: str, obj: Obj, old: Obj | None) -> bool:
        if subresource == "resize":
            return operation == "UPDATE"
        if subresource:
            return False
        if operation == "UPDATE":
            return old is not None and _is_terminating(old) != _is_terminating(obj)
        return operation == "CREATE"

    def matching(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if name in _NAMES or name == self.count_name or _is_special(name)]

    def usage(self, obj: Obj, now_s: float) -> Amounts:
        """Finished pods, and those that outlived their grace, count as objects but use nothing."""
        total: Amounts = {self.count_name: ONE}
        if is_charged(obj, now_s):
            total.update(_compute(pod_resources.requests(obj), pod_resources.limits(obj)))
        return total

    def in_scope(self, selector: Obj, obj: Obj) -> bool:
        match selector["scopeName"]:
            case "Terminating":
                return _is_terminating(obj)
            case "NotTerminating":
                return not _is_terminating(obj)
            case "BestEffort":
                return qos_class(obj["spec"]) == "BestEffort"
            case "NotBestEffort":
                return qos_class(obj["spec"]) != "BestEffort"
            case "PriorityClass":
                name = obj["spec"].get("priorityClassName", "")
                return scopes.matches_values(selector, {"PriorityClass": name} if name else {})
            case "CrossNamespacePodAffinity":
                return any(t.get("namespaces") or t.get("namespaceSelector") is not None for t in _terms(obj))
        return False

    def missing(self, names: Iterable[str], obj: Obj) -> str:
        spec = obj["spec"]
        if pod_resources.is_set_at_pod_level(spec):
            return ""
        required = sorted(_MUST_BE_SAID.intersection(names))
        silent: dict[str, set[str]] = {}
        for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
            resources = container.get("resources") or {}
            said = _compute(amounts.read(resources.get("requests")), amounts.read(resources.get("limits")))
            for name in required:
                if name not in said:
                    silent.setdefault(name, set()).add(container["name"])
        if not silent:
            return ""
        return "must specify " + "; ".join(
            f"{name} for: {','.join(sorted(silent[name]))}" for name in sorted(silent)
        )

    def replenishes(self, old: Obj, new: Obj, now_s: float) -> bool:
        if _is_terminating(old) != _is_terminating(new) or _allocated(old) != _allocated(new):
            return True
        return is_charged(old, now_s) and not is_charged(new, now_s)


def is_charged(pod: Obj, now_s: float) -> bool:
    """A pod that is stuck terminating must not keep its service from starting another (QuotaV1Pod)."""
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    meta = pod["metadata"]
    deleted, grace_s = meta.get("deletionTimestamp"), meta.get("deletionGracePeriodSeconds")
    if deleted and grace_s is not None:
        return bool(now_s <= parse_timestamp(deleted) + grace_s)
    return True


def _is_special(name: str) -> bool:
    """Huge pages, and vendors' resources: they cannot be overcommitted, so only their requests are counted."""
    if name.startswith((HUGE_PAGES, _REQUESTS + HUGE_PAGES)):
        return True
    return name.startswith(_REQUESTS) and (not is_native(name) or name.startswith(_REQUESTS + _DEVICE_CLASS))


def _compute(requests: Amounts, limits: Amounts) -> Amounts:
    found: Amounts = {"pods": ONE}
    for name in _COMPUTE:
        if name in requests:
            found[name] = found[_REQUESTS + name] = requests[name]
        if name in limits:
            found[f"limits.{name}"] = limits[name]
    for name, amount in requests.items():
        if name.startswith(HUGE_PAGES):
            found[name] = found[_REQUESTS + name] = amount
        elif is_extended(name) or name.startswith(_DEVICE_CLASS):
            found[_REQUESTS + name] = amount
    return found


def _is_terminating(pod: Obj) -> bool:
    """A pod that ends by itself (not one that is being deleted)."""
    seconds = pod["spec"].get("activeDeadlineSeconds")
    return seconds is not None and seconds >= 0


def _terms(pod: Obj) -> Iterator[Obj]:
    affinity = pod["spec"].get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        yield from rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted.get("podAffinityTerm") or {}


def _allocated(pod: Obj) -> list[Amounts]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return [amounts.read(s.get("allocatedResources")) for s in statuses]
