"""What plugins' arguments may not say (pkg/scheduler/apis/config/validation/validation_pluginargs.go)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pilothouse.api import field as f
from pilothouse.api.node_selector import PREFERRED, REQUIRED
from pilothouse.api.types import Obj
from pilothouse.api.validation import fields
from pilothouse.api.validation.pods.scheduling import node_selector_term
from pilothouse.kit.durations import duration_s
from pilothouse.scheduler.features import STORAGE_CAPACITY_SCORING

_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_SCORE_MAX = 10
_ACTIONS = ("DoNotSchedule", "ScheduleAnyway")


def at_start(plugin: str, args: Obj, path: str, features: Collection[str] = ()) -> f.Errors:
    """What is checked with the whole configuration. NodeResourcesFit is checked when it is made, as upstream's table
    misses it. `features` are the gates that are on."""
    if plugin == "VolumeBinding":
        return _volume_binding(args, path, STORAGE_CAPACITY_SCORING in features)
    check = _CHECKS.get(plugin)
    return check(args, path) if check is not None else []


def duration(text: str, path: str) -> tuple[float, f.Errors]:
    """Seconds; an error for what is no duration."""
    try:
        return duration_s(text), []
    except ValueError:
        return 0.0, [f.invalid(path, text, f'time: invalid duration "{text}"')]


def _preemption(args: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    share, count = "minCandidateNodesPercentage", "minCandidateNodesAbsolute"
    if not 0 <= args[share] <= 100:
        errors.append(f.invalid(f"{path}.{share}", args[share], "not in valid range [0, 100]"))
    if args[count] < 0:
        errors.append(f.invalid(f"{path}.{count}", args[count], "not in valid range [0, inf)"))
    if args[share] == args[count] == 0:
        for one, other in ((share, count), (count, share)):
            errors.append(f.invalid(f"{path}.{one}", 0, f"cannot be zero at the same time as {other}"))
    return errors


def _inter_pod_affinity(args: Obj, path: str) -> f.Errors:
    weight = args["hardPodAffinityWeight"]
    if 0 <= weight <= 100:
        return []
    return [f.invalid(f"{path}.hardPodAffinityWeight", weight, "not in valid range [0, 100]")]


def _node_affinity(args: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    affinity = args.get("addedAffinity") or {}
    at = f"{path}.addedAffinity"
    for i, term in enumerate((affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        node_selector_term(term, f"{at}.{REQUIRED}.nodeSelectorTerms[{i}]", errors)
    for i, preferred in enumerate(affinity.get(PREFERRED) or ()):
        node_selector_term(preferred.get("preference") or {}, f"{at}.{PREFERRED}[{i}].preference", errors)
    return errors


def _balanced_allocation(args: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    seen: set[str] = set()
    for i, resource in enumerate(args["resources"]):
        at, name = f"{path}.resources[{i}]", resource["name"]
        if name in seen:
            errors.append(f.duplicate(f"{at}.name", name))
        seen.add(name)
        if resource["weight"] != 1:
            errors.append(f.invalid(f"{at}.weight", resource["weight"], "must be 1"))
    return errors


def _spread(args: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    kind, constraints = args["defaultingType"], args.get("defaultConstraints") or []
    if kind not in ("System", "List"):
        errors.append(f.not_supported(f"{path}.defaultingType", kind, ("System", "List")))
    elif kind == "System" and constraints:
        errors.append(f.invalid(f"{path}.defaultingType", kind, "when .defaultConstraints are not empty"))
    for i in range(len(constraints)):
        errors += _constraint(constraints, i, f"{path}.defaultConstraints[{i}]")
    return errors


def _constraint(constraints: list[Obj], i: int, path: str) -> f.Errors:
    errors: f.Errors = []
    constraint = constraints[i]
    skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
    action = constraint.get("whenUnsatisfiable", "")
    if skew <= 0:
        errors.append(f.invalid(f"{path}.maxSkew", skew, "not in valid range (0, inf)"))
    if not key:
        errors.append(f.required(f"{path}.topologyKey", "can not be empty"))
    else:
        errors += fields.label_name(key, f"{path}.topologyKey")
    if not action:
        errors.append(f.required(f"{path}.whenUnsatisfiable", "can not be empty"))
    elif action not in _ACTIONS:
        errors.append(f.not_supported(f"{path}.whenUnsatisfiable", action, _ACTIONS))
    if constraint.get("labelSelector") is not None:
        why = "constraint must not define a selector, as they deduced for each pod"
        errors.append(f.forbidden(f"{path}.labelSelector", why))
    if any((c.get("topologyKey"), c.get("whenUnsatisfiable")) == (key, action) for c in constraints[:i]):
        errors.append(f.duplicate(path, f"{{{key}, {action}}}"))
    return errors


def _volume_binding(args: Obj, path: str, has_shape: bool) -> f.Errors:
    errors: f.Errors = []
    wait = args["bindTimeoutSeconds"]
    if wait < 0:
        why = "invalid BindTimeoutSeconds, should not be a negative value"
        errors.append(f.invalid(f"{path}.bindTimeoutSeconds", wait, why))
    if has_shape:
        errors += _shape(args.get("shape") or [], f"{path}.shape")
    elif args.get("shape"):
        why = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        errors.append(f.invalid(f"{path}.shape", args["shape"], why))
    return errors


def _dynamic_resources(args: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    limits = (
        ("filterTimeout", 0.0, "must be zero or positive"),
        ("bindingTimeout", 1.0, "must be at least 1 second"),
    )
    for name, least, why in limits:
        seconds, problem = duration(args[name], f"{path}.{name}")
        errors += problem
        if not problem and seconds < least:
            errors.append(f.invalid(f"{path}.{name}", args[name], why))
    return errors


def node_resources_fit(args: Obj) -> f.Errors:
    errors: f.Errors = []
    for i, name in enumerate(args.get("ignoredResources") or ()):
        errors += fields.label_name(name, f"ignoredResources[{i}]")
    for i, group in enumerate(args.get("ignoredResourceGroups") or ()):
        at = f"ignoredResourceGroups[{i}]"
        if "/" in group:
            errors.append(f.invalid(at, group, "resource group name can't contain '/'"))
        errors += fields.label_name(group, at)
    return errors + _strategy(args["scoringStrategy"], "scoringStrategy")


def _strategy(strategy: Obj, path: str) -> f.Errors:
    errors: f.Errors = []
    kind, ratio = strategy.get("type", ""), strategy.get("requestedToCapacityRatio")
    at = f"{path}.requestedToCapacityRatio"
    if kind not in _STRATEGIES:
        errors.append(f.not_supported(f"{path}.type", kind, _STRATEGIES))
    for i, resource in enumerate(strategy["resources"]):
        if not 0 < resource["weight"] <= 100:
            why = f"resource weight of {resource['name']} not in valid range (0, 100]"
            errors.append(f.invalid(f"{path}.resources[{i}].weight", resource["weight"], why))
    if kind != "RequestedToCapacityRatio":
        if ratio is not None:
            errors.append(f.forbidden(at, "must be nil when type is not RequestedToCapacityRatio"))
    elif ratio is None:
        errors.append(f.required(at, "must be specified when type is RequestedToCapacityRatio"))
    else:
        errors += _shape(ratio.get("shape") or [], f"{at}.shape")
    return errors


def _shape(shape: list[Obj], path: str) -> f.Errors:
    if not shape:
        return [f.required(path, "at least one point must be specified")]
    errors: f.Errors = []
    for i in range(1, len(shape)):
        if shape[i - 1]["utilization"] >= shape[i]["utilization"]:
            why = "values must be sorted in increasing order"
            errors.append(f.invalid(f"{path}[{i}].utilization", shape[i]["utilization"], why))
            break
    for i, point in enumerate(shape):
        for name, most in (("utilization", 100), ("score", _SCORE_MAX)):
            if not 0 <= point[name] <= most:
                errors.append(
                    f.invalid(f"{path}[{i}].{name}", point[name], f"not in valid range [0, {most}]")
                )
    return errors


_CHECKS: Mapping[str, Callable[[Obj, str], f.Errors]] = {
    "DefaultPreemption": _preemption,
    "DynamicResources": _dynamic_resources,
    "InterPodAffinity": _inter_pod_affinity,
    "NodeAffinity": _node_affinity,
    "NodeResourcesBalancedAllocation": _balanced_allocation,
    "PodTopologySpread": _spread,
}
