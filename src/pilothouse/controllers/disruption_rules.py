"""What a disruption budget's pods add up to. Pure functions: they read objects and decide.

Rules: k8s.io/kubernetes/pkg/controller/disruption and https://kubernetes.io/docs/tasks/run-application/configure-pdb/.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pilothouse.api.types import Obj
from pilothouse.controllers.deployment_rules import resolve
from pilothouse.controllers.pods import condition, is_ready, is_terminal, is_terminating
from pilothouse.kit.world import parse_timestamp

DELETION_TIMEOUT_S = 120.0
"""How long an evicted pod counts as on its way out."""
STALE_CONDITION_S = 120.0
"""After which a pod that was to be disrupted and still is not deleted is taken not to be."""

Disrupted = dict[str, str]
"""By pod: when its eviction was granted."""


def needs_scale(budget: Obj) -> bool:
    """Whether the pods that should be there are counted by their controllers: not for a plain minAvailable."""
    spec = budget["spec"]
    return spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)


def has_limit(budget: Obj) -> bool:
    """Whether a budget says how many pods must stay. One that does not expects no pods, and so lets none go."""
    return any(budget["spec"].get(name) is not None for name in ("minAvailable", "maxUnavailable"))


def desired(budget: Obj, expected: int) -> int:
    """How many of `expected` pods must be healthy."""
    spec = budget["spec"]
    unavailable = spec.get("maxUnavailable")
    if unavailable is not None:
        return max(expected - resolve(unavailable, expected, up=True), 0)
    return resolve(spec.get("minAvailable"), expected, up=True)


class Pending(NamedTuple):
    disrupted: Disrupted
    overdue: list[Obj]
    """Pods whose deletion never came."""
    recheck_s: float | None
    """Until the next one is overdue."""


def pending(budget: Obj, pods: Iterable[Obj], now_s: float) -> Pending:
    """Evictions that were granted and are not seen yet (buildDisruptedPodMap)."""
    granted = (budget.get("status") or {}).get("disruptedPods") or {}
    left: Disrupted = {}
    overdue: list[Obj] = []
    soonest: float | None = None
    for pod in pods:
        name = pod["metadata"]["name"]
        if name not in granted or is_terminating(pod):
            continue
        rest_s = parse_timestamp(granted[name]) + DELETION_TIMEOUT_S - now_s
        if rest_s <= 0:
            overdue.append(pod)
            continue
        left[name] = granted[name]
        soonest = rest_s if soonest is None else min(soonest, rest_s)
    return Pending(left, overdue, soonest)


def healthy(pods: Iterable[Obj], disrupted: Disrupted) -> int:
    return sum(
        1 for p in pods if not is_terminating(p) and p["metadata"]["name"] not in disrupted and is_ready(p)
    )


def status(budget: Obj, expected: int, desired_healthy: int, now_healthy: int, disrupted: Disrupted) -> Obj:
    """The status, conditions aside. No pods expected means none may be disrupted: the first ones may be on their
    way, and the budget must not be spent before they count."""
    allowed = max(now_healthy - desired_healthy, 0) if expected > 0 else 0
    old = budget.get("status") or {}
    out: Obj = {
        "observedGeneration": budget["metadata"].get("generation", 0),
        "disruptionsAllowed": allowed,
        "currentHealthy": now_healthy,
        "desiredHealthy": desired_healthy,
        "expectedPods": expected,
    }
    if disrupted:
        out["disruptedPods"] = disrupted
    if "conditions" in old:
        out["conditions"] = old["conditions"]
    return out


def with_condition(found: Obj, reason: str, message: str, now: str) -> Obj:
    """The status with its DisruptionAllowed condition (UpdateDisruptionAllowedCondition)."""
    state = "True" if reason == "SufficientPods" else "False"
    conditions = found.get("conditions") or []
    old = next((c for c in conditions if c["type"] == "DisruptionAllowed"), None)
    since = old["lastTransitionTime"] if old is not None and old["status"] == state else now
    new = {
        "type": "DisruptionAllowed",
        "status": state,
        "observedGeneration": found.get("observedGeneration", 0),
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    others = [new if c is old else c for c in conditions]
    return {**found, "conditions": others if old is not None else [*others, new]}


def reason(found: Obj) -> str:
    return "SufficientPods" if found["disruptionsAllowed"] > 0 else "InsufficientPods"


def stale_in_s(pod: Obj, now_s: float) -> float | None:
    """Seconds until a pod's DisruptionTarget condition is stale; None when it cannot be. What the kubelet says
    stays: its terminations may take their time."""
    target = condition(pod, "DisruptionTarget")
    if target is None or target["status"] != "True" or target.get("reason") == "TerminationByKubelet":
        return None
    if is_terminal(pod) or is_terminating(pod) or not target.get("lastTransitionTime"):
        return None
    return max(parse_timestamp(target["lastTransitionTime"]) + STALE_CONDITION_S - now_s, 0.0)


def go_selector(selector: Obj | None) -> str:
    """A LabelSelector as Go prints it."""
    if selector is None:
        return "nil"
    labels = selector.get("matchLabels") or {}
    matched = "".join(f"{key}: {labels[key]}," for key in sorted(labels))
    expressions = "".join(f"{_go_requirement(e)}," for e in selector.get("matchExpressions") or ())
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{matched}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


def _go_requirement(e: Obj) -> str:
    values = " ".join(e.get("values") or ())
    return f"LabelSelectorRequirement{{Key:{e['key']},Operator:{e['operator']},Values:[{values}],}}"
