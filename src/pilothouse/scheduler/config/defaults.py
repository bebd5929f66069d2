"""What a configuration is where it says nothing (pkg/scheduler/apis/config/v1/defaults.go).

Two defaults are our own: `clientConnection.qps` is -1, no limit, where upstream has 50; and
`percentageOfNodesToScore` is 100, all nodes, where upstream has 0, a share that shrinks with the cluster. Both of
upstream's can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from pilothouse.api.types import Obj
from pilothouse.scheduler.config import plugin_sets
from pilothouse.scheduler.config.structure import API_VERSION, KIND, has_args
from pilothouse.scheduler.features import STORAGE_CAPACITY_SCORING

DEFAULT_SCHEDULER = "default-scheduler"
NO_LIMIT = -1
ALL_NODES = 100
EMPTIER_IS_BETTER = ({"utilization": 0, "score": 10}, {"utilization": 100, "score": 0})
"""The shape of VolumeBindingArgs, with StorageCapacityScoring."""

_LEADER_ELECTION = {
    "leaderElect": True,
    "leaseDuration": "15s",
    "renewDeadline": "10s",
    "retryPeriod": "2s",
    "resourceLock": "leases",
    "resourceNamespace": "kube-system",
    "resourceName": "kube-scheduler",
}
_CLIENT_CONNECTION = {
    "acceptContentTypes": "",
    "burst": 100,
    "contentType": "application/vnd.kubernetes.protobuf",
    "kubeconfig": "",
    "qps": NO_LIMIT,
}
_NUMBERS = {
    "parallelism": 16,
    "percentageOfNodesToScore": ALL_NODES,
    "podInitialBackoffSeconds": 1,
    "podMaxBackoffSeconds": 10,
    "enableProfiling": True,
}
_RESOURCES = ({"name": "cpu", "weight": 1}, {"name": "memory", "weight": 1})


def configuration(given: Obj | None = None) -> Obj:
    """A complete configuration; `given` must have the structure of one, and stays as it is."""
    made: Obj = {"apiVersion": API_VERSION, "kind": KIND, **_NUMBERS, **(given or {})}
    if made["enableProfiling"]:
        made.setdefault("enableContentionProfiling", True)
    made["leaderElection"] = _filled(made.get("leaderElection"), _LEADER_ELECTION)
    made["clientConnection"] = _filled(made.get("clientConnection"), _CLIENT_CONNECTION)
    profiles = list(made.get("profiles") or [{}])
    if len(profiles) == 1 and profiles[0].get("schedulerName") is None:
        profiles[0] = {**profiles[0], "schedulerName": DEFAULT_SCHEDULER}
    made["profiles"] = [_profile(profile) for profile in profiles]
    return made


def with_features(config: Obj, features: Collection[str]) -> Obj:
    """A complete configuration with the defaults of gates that are on."""
    if STORAGE_CAPACITY_SCORING not in features:
        return config
    return {**config, "profiles": [_with_shape(profile) for profile in config["profiles"]]}


def _with_shape(profile: Obj) -> Obj:
    entries = [
        {**entry, "args": {**entry["args"], "shape": entry["args"].get("shape") or EMPTIER_IS_BETTER}}
        if entry["name"] == "VolumeBinding"
        else entry
        for entry in profile["pluginConfig"]
    ]
    return {**profile, "pluginConfig": entries}


def _filled(given: Obj | None, defaults: Mapping[str, object]) -> Obj:
    """Fields that are absent or, as Go cannot tell the two apart, zero."""
    made: Obj = {**defaults}
    for key, value in (given or {}).items():
        if value or value is False:
            made[key] = value
    return made


def _profile(given: Obj) -> Obj:
    plugins = plugin_sets.merged(given.get("plugins"))
    config = [_with_defaults(entry) for entry in given.get("pluginConfig") or ()]
    told = {entry["name"] for entry in config}
    for name in plugin_sets.enabled_names(plugins):
        if name not in told and has_args(name):
            config.append({"name": name, "args": plugin_args(name, {})})
    return {**given, "plugins": plugins, "pluginConfig": config}


def _with_defaults(entry: Obj) -> Obj:
    if not has_args(entry["name"]):
        return entry
    return {**entry, "args": plugin_args(entry["name"], entry.get("args") or {})}


def plugin_args(name: str, given: Obj) -> Obj:
    """The arguments of one of upstream's plugins, complete; {} for one that takes none."""
    if not has_args(name):
        return given
    made: Obj = {**given, "apiVersion": API_VERSION, "kind": f"{name}Args"}
    _ARGS.get(name, _as_given)(made)
    return made


def _as_given(args: Obj) -> None:
    pass


def _preemption(args: Obj) -> None:
    args.setdefault("minCandidateNodesPercentage", 10)
    args.setdefault("minCandidateNodesAbsolute", 100)


def _inter_pod_affinity(args: Obj) -> None:
    args.setdefault("hardPodAffinityWeight", 1)
    args.setdefault("ignorePreferredTermsOfExistingPods", False)


def _fit(args: Obj) -> None:
    strategy = args.get("scoringStrategy")
    strategy = {"type": "LeastAllocated"} if strategy is None else strategy
    args["scoringStrategy"] = {**strategy, "resources": _resources(strategy.get("resources"))}


def _balanced_allocation(args: Obj) -> None:
    args["resources"] = _resources(args.get("resources"))


def _resources(given: list[Obj] | None) -> list[Obj]:
    """Without a weight, or with 0, it is 1."""
    return [{**resource, "weight": resource.get("weight") or 1} for resource in given or _RESOURCES]


def _spread(args: Obj) -> None:
    args.setdefault("defaultingType", "System")


def _volume_binding(args: Obj) -> None:
    args.setdefault("bindTimeoutSeconds", 600)


def _dynamic_resources(args: Obj) -> None:
    args.setdefault("filterTimeout", "10s")
    args.setdefault("bindingTimeout", "10m0s")


_ARGS: Mapping[str, Callable[[Obj], None]] = {
    "DefaultPreemption": _preemption,
    "DynamicResources": _dynamic_resources,
    "InterPodAffinity": _inter_pod_affinity,
    "NodeResourcesBalancedAllocation": _balanced_allocation,
    "NodeResourcesFit": _fit,
    "PodTopologySpread": _spread,
    "VolumeBinding": _volume_binding,
}
