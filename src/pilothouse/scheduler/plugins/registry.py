"""Every plugin of our own: how it is made of its arguments, and where upstream's runs
(pkg/scheduler/framework/plugins/registry.go; the default order and weights stand in `config.plugin_sets`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pilothouse.api import field
from pilothouse.api.types import Obj
from pilothouse.scheduler.config import defaults, plugin_sets
from pilothouse.scheduler.config.validation_args import node_resources_fit
from pilothouse.scheduler.dra.manager import Manager
from pilothouse.scheduler.features import STORAGE_CAPACITY_SCORING, VOLUME_LIMIT_SCALING
from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.groups import Groups
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.plugins import resource_scoring
from pilothouse.scheduler.plugins.balanced_allocation import BalancedAllocation
from pilothouse.scheduler.plugins.data_locality import DataLocality
from pilothouse.scheduler.plugins.deadlines import Deadlines
from pilothouse.scheduler.plugins.default_binder import DefaultBinder
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.plugins.dynamic_resources import DynamicResources
from pilothouse.scheduler.plugins.gang_scheduling import GangScheduling
from pilothouse.scheduler.plugins.image_locality import ImageLocality
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.interference import Interference
from pilothouse.scheduler.plugins.node_affinity import NodeAffinity
from pilothouse.scheduler.plugins.node_declared_features import NodeDeclaredFeatures
from pilothouse.scheduler.plugins.node_name import NodeName
from pilothouse.scheduler.plugins.node_ports import NodePorts
from pilothouse.scheduler.plugins.node_resources_fit import Delegated, Ignored, NodeResourcesFit, nobody
from pilothouse.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pilothouse.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from pilothouse.scheduler.plugins.pod_topology_spread import GroupOf, PodTopologySpread
from pilothouse.scheduler.plugins.priority_sort import PrioritySort
from pilothouse.scheduler.plugins.scheduling_gates import SchedulingGates
from pilothouse.scheduler.plugins.taint_toleration import TaintToleration
from pilothouse.scheduler.plugins.volume_binding import VolumeBinding
from pilothouse.scheduler.plugins.volume_capacity import VolumeBindingByCapacity
from pilothouse.scheduler.plugins.volume_restrictions import VolumeRestrictions
from pilothouse.scheduler.plugins.volume_zone import VolumeZone
from pilothouse.scheduler.pod_terms import Namespaces
from pilothouse.scheduler.preemption import Enough
from pilothouse.scheduler.profile import DEFAULT_NAME, Profile
from pilothouse.scheduler.storage import Storage

_DEFAULTS: Mapping[str, int | None] = {**plugin_sets.DEFAULTS, **plugin_sets.OWN}
WEIGHTS: Mapping[str, int] = {name: weight for name, weight in _DEFAULTS.items() if weight}


class Questions(NamedTuple):
    """What the rules ask about other objects."""

    namespaces: Namespaces
    group_of: GroupOf
    storage: Storage
    delegated: Delegated = nobody
    """Whether devices stand in for an extended resource."""


RuleFactory = Callable[[Obj, Questions], Plugin]
HandleFactory = Callable[[Obj, Questions, Handle], Plugin]


def _affinity(args: Obj, ask: Questions) -> Plugin:
    return InterPodAffinity(
        ask.namespaces,
        args["hardPodAffinityWeight"],
        ignore_preferred=bool(args.get("ignorePreferredTermsOfExistingPods")),
    )


def _fit(args: Obj, ask: Questions) -> Plugin:
    errors = node_resources_fit(args)
    if errors:
        raise ValueError(field.aggregate(errors))
    ignored = Ignored(
        frozenset(args.get("ignoredResources") or ()), frozenset(args.get("ignoredResourceGroups") or ())
    )
    return NodeResourcesFit(resource_scoring.from_args(args["scoringStrategy"]), ignored, ask.delegated)


def _spread(args: Obj, ask: Questions) -> Plugin:
    listed = args["defaultingType"] == "List"
    return PodTopologySpread(ask.group_of, args.get("defaultConstraints") or [] if listed else None)


def _balanced(args: Obj, ask: Questions) -> Plugin:
    return BalancedAllocation([resource["name"] for resource in args["resources"]])


def _preemption(args: Obj, ask: Questions, handle: Handle) -> Plugin:
    enough = Enough(args["minCandidateNodesPercentage"], args["minCandidateNodesAbsolute"])
    return DefaultPreemption(handle, enough)


def _volume_binding(args: Obj, ask: Questions, handle: Handle | None = None) -> Plugin:
    wait_s = args["bindTimeoutSeconds"]
    if handle is not None and STORAGE_CAPACITY_SCORING in handle.features:
        return VolumeBindingByCapacity(
            ask.storage, args.get("shape") or defaults.EMPTIER_IS_BETTER, handle, wait_s
        )
    return VolumeBinding(ask.storage, handle, wait_s)


def _plain(make: Callable[[], Plugin]) -> RuleFactory:
    return lambda args, ask: make()


def _volume_limits(args: Obj, ask: Questions, handle: Handle | None = None) -> Plugin:
    gates = handle.features if handle is not None else ()
    return NodeVolumeLimits(ask.storage, needs_drivers=VOLUME_LIMIT_SCALING in gates)


_RULES: Mapping[str, RuleFactory] = {
    SchedulingGates.name: _plain(SchedulingGates),
    PrioritySort.name: _plain(PrioritySort),
    NodeUnschedulable.name: _plain(NodeUnschedulable),
    NodeName.name: _plain(NodeName),
    TaintToleration.name: _plain(TaintToleration),
    NodeAffinity.name: lambda args, ask: NodeAffinity(args.get("addedAffinity")),
    NodePorts.name: _plain(NodePorts),
    NodeResourcesFit.name: _fit,
    VolumeRestrictions.name: lambda args, ask: VolumeRestrictions(ask.storage),
    NodeVolumeLimits.name: _volume_limits,
    VolumeBinding.name: _volume_binding,
    VolumeZone.name: lambda args, ask: VolumeZone(ask.storage),
    PodTopologySpread.name: _spread,
    InterPodAffinity.name: _affinity,
    BalancedAllocation.name: _balanced,
    ImageLocality.name: _plain(ImageLocality),
    NodeDeclaredFeatures.name: _plain(NodeDeclaredFeatures),
}
"""Those that need nothing but a node table and questions about other objects. VolumeBinding decides without a handle,
and writes with one."""

_OTHERS: Mapping[str, HandleFactory] = {
    DefaultPreemption.name: _preemption,
    DynamicResources.name: lambda args, ask, handle: DynamicResources(args, handle),
    DefaultBinder.name: lambda args, ask, handle: DefaultBinder(handle),
    VolumeBinding.name: _volume_binding,
    NodeVolumeLimits.name: _volume_limits,
    DataLocality.name: lambda args, ask, handle: DataLocality(args, handle),
    Deadlines.name: lambda args, ask, handle: Deadlines(args, handle),
    Interference.name: lambda args, ask, handle: Interference(args, handle),
    GangScheduling.name: lambda args, ask, handle: GangScheduling(handle),
}

_FILTERS = frozenset(("preFilter", "filter"))
_SCORES = frozenset(("preScore", "score"))
POINTS: Mapping[str, frozenset[str]] = {
    "SchedulingGates": frozenset(("preEnqueue",)),
    "PrioritySort": frozenset(("queueSort",)),
    "NodeUnschedulable": frozenset(("filter",)),
    "NodeName": frozenset(("filter",)),
    "TaintToleration": frozenset(("filter",)) | _SCORES,
    "NodeAffinity": _FILTERS | _SCORES,
    "NodePorts": _FILTERS,
    "NodeResourcesFit": _FILTERS | _SCORES,
    "VolumeRestrictions": _FILTERS,
    "NodeVolumeLimits": _FILTERS,
    "VolumeBinding": _FILTERS | _SCORES | {"reserve", "preBind"},
    "VolumeZone": _FILTERS,
    "PodTopologySpread": _FILTERS | _SCORES,
    "InterPodAffinity": _FILTERS | _SCORES,
    "DynamicResources": _FILTERS | {"preEnqueue", "postFilter", "score", "reserve", "preBind"},
    "DefaultPreemption": frozenset(("preEnqueue", "postFilter")),
    "NodeResourcesBalancedAllocation": _SCORES,
    "ImageLocality": frozenset(("score",)),
    "DefaultBinder": frozenset(("bind",)),
    "NodeDeclaredFeatures": _FILTERS,
    "GangScheduling": frozenset(("preEnqueue",)),
    "Deadlines": frozenset(("preFilter",)),
    "DataLocality": frozenset(("filter",)) | _SCORES,
    "Interference": _SCORES,
}
"""The extension points that upstream's plugins have, which are those that a configuration may enable them at. Ours may
do with fewer: what needs no preparation has no PreFilter."""


def names() -> frozenset[str]:
    return frozenset((*_RULES, *_OTHERS))


def make(name: str, args: Obj, ask: Questions, handle: Handle) -> Plugin:
    """One of `names()`, of complete arguments. ValueError when they are wrong."""
    other = _OTHERS.get(name)
    return other(args, ask, handle) if other is not None else _RULES[name](args, ask)


def questions(handle: Handle) -> Questions:
    groups = Groups(handle.informers)
    return Questions(
        groups.namespaces,
        groups.of,
        Storage().follow(handle.informers),
        Manager.of(handle).classes.stands_for,
    )


def rules(namespaces: Namespaces, group_of: GroupOf, storage: Storage | None = None) -> list[Plugin]:
    """The rules with their default arguments, in the default order."""
    ask = Questions(namespaces, group_of, storage or Storage())
    return [_RULES[name](defaults.plugin_args(name, {}), ask) for name in _DEFAULTS if name in _RULES]


def default_profile(handle: Handle, name: str = DEFAULT_NAME) -> Profile:
    ask = questions(handle)
    plugins = [make(each, defaults.plugin_args(each, {}), ask, handle) for each in _DEFAULTS]
    return Profile(plugins, WEIGHTS, name)
