"""Setting one condition of a pod's status and leaving the others to those who own them."""

from __future__ import annotations

from pilothouse.api.types import Obj

DISRUPTION_TARGET = "DisruptionTarget"


def disruption_target(pod: Obj, reason: str, message: str, since: str | None) -> Obj:
    """The condition that tells why somebody is about to end a pod, for who counts failures (KEP-3329)."""
    return {
        "type": DISRUPTION_TARGET,
        "status": "True",
        "observedGeneration": pod["metadata"].get("generation", 0),
        "lastProbeTime": None,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }


def condition_patch(pod: Obj, condition: Obj) -> Obj:
    """The strategic merge patch of the status subresource that sets a condition: in its place, a new one last.
    Without the order the server would put a new one first (podutil.UpdatePodCondition, PatchPodStatus). Refused
    when the pod is another one meanwhile."""
    types = [c["type"] for c in (pod.get("status") or {}).get("conditions") or ()]
    order = [{"type": type_} for type_ in dict.fromkeys((*types, condition["type"]))]
    status = {"$setElementOrder/conditions": order, "conditions": [condition]}
    return {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
