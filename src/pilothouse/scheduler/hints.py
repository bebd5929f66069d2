"""What happened in the cluster, and whether it may help a pod that fits nowhere
(k8s.io/kube-scheduler/framework ClusterEvent, KEP-4247 queueing hints).

A plugin that refused a pod registers the events that can change its mind, each with a hint: a function that looks
at the object before and after and says whether this pod should try again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Flag, auto
from typing import NamedTuple

from pilothouse.api import resources
from pilothouse.api.resources import Resource
from pilothouse.api.types import Obj
from pilothouse.scheduler import features
from pilothouse.scheduler.pod_info import PodInfo


class Action(Flag):
    """What happened to an object; an update may be several."""

    NONE = 0
    ADD = auto()
    DELETE = auto()
    UPDATE_NODE_ALLOCATABLE = auto()
    UPDATE_NODE_LABEL = auto()
    UPDATE_NODE_TAINT = auto()
    UPDATE_NODE_CONDITION = auto()
    UPDATE_NODE_ANNOTATION = auto()
    UPDATE_NODE_DECLARED_FEATURE = auto()
    UPDATE_POD_LABEL = auto()
    UPDATE_POD_SCALE_DOWN = auto()
    UPDATE_POD_TOLERATIONS = auto()
    UPDATE_POD_SCHEDULING_GATES = auto()
    UPDATE_POD_ANNOTATION = auto()
    """Ours: upstream's plugins read no annotation."""
    UPDATE = auto()
    """Of an object that is neither node nor pod."""
    UPDATE_POD_GENERATED_RESOURCE_CLAIM = auto()


NODE = "Node"
ASSIGNED_POD = "AssignedPod"
"""A pod that has a node; deleting it frees what it took."""
UNSCHEDULED_POD = "UnscheduledPod"
"""The pod that waits itself."""
CLAIM = "PersistentVolumeClaim"
VOLUME = "PersistentVolume"
STORAGE_CLASS = "StorageClass"
CSI_NODE = "CSINode"
CSI_DRIVER = "CSIDriver"
CSI_STORAGE_CAPACITY = "CSIStorageCapacity"
VOLUME_ATTACHMENT = "VolumeAttachment"
RESOURCE_CLAIM = "ResourceClaim"
RESOURCE_SLICE = "ResourceSlice"
DEVICE_CLASS = "DeviceClass"
DEVICE_TAINT_RULE = "DeviceTaintRule"
OTHERS: Mapping[str, Resource] = {
    CLAIM: resources.PERSISTENT_VOLUME_CLAIMS,
    VOLUME: resources.PERSISTENT_VOLUMES,
    STORAGE_CLASS: resources.STORAGE_CLASSES,
    CSI_NODE: resources.CSI_NODES,
    CSI_DRIVER: resources.CSI_DRIVERS,
    CSI_STORAGE_CAPACITY: resources.CSI_STORAGE_CAPACITIES,
    VOLUME_ATTACHMENT: resources.VOLUME_ATTACHMENTS,
    RESOURCE_CLAIM: resources.RESOURCE_CLAIMS,
    RESOURCE_SLICE: resources.RESOURCE_SLICES,
    DEVICE_CLASS: resources.DEVICE_CLASSES,
}
"""What else plugins may ask to hear of: the scheduler follows those that some plugin registers."""
GATED: Mapping[str, tuple[str, Resource]] = {
    DEVICE_TAINT_RULE: (features.DEVICE_TAINT_RULES, resources.DEVICE_TAINT_RULES)
}
"""The same where a feature gate is on: elsewhere these may not be served."""


class Event(NamedTuple):
    """One change. `old` is None for additions, `new` for deletions."""

    resource: str
    action: Action
    old: Obj | None = None
    new: Obj | None = None


Hint = Callable[[PodInfo, Event], bool]
"""Whether an event makes it worth while to try a pod again."""


class Registration(NamedTuple):
    """The events that one plugin wants to hear of; without a hint each of them is reason enough."""

    resource: str
    actions: Action
    hint: Hint | None = None

    def wakes(self, info: PodInfo, event: Event) -> bool:
        if self.resource != event.resource or not self.actions & event.action:
            return False
        if event.resource == UNSCHEDULED_POD and _object(event)["metadata"]["uid"] != info.uid:
            return False
        if event.resource == ASSIGNED_POD and _object(event)["metadata"]["uid"] == info.uid:
            return False  # its own binding failed: that it left the node is no news
        return self.hint is None or self.hint(info, event)


ANYTHING = tuple(
    Registration(resource, ~Action.NONE)
    for resource in (NODE, ASSIGNED_POD, UNSCHEDULED_POD, *OTHERS, *GATED)
)
"""For those who cannot say what would help."""


def _object(event: Event) -> Obj:
    found = event.new or event.old
    assert found is not None
    return found


def node_changes(old: Obj, new: Obj) -> Action:
    """What an update of a node was about; NONE when nothing that a plugin asks for has changed (a heartbeat)."""
    changes = Action.NONE
    old_spec, new_spec = old.get("spec") or {}, new.get("spec") or {}
    old_status, new_status = old.get("status") or {}, new.get("status") or {}
    if old_status.get("allocatable") != new_status.get("allocatable"):
        changes |= Action.UPDATE_NODE_ALLOCATABLE
    if old["metadata"].get("labels") != new["metadata"].get("labels"):
        changes |= Action.UPDATE_NODE_LABEL
    cordoned = bool(old_spec.get("unschedulable")) != bool(new_spec.get("unschedulable"))
    if cordoned or (old_spec.get("taints") or []) != (new_spec.get("taints") or []):
        changes |= Action.UPDATE_NODE_TAINT
    if _conditions(old_status) != _conditions(new_status):
        changes |= Action.UPDATE_NODE_CONDITION
    if old["metadata"].get("annotations") != new["metadata"].get("annotations"):
        changes |= Action.UPDATE_NODE_ANNOTATION
    if (old_status.get("declaredFeatures") or []) != (new_status.get("declaredFeatures") or []):
        changes |= Action.UPDATE_NODE_DECLARED_FEATURE
    return changes


def _conditions(status: Obj) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status.get("conditions") or ()}


def pod_changes(old: PodInfo, new: PodInfo) -> Action:
    """What an update of a pod was about."""
    changes = Action.NONE
    if old.pod["metadata"].get("labels") != new.pod["metadata"].get("labels"):
        changes |= Action.UPDATE_POD_LABEL
    if old.pod["metadata"].get("annotations") != new.pod["metadata"].get("annotations"):
        changes |= Action.UPDATE_POD_ANNOTATION
    if any(new.requests.get(name, 0) < value for name, value in old.requests.items()):
        changes |= Action.UPDATE_POD_SCALE_DOWN
    if old.pod["spec"].get("tolerations") != new.pod["spec"].get("tolerations"):
        changes |= Action.UPDATE_POD_TOLERATIONS
    if old.pod["spec"].get("schedulingGates") and not new.pod["spec"].get("schedulingGates"):
        changes |= Action.UPDATE_POD_SCHEDULING_GATES
    if _generated(old) != _generated(new):
        changes |= Action.UPDATE_POD_GENERATED_RESOURCE_CLAIM
    return changes


def _generated(info: PodInfo) -> list[Obj]:
    """Claims that were made for a pod from templates."""
    return (info.pod.get("status") or {}).get("resourceClaimStatuses") or []
