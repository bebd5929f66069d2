"""What limit ranges say of a pod or a claim: defaults, and the constraints that it breaks
(plugin/pkg/admission/limitranger, https://kubernetes.io/docs/concepts/policy/limit-range/). Pure functions.

Upstream goes through resources in the order of a Go map, which is none; here they are in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pilothouse.api import amounts, pod_resources
from pilothouse.api.amounts import Amounts
from pilothouse.api.quantity import ZERO, Quantity
from pilothouse.api.types import Obj

ANNOTATION = "kubernetes.io/limit-ranger"
_MILLI_SAFE = (2**63 - 1) // 1000
_Check = Callable[[str, str, Quantity, Amounts, Amounts], str]
"""(limit type, resource, what the limit range says, requests, limits) to what is wrong, "" for nothing."""


def set_defaults(pod: Obj, limit_range: Obj) -> None:
    """Give the containers of `pod` (owned) what they leave open, and say so in an annotation."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for limit in _limits(limit_range, "Container"):
        requests.update(limit.get("defaultRequest") or {})
        limits.update(limit.get("default") or {})
    if not requests and not limits:
        return
    said: list[str] = []
    for key, called in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(key) or ():
            resources = container.setdefault("resources", {})
            for part, defaults, what in (("requests", requests, "request"), ("limits", limits, "limit")):
                added = _fill(resources, part, defaults)
                if added:
                    said.append(f"{', '.join(added)} {what} for {called} {container['name']}")
    if said:
        annotations = pod["metadata"].get("annotations") or {}
        text = "LimitRanger plugin set: " + "; ".join(said)
        pod["metadata"]["annotations"] = {**annotations, ANNOTATION: text}


def _fill(resources: Obj, part: str, defaults: dict[str, str]) -> list[str]:
    present: dict[str, str] = resources.get(part) or {}
    added = sorted(name for name in defaults if name not in present)
    if added:
        all_of_them = {**defaults, **present}
        resources[part] = {name: all_of_them[name] for name in sorted(all_of_them)}
    return added


def pod_faults(pod: Obj, limit_range: Obj) -> list[str]:
    spec = pod["spec"]
    faults: list[str] = []
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        if limit.get("type") == "Container":
            for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
                resources = container.get("resources") or {}
                requests, limits = (amounts.read(resources.get(key)) for key in ("requests", "limits"))
                faults += _faults(limit, _POD_CHECKS, requests, limits)
        elif limit.get("type") == "Pod":
            requests = pod_resources.spec_amounts(spec, "requests")
            limits = pod_resources.spec_amounts(spec, "limits")
            faults += _faults(limit, _POD_CHECKS, requests, limits)
    return faults


def claim_faults(claim: Obj, limit_range: Obj) -> list[str]:
    requests = amounts.read((claim["spec"].get("resources") or {}).get("requests"))
    faults: list[str] = []
    for limit in _limits(limit_range, "PersistentVolumeClaim"):
        faults += _faults(limit, _CLAIM_CHECKS, requests, {})
    return faults


def _limits(limit_range: Obj, kind: str) -> Iterator[Obj]:
    for limit in (limit_range.get("spec") or {}).get("limits") or ():
        if limit.get("type") == kind:
            yield limit


def _faults(limit: Obj, checks: dict[str, _Check], requests: Amounts, limits: Amounts) -> Iterator[str]:
    for key, check in checks.items():
        said = amounts.read(limit.get(key))
        for name in sorted(said):
            fault = check(limit["type"], name, said[name], requests, limits)
            if fault:
                yield fault


def _least(kind: str, name: str, least: Quantity, requests: Amounts, limits: Amounts) -> str:
    text = f"minimum {name} usage per {kind} is {least}"
    if name not in requests:
        return f"{text}.  No request is specified"
    request, limit, bound = _comparable(requests.get(name), limits.get(name), least)
    if request < bound:
        return f"{text}, but request is {requests[name]}"
    if name in limits and limit < bound:
        return f"{text}, but limit is {limits[name]}"
    return ""


def _most(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> str:
    text = f"maximum {name} usage per {kind} is {most}"
    if name not in limits:
        return f"{text}.  No limit is specified"
    request, limit, bound = _comparable(requests.get(name), limits.get(name), most)
    if limit > bound:
        return f"{text}, but limit is {limits[name]}"
    if name in requests and request > bound:
        return f"{text}, but request is {requests[name]}"
    return ""


def _most_requested(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> str:
    """Claims have requests only."""
    text = f"maximum {name} usage per {kind} is {most}"
    if name not in requests:
        return f"{text}.  No request is specified"
    request, _, bound = _comparable(requests.get(name), None, most)
    return f"{text}, but request is {requests[name]}" if request > bound else ""


def _ratio(kind: str, name: str, most: Quantity, requests: Amounts, limits: Amounts) -> str:
    text = f"{name} max limit to request ratio per {kind} is {most}"
    request, limit, _ = _comparable(requests.get(name), limits.get(name), most)
    if not request:
        return f"{text}, but no request is specified or request is 0"
    if not limit:
        return f"{text}, but no limit is specified or limit is 0"
    ratio = limit / request
    return f"{text}, but provided ratio is {ratio:f}" if ratio * 1000 > most.milli else ""


def _comparable(request: Quantity | None, limit: Quantity | None, bound: Quantity) -> tuple[int, int, int]:
    """All three in thousandths, or in units where those would not fit into Go's int64."""
    three = (request or ZERO, limit or ZERO, bound)
    if all(q.value <= _MILLI_SAFE for q in three):
        return three[0].milli, three[1].milli, three[2].milli
    return three[0].value, three[1].value, three[2].value


_POD_CHECKS: dict[str, _Check] = {"min": _least, "max": _most, "maxLimitRequestRatio": _ratio}
_CLAIM_CHECKS: dict[str, _Check] = {"min": _least, "max": _most_requested}
