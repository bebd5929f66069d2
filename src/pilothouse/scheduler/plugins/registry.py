"""Every plugin, in the order in which it runs (pkg/scheduler/framework/plugins/registry.go)."""

from __future__ import annotations

from pilothouse.scheduler.plugins.balanced_allocation import BalancedAllocation
from pilothouse.scheduler.plugins.filter import Filter, Score
from pilothouse.scheduler.plugins.node_affinity import NodeAffinity
from pilothouse.scheduler.plugins.node_name import NodeName
from pilothouse.scheduler.plugins.node_ports import NodePorts
from pilothouse.scheduler.plugins.node_resources_fit import NodeResourcesFit
from pilothouse.scheduler.plugins.node_unschedulable import NodeUnschedulable
from pilothouse.scheduler.plugins.taint_toleration import TaintToleration


def filters() -> list[Filter]:
    return [
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
    ]


def scores() -> list[Score]:
    return [TaintToleration(), NodeAffinity(), NodeResourcesFit(), BalancedAllocation()]
