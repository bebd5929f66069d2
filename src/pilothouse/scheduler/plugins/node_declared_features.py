"""NodeDeclaredFeatures: a pod goes only to nodes whose kubelet declares the features that it needs (KEP-5328,
pkg/scheduler/framework/plugins/nodedeclaredfeatures).

Kubernetes 1.36 knows two features that a pod's spec shows the need of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from pilothouse.api.types import Obj
from pilothouse.scheduler.framework import Cycle, FilterPlugin, Rejection
from pilothouse.scheduler.hints import NODE, Action, Event, Registration
from pilothouse.scheduler.node_table import Mask
from pilothouse.scheduler.pod_info import PodInfo


class NodeDeclaredFeatures(FilterPlugin):
    """Pods that need a feature are few, so that their nodes are looked at one by one."""

    name = "NodeDeclaredFeatures"

    def registrations(self) -> Iterable[Registration]:
        return (Registration(NODE, Action.ADD | Action.UPDATE_NODE_DECLARED_FEATURE, _opens),)

    def counts_pods(self, cycle: Cycle) -> bool:
        return False

    def filter(self, cycle: Cycle, left: Mask) -> Iterable[Rejection]:
        needed = needed_by(cycle.info.pod)
        return self._rejections(cycle, left, needed) if needed else ()

    def _rejections(self, cycle: Cycle, left: Mask, needed: Iterable[str]) -> Iterable[Rejection]:
        masks: dict[str, Mask] = {}
        for row in np.flatnonzero(left):
            missing = lacking(needed, cycle.table.node(int(row)))
            if missing:
                masks.setdefault(refusal(missing), cycle.table.empty_mask())[row] = True
        for reason, mask in masks.items():
            yield Rejection(mask, reason, resolvable=False)


def _restarts_all_containers(spec: Obj) -> bool:
    for group in ("containers", "initContainers"):
        for container in spec.get(group) or ():
            for rule in container.get("restartPolicyRules") or ():
                if rule.get("action") == "RestartAllContainers":
                    return True
    return False


def _has_own_users_on_the_hosts_network(spec: Obj) -> bool:
    return bool(spec.get("hostNetwork")) and spec.get("hostUsers") is False


_FEATURES: Mapping[str, Callable[[Obj], bool]] = {
    "RestartAllContainersOnContainerExits": _restarts_all_containers,
    "UserNamespacesHostNetworkSupport": _has_own_users_on_the_hosts_network,
}


def needed_by(pod: Obj) -> list[str]:
    spec = pod["spec"]
    return [feature for feature, is_needed in _FEATURES.items() if is_needed(spec)]


def lacking(needed: Iterable[str], node: Obj) -> list[str]:
    declared = (node.get("status") or {}).get("declaredFeatures") or ()
    return [feature for feature in needed if feature not in declared]


def refusal(missing: Iterable[str]) -> str:
    return f"node declared features check failed - unsatisfied requirements: {', '.join(missing)}"


def _opens(info: PodInfo, event: Event) -> bool:
    assert event.new is not None
    return not lacking(needed_by(info.pod), event.new)
