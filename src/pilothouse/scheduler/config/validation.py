"""What a configuration may not say (pkg/scheduler/apis/config/validation/validation.go,
k8s.io/component-base/config/validation)."""

from __future__ import annotations

from collections.abc import Collection

from pilothouse.api import field as f
from pilothouse.api.types import Obj
from pilothouse.api.validation import names
from pilothouse.api.validation.pods.resources import is_extended
from pilothouse.kit.durations import duration_s
from pilothouse.scheduler.config import validation_args
from pilothouse.scheduler.config.structure import POINTS

_REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")
_REMOVED_IN = "v1"
_DURATIONS = ("leaseDuration", "renewDeadline", "retryPeriod")
_RESOURCE_FIELDS = ("resourceLock", "resourceNamespace", "resourceName")


def validate(config: Obj, features: Collection[str] = ()) -> f.Errors:
    """Of a complete configuration; `features` are the gates that are on."""
    errors = _client_connection(config["clientConnection"])
    errors += _leader_election(config["leaderElection"])
    if config["parallelism"] <= 0:
        why = "should be an integer value greater than zero"
        errors.append(f.invalid("parallelism", config["parallelism"], why))
    errors += _profiles(config, features)
    errors += _percentage("percentageOfNodesToScore", config["percentageOfNodesToScore"])
    first, most = config["podInitialBackoffSeconds"], config["podMaxBackoffSeconds"]
    if first <= 0:
        errors.append(f.invalid("podInitialBackoffSeconds", first, "must be greater than 0"))
    if most < first:
        why = "must be greater than or equal to PodInitialBackoffSeconds"
        errors.append(f.invalid("podMaxBackoffSeconds", most, why))
    return errors + _extenders(config.get("extenders") or [])


def _client_connection(connection: Obj) -> f.Errors:
    burst = connection["burst"]
    return [f.invalid("clientConnection.burst", burst, "must be non-negative")] if burst < 0 else []


def _leader_election(election: Obj) -> f.Errors:
    path = "leaderElection"
    errors: f.Errors = []
    seconds: dict[str, float] = {}
    for name in _DURATIONS:
        found, problem = validation_args.duration(election[name], f"{path}.{name}")
        errors += problem
        seconds[name] = found
    if errors or not election["leaderElect"]:
        return errors
    for name in _DURATIONS:
        if seconds[name] <= 0:
            errors.append(f.invalid(f"{path}.{name}", election[name], "must be greater than zero"))
    if seconds["leaseDuration"] < seconds["renewDeadline"]:
        why = "LeaseDuration must be greater than RenewDeadline"
        errors.append(f.invalid(f"{path}.leaseDuration", election["renewDeadline"], why))
    errors += [f.required(f"{path}.{n}", f"{n} is required") for n in _RESOURCE_FIELDS if not election[n]]
    if election["resourceLock"] != "leases":
        why = 'resourceLock value must be "leases"'
        errors.append(f.invalid(f"{path}.resourceLock", election["resourceLock"], why))
    return errors


def _percentage(path: str, value: int | None) -> f.Errors:
    if value is None or 0 <= value <= 100:
        return []
    return [f.invalid(path, value, "not in valid range [0-100]")]


# -- profiles -------------------------------------------------------------------------------------------------


def _profiles(config: Obj, features: Collection[str]) -> f.Errors:
    errors: f.Errors = []
    seen: dict[str, str] = {}
    profiles: list[Obj] = config["profiles"]
    for i, profile in enumerate(profiles):
        path = f"profiles[{i}]"
        name = profile.get("schedulerName") or ""
        if not name:
            errors.append(f.required(f"{path}.schedulerName"))
        share = "percentageOfNodesToScore"
        errors += _percentage(f"{path}.{share}", profile.get(share))
        errors += _removed_plugins(profile["plugins"], f"{path}.plugins", config["apiVersion"])
        entries = profile["pluginConfig"]
        errors += _plugin_config(entries, f"{path}.pluginConfig", config["apiVersion"], features)
        if name in seen:
            errors.append(f.duplicate(f"{path}.schedulerName", f.GoText(seen[name])))
        seen[name] = f"{path}.schedulerName"
    return errors + _common_queue_sort(profiles)


