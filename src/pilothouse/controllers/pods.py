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


def with_condition(pod: Obj, new: Obj) -> Obj:
    """The strategic merge patch of the status that sets a condition: in its place, a new one last. Without the order
    the server would put a new one first (podutil.UpdatePodCondition, PatchPodStatus)."""
    types = [c["type"] for c in (pod.get("status") or {}).get("conditions") or ()]
    order = types if new["type"] in types else [*types, new["type"]]
    return {
        "metadata": {"uid": pod["metadata"]["uid"]},
        "status": {"$setElementOrder/conditions": [{"type": t} for t in order], "conditions": [new]},
    }


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


def deletion_order(pod: Obj, same_node: int) -> tuple[float, ...]:
    """The order in which surplus pods go, first the smallest (ActivePodsWithRanks): unassigned before assigned,
    pending before unknown before running, not ready before ready, lower deletion cost, more of its owner's pods
    on its node, shorter ready, more restarts, younger."""
    status = pod.get("status") or {}
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}
    ready = condition(pod, "Ready")
    is_up = ready is not None and ready["status"] == "True"
    ready_since = _seconds(ready.get("lastTransitionTime")) if ready is not None and is_up else 0.0
    restarts = max((c.get("restartCount", 0) for c in status.get("containerStatuses") or ()), default=0)
    return (
        1 if (pod.get("spec") or {}).get("nodeName") else 0,
        phases.get(status.get("phase", ""), 2),
        1 if is_up else 0,
        float(deletion_cost(pod)),
        -same_node,
        -ready_since,
        -restarts,
        -_seconds(pod["metadata"].get("creationTimestamp")),
    )


def deletion_cost(pod: Obj) -> int:
    """`controller.kubernetes.io/pod-deletion-cost`; 0 when absent or malformed (KEP-2255)."""
    text = (pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0")
    try:
        return int(text)
    except ValueError:
        return 0


def _seconds(text: str | None) -> float:
    return parse_timestamp(text) if text else 0.0
