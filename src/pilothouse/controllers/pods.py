"""What controllers of pods ask about pods (k8s.io/kubernetes/pkg/controller, pkg/api/v1/pod)."""

from __future__ import annotations

from pilothouse.api.types import Obj
from pilothouse.kit.world import parse_timestamp


def condition(obj: Obj, kind: str) -> Obj | None:
    """A status condition by type."""
    for found in (obj.get("status") or {}).get("conditions") or ():
        if found["type"] == kind:
            result: Obj = found
            return result
    return None


def is_ready(pod: Obj) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready["status"] == "True"


def is_available(pod: Obj, min_ready_s: int, now_s: float) -> bool:
    """Ready for at least `min_ready_s`."""
    ready = condition(pod, "Ready")
    if ready is None or ready["status"] != "True":
        return False
    if not min_ready_s:
        return True
    since = ready.get("lastTransitionTime")
    return since is not None and parse_timestamp(since) + min_ready_s <= now_s


def is_terminal(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_terminating(obj: Obj) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_active(pod: Obj) -> bool:
    """Neither finished nor about to go."""
    return not is_terminal(pod) and not is_terminating(pod)


def template_pod(template: Obj, owner_ref: Obj, owner_name: str, owner: Obj) -> Obj:
    """A pod made from a template (GetPodFromTemplate): labels, annotations and finalizers of the template, a
    generated name, the owner."""
    meta = template.get("metadata") or {}
    prefix = f"{owner_name}-"
    pod_meta: Obj = {
        "generateName": prefix if len(prefix) < 249 else owner_name,
        "ownerReferences": [owner_ref],
    }
    for field in ("labels", "annotations", "finalizers"):
        if meta.get(field):
            pod_meta[field] = meta[field]
    pod_meta["namespace"] = owner["metadata"]["namespace"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": template.get("spec") or {}}


def restarts(pod: Obj) -> tuple[int, int]:
    """The most restarts of any container, and of any sidecar."""
    status = pod.get("status") or {}
    inits = (pod.get("spec") or {}).get("initContainers") or ()
    sidecars = {c["name"] for c in inits if c.get("restartPolicy") == "Always"}
    regular = (c.get("restartCount", 0) for c in status.get("containerStatuses") or ())
    beside = (
        c.get("restartCount", 0)
        for c in status.get("initContainerStatuses") or ()
        if c.get("name") in sidecars
    )
    return max(regular, default=0), max(beside, default=0)


def deletion_order(pod: Obj) -> tuple[float, ...]:
    """The order in which a job's surplus pods go, first the smallest (ActivePods): unassigned before assigned,
    pending before unknown before running, not ready before ready, shorter ready, more restarts, younger.
    Replica sets have rules of their own: `surplus`."""
    status = pod.get("status") or {}
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    ready = condition(pod, "Ready")
    is_up = ready is not None and ready["status"] == "True"
    ready_since = _seconds(ready.get("lastTransitionTime")) if ready is not None and is_up else 0.0
    most, beside = restarts(pod)
    return (
        1 if (pod.get("spec") or {}).get("nodeName") else 0,
        phases.get(status.get("phase", ""), 0),
        1 if is_up else 0,
        -ready_since,
        -most,
        -beside,
        -_seconds(pod["metadata"].get("creationTimestamp")),
    )


def _seconds(text: str | None) -> float:
    return parse_timestamp(text) if text else 0.0