def _removed_plugins(plugins: Obj, path: str, version: str) -> f.Errors:
    return [
        f.invalid(f"{path}.{point}.enabled[{i}]", plugin["name"], _removed(version))
        for point in POINTS
        for i, plugin in enumerate(plugins[point].get("enabled") or ())
        if plugin["name"] in _REMOVED
    ]


def _removed(version: str) -> str:
    return f'was invalid in version "{_REMOVED_IN}" (KubeSchedulerConfiguration is version "{version}")'


def _plugin_config(config: list[Obj], path: str, version: str, features: Collection[str]) -> f.Errors:
    errors: f.Errors = []
    seen: set[str] = set()
    for i, entry in enumerate(config):
        at, name = f"{path}[{i}]", entry["name"]
        if name in seen:
            errors.append(f.duplicate(at, name))
        seen.add(name)
        if name in _REMOVED:
            errors.append(f.invalid(at, name, _removed(version)))
        else:
            errors += validation_args.at_start(name, entry.get("args") or {}, f"{at}.args", features)
    return errors


def _common_queue_sort(profiles: list[Obj]) -> f.Errors:
    """All pods wait in one queue, so that one plugin sorts it."""
    errors: f.Errors = []
    first = profiles[0]["plugins"]["queueSort"]
    enabled = first.get("enabled") or []
    if len(enabled) > 1:
        why = "only one queue sort plugin can be enabled"
        errors.append(f.invalid("profiles[0].plugins.queueSort.Enabled", len(enabled), why))
    name = enabled[0]["name"] if enabled else ""
    args = _args_for(profiles[0], name)
    for i, profile in enumerate(profiles[1:], 1):
        other = profile["plugins"]["queueSort"]
        if other != first:
            at = f"profiles[{i}].plugins.queueSort"
            errors.append(f.invalid(at, other, "must be the same for all profiles"))
        theirs = _args_for(profile, name)
        if name and theirs is not None and theirs != args:
            at = f"profiles[{i}].pluginConfig.args"
            errors.append(f.invalid(at, theirs, "queueSort must be the same for all profiles"))
    return errors


def _args_for(profile: Obj, name: str) -> Obj | None:
    return next((entry.get("args") for entry in profile["pluginConfig"] if entry["name"] == name), None)


# -- extenders ------------------------------------------------------------------------------------------------


def _extenders(extenders: list[Obj]) -> f.Errors:
    errors: f.Errors = []
    managed: set[str] = set()
    for i, extender in enumerate(extenders):
        path = f"extenders[{i}]"
        weight = extender.get("weight", 0)
        if extender.get("prioritizeVerb") and weight <= 0:
            errors.append(f.invalid(f"{path}.weight", weight, "must have a positive weight applied to it"))
        errors += validation_args.duration(extender.get("httpTimeout", "0s"), f"{path}.httpTimeout")[1]
        for j, resource in enumerate(extender.get("managedResources") or ()):
            at, name = f"{path}.managedResources[{j}].name", resource["name"]
            errors += _extended_resource(name, at)
            if name in managed:
                errors.append(f.invalid(at, name, "duplicate extender managed resource name"))
            managed.add(name)
    binders = sum(1 for extender in extenders if extender.get("bindVerb"))
    if binders > 1:
        found = f"found {binders} extenders implementing bind"
        errors.append(f.invalid("extenders", found, "only one extender can implement bind"))
    return errors


def _extended_resource(name: str, path: str) -> f.Errors:
    texts = names.is_qualified_name(name)
    if not texts and not is_extended(name):
        texts = ["is an invalid extended resource name"]
    return [f.invalid(path, name, text) for text in texts]


def timeout_s(extender: Obj) -> float:
    """How long an extender may take; upstream's 5 s when it says nothing."""
    return duration_s(extender.get("httpTimeout", "0s")) or 5.0
