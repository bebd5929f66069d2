"""Which pods belong together (KEP-4671: Workload, PodGroup; https://kubernetes.io/docs/concepts/workloads/podgroup-api/).

A pod names its group in two ways:

    spec.schedulingGroup.podGroupName      a PodGroup of scheduling.k8s.io/v1alpha2 in the pod's namespace, where the
                                           API is served and the gates GenericWorkload and GangScheduling are on
    labels pod-group.scheduling.sigs.k8s.io/name and /min-available
                                           the light form of the coscheduling plugin (kubernetes-sigs/scheduler-plugins,
                                           KEP-2), which needs no API

The first goes before the second. Pods that have ended belong to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from pilothouse.api.resources import POD_GROUPS, PODS
from pilothouse.api.types import Obj
from pilothouse.client.informer import Informer, Informers
from pilothouse.scheduler.features import GANG_SCHEDULING, GENERIC_WORKLOAD

NAME_LABEL = "pod-group.scheduling.sigs.k8s.io/name"
MINIMUM_LABEL = "pod-group.scheduling.sigs.k8s.io/min-available"
GATES = (GENERIC_WORKLOAD, GANG_SCHEDULING)
_INDEX = "pod-group"


class Group(NamedTuple):
    """`by_label`: of the light form."""

    namespace: str
    name: str
    by_label: bool = False

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}{'/label' if self.by_label else ''}"


def group_of(pod: Obj) -> Group | None:
    """The group that a pod says it belongs to."""
    meta = pod["metadata"]
    reference = pod["spec"].get("schedulingGroup")
    if reference and reference.get("podGroupName"):
        return Group(meta.get("namespace", ""), reference["podGroupName"])
    labels = meta.get("labels")
    name = labels.get(NAME_LABEL) if labels else None
    return Group(meta.get("namespace", ""), name, by_label=True) if name else None


def label_minimum(pod: Obj) -> int:
    """How many pods of a group by label must run together. ValueError when the label is none."""
    text = (pod["metadata"].get("labels") or {}).get(MINIMUM_LABEL, "")
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ValueError(f'label {MINIMUM_LABEL} must be a number from 1 on, not "{text}"')
    return int(text)


def has_ended(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class Gangs:
    """Groups and their members, as the informers show them. `api`: PodGroups count."""

    def __init__(self, informers: Informers, *, api: bool) -> None:
        self._pods = informers.informer(PODS)
        self._pods.add_index(_INDEX, self._keys)
        self.groups: Informer | None = informers.informer(POD_GROUPS) if api else None

    def _keys(self, pod: Obj) -> Iterable[str]:
        group = self.of(pod)
        return (group.key,) if group is not None and not has_ended(pod) else ()

    def of(self, pod: Obj) -> Group | None:
        """As `group_of`; without the API, PodGroups are no groups."""
        group = group_of(pod)
        return None if group is not None and not group.by_label and self.groups is None else group

    def object(self, group: Group) -> Obj | None:
        """The PodGroup, if it is there."""
        if self.groups is None or group.by_label:
            return None
        return self.groups.get(f"{group.namespace}/{group.name}")

    def minimum(self, pod: Obj) -> int:
        """How many members must be placed together; 1 for pods that are scheduled by themselves: those without a
        group, and those whose group is basic. ValueError for a label that is no number."""
        group = self.of(pod)
        if group is None:
            return 1
        if group.by_label:
            return label_minimum(pod)
        gang = ((self.object(group) or {}).get("spec") or {}).get("schedulingPolicy", {}).get("gang")
        return int(gang["minCount"]) if gang else 1

    def members(self, group: Group) -> Sequence[Obj]:
        """Its pods that have not ended."""
        return self._pods.by_index(_INDEX, group.key)

    def placed(self, group: Group, is_assumed: Callable[[str], bool]) -> int:
        """How many members have a node, or are taken to have one."""
        return sum(
            1
            for pod in self.members(group)
            if pod["spec"].get("nodeName") or is_assumed(pod["metadata"]["uid"])
        )
