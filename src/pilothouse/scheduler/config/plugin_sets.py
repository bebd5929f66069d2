"""Sets of plugins: the default ones, and those merged with what a profile says
(pkg/scheduler/apis/config/v1/default_plugins.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.api.types import Obj
from pilothouse.scheduler.config.structure import MULTI, PLACEMENT, POINTS

EVERY = "*"
"""As a disabled plugin: all default ones."""

DEFAULTS: Mapping[str, int | None] = {
    "SchedulingGates": None,
    "PrioritySort": None,
    "NodeUnschedulable": None,
    "NodeName": None,
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodePorts": None,
    "NodeResourcesFit": 1,
    "VolumeRestrictions": None,
    "NodeVolumeLimits": None,
    "VolumeBinding": None,
    "VolumeZone": None,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "DynamicResources": 2,
    "DefaultPreemption": None,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
    "DefaultBinder": None,
    "NodeDeclaredFeatures": None,
}
"""Kubernetes 1.36's default plugins in their order, with their weights; all are enabled at `multiPoint`."""


def default_plugins() -> Obj:
    sets: Obj = {point: {} for point in (*POINTS, MULTI, *PLACEMENT)}
    sets[MULTI] = {"enabled": [_plugin(name, weight) for name, weight in DEFAULTS.items()]}
    return sets


def _plugin(name: str, weight: int | None) -> Obj:
    return {"name": name} if weight is None else {"name": name, "weight": weight}


def merged(given: Obj | None) -> Obj:
    """What a profile's `plugins` come to over the default ones."""
    defaults = default_plugins()
    if given is None:
        return defaults
    return {point: _merged(found, given.get(point) or {}) for point, found in defaults.items()}


def _merged(default: Obj, given: Obj) -> Obj:
    """A default plugin that is given again is replaced where it stands; other given ones come behind. Given twice,
    the last one replaces, and the first stays to be refused when the profile is built."""
    disabled = [{"name": plugin["name"]} for plugin in given.get("disabled") or ()]
    custom = given.get("enabled") or []
    last = {plugin["name"]: number for number, plugin in enumerate(custom)}
    out = names(disabled)
    enabled: list[Obj] = []
    replaced: set[int] = set()
    for plugin in default.get("enabled") or () if EVERY not in out else ():
        if plugin["name"] in out:
            continue
        number = last.get(plugin["name"])
        if number is not None:
            replaced.add(number)
            plugin = custom[number]
        enabled.append(plugin)
    enabled += [plugin for number, plugin in enumerate(custom) if number not in replaced]
    made: Obj = {}
    if enabled:
        made["enabled"] = enabled
    if disabled:
        made["disabled"] = disabled
    return made


def names(plugins: Iterable[Obj] | None) -> set[str]:
    return {plugin["name"] for plugin in plugins or ()}


def enabled_names(plugins: Obj) -> list[str]:
    """Every plugin that is enabled anywhere, sorted."""
    found: set[str] = set()
    for point in (*POINTS, MULTI):
        found |= names((plugins.get(point) or {}).get("enabled"))
    return sorted(found)
