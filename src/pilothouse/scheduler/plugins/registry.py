"""Every plugin with its default weight, in the order in which they run
(pkg/scheduler/apis/config/v1/default_plugins.go)."""

from __future__ import annotations

from pilothouse.scheduler.framework import Plugin
from pilothouse.scheduler.groups import Groups
from pilothouse.scheduler.handle import Handle
from pilothouse.scheduler.plugins.balanced_allocation import BalancedAllocation
from pilothouse.scheduler.plugins.default_binder import DefaultBinder
from pilothouse.scheduler.plugins.default_preemption import DefaultPreemption
from pilothouse.scheduler.plugins.dynamic_resources import DynamicResources
from pilothouse.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from pilothouse.scheduler.plugins.node_affinity import NodeAffinity
from pilothouse.scheduler.plugins.node_name import NodeName
from pilothouse.scheduler.plugins.node_ports import NodePorts
from pilothouse.scheduler.plugins.node_resources_fit import NodeResourcesFit
from pilothouse.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pilothouse.scheduler.plugins.pod_topology_spread import GroupOf, PodTopologySpread
from pilothouse.scheduler.plugins.priority_sort import PrioritySort
from pilothouse.scheduler.plugins.scheduling_gates import SchedulingGates
from pilothouse.scheduler.plugins.taint_toleration import TaintToleration
from pilothouse.scheduler.pod_terms import Namespaces
from pilothouse.scheduler.profile import DEFAULT_NAME, Profile

WEIGHTS = {
    TaintToleration.name: 3,
    NodeAffinity.name: 2,
    PodTopologySpread.name: 2,
    InterPodAffinity.name: 2,
    NodeResourcesFit.name: 1,
    BalancedAllocation.name: 1,
}


def rules(namespaces: Namespaces, group_of: GroupOf) -> list[Plugin]:
    """Those that need nothing but a node table and two questions about other objects."""
    return [
        SchedulingGates(),
        PrioritySort(),
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        PodTopologySpread(group_of),
        InterPodAffinity(namespaces),
        DynamicResources(),
        BalancedAllocation(),
    ]


def default_profile(handle: Handle, name: str = DEFAULT_NAME) -> Profile:
    groups = Groups(handle.informers)
    found = rules(groups.namespaces, groups.of)
    return Profile([*found, DefaultPreemption(handle), DefaultBinder(handle)], WEIGHTS, name)
