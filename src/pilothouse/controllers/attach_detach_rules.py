"""What attaching and detaching is decided by (k8s.io/kubernetes/pkg/controller/volume/attachdetach)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

from pilothouse.api import csi_migration
from pilothouse.api.csi_migration import Attachable
from pilothouse.api.types import Obj
from pilothouse.controllers.pods import condition, is_terminal, is_terminating

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
MANAGED = "volumes.kubernetes.io/controller-managed-attach-detach"
_SHARED = ("ReadOnlyMany", "ReadWriteMany")
_MADE_HERE = re.compile("csi-[0-9a-f]{64}")


def attachable(volume: Obj, drivers: Mapping[str, bool]) -> Attachable | None:
    """What a persistent volume attaches; None for one that is not attached. `drivers` tells for each CSIDriver whether
    it wants to; one that nobody described does."""
    found = csi_migration.attachable(volume["spec"])
    return found if found is not None and drivers.get(found.driver, True) else None


def wants_attachment(driver: Obj) -> bool:
    return (driver.get("spec") or {}).get("attachRequired") is not False


def unique_name(volume: Attachable) -> str:
    """As it stands in a node's volumesAttached and volumesInUse."""
    return f"kubernetes.io/csi/{volume.driver}^{volume.handle}"


def attachment_name(volume: Attachable, node: str) -> str:
    """The VolumeAttachment's: a second attempt finds the first one's."""
    return "csi-" + hashlib.sha256(f"{volume.handle}{volume.driver}{node}".encode()).hexdigest()


def is_made_here(attachment: Obj) -> bool:
    """Whether `attachment_name` named it; somebody else's is left alone."""
    return _MADE_HERE.fullmatch(attachment["metadata"]["name"]) is not None


def needs_volumes(pod: Obj) -> bool:
    """Whether a pod on a node keeps its volumes there: until it is finished, or is going and nothing runs any more
    (IsPodTerminated)."""
    if not pod["spec"].get("nodeName") or is_terminal(pod):
        return False
    if not is_terminating(pod):
        return True
    statuses: Iterable[Obj] = (pod.get("status") or {}).get("containerStatuses") or ()
    return any("running" in (s.get("state") or {}) for s in statuses)


def is_exclusive(volume: Obj) -> bool:
    """Whether one node at a time may have it (IsMultiAttachAllowed); nobody knows of one without access modes."""
    modes = volume["spec"].get("accessModes") or ()
    return bool(modes) and not any(mode in _SHARED for mode in modes)


def is_out_of_service(node: Obj | None) -> bool:
    """https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown"""
    spec = (node or {}).get("spec") or {}
    return any(taint["key"] == OUT_OF_SERVICE for taint in spec.get("taints") or ())


def is_healthy(node: Obj | None) -> bool:
    ready = condition(node, "Ready") if node is not None else None
    return ready is not None and ready["status"] == "True"


def in_use(node: Obj) -> frozenset[str]:
    return frozenset((node.get("status") or {}).get("volumesInUse") or ())


def multi_attach_text(volume: str, pod: Obj, others: list[Obj]) -> str:
    """Why a pod waits for a volume that `others`, on another node, have. Names are told within a namespace alone."""
    namespace = pod["metadata"]["namespace"]
    near = sorted(p["metadata"]["name"] for p in others if p["metadata"]["namespace"] == namespace)
    far = len(others) - len(near)
    if not others:
        why = "Volume is already exclusively attached to one node and can't be attached to another"
    elif near:
        why = f"Volume is already used by pod(s) {', '.join(near)}"
        why += f" and {far} pod(s) in different namespaces" if far else ""
    else:
        why = f"Volume is already used by {far} pod(s) in different namespaces"
    return f'Multi-Attach error for volume "{volume}" {why}'
