"""How pods and ResourceClaims belong together (k8s.io/dynamic-resource-allocation/resourceclaim, KEP-4381).

A pod names a claim, or a template from which one is made for it; the name of that one stands in the pod's status.
"""

from __future__ import annotations

from pilothouse.api.types import Obj

FINALIZER = "resource.kubernetes.io/delete-protection"
"""On claims that are allocated."""
POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
"""The annotation of a claim made from a template: which of its pod's claims it is."""
EXTENDED = "resource.kubernetes.io/extended-resource-claim"
"""The annotation of a claim that the scheduler made for a pod's extended resources."""
RESERVED_FOR_MAX = 256


class ClaimError(ValueError):
    """A pod's claim that is not there, or not this pod's. The text is upstream's."""


class NotCreatedYet(ClaimError):
    """It will be made from its template."""


def name_of(pod: Obj, entry: Obj) -> tuple[str, bool]:
    """The name of the claim that an entry of spec.resourceClaims means ("": none is needed), and whether it must have
    been made for this pod. ClaimError."""
    meta = pod["metadata"]
    if entry.get("resourceClaimName") is not None:
        return entry["resourceClaimName"], False
    if entry.get("resourceClaimTemplateName") is None:
        where = f'pod "{meta["namespace"]}/{meta["name"]}", spec.resourceClaim "{entry["name"]}"'
        raise ClaimError(f"{where}: none of the supported fields are set")
    for status in (pod.get("status") or {}).get("resourceClaimStatuses") or ():
        if status["name"] == entry["name"]:
            return status.get("resourceClaimName") or "", True
    raise NotCreatedYet(f'pod "{meta["namespace"]}/{meta["name"]}": ResourceClaim not created yet')


def check_owner(pod: Obj, claim: Obj) -> None:
    """ClaimError unless a claim was made for a pod."""
    own, meta = claim["metadata"], pod["metadata"]
    if own["namespace"] != meta["namespace"] or owner_uid(claim) != meta["uid"]:
        raise ClaimError(
            f"ResourceClaim {own['namespace']}/{own['name']} was not created for Pod "
            f"{meta['namespace']}/{meta['name']} (Pod is not owner)"
        )


def owner_uid(claim: Obj) -> str:
    """The UID of the pod that a claim was made for; "" for other claims."""
    owner = owner_of(claim)
    return str(owner["uid"]) if owner is not None else ""


def owner_of(claim: Obj) -> Obj | None:
    for ref in claim["metadata"].get("ownerReferences") or ():
        if ref.get("controller") and ref.get("apiVersion") == "v1" and ref.get("kind") == "Pod":
            found: Obj = ref
            return found
    return None


def allocation(claim: Obj) -> Obj | None:
    found: Obj | None = (claim.get("status") or {}).get("allocation")
    return found


def reserved_for(claim: Obj) -> list[Obj]:
    found: list[Obj] = (claim.get("status") or {}).get("reservedFor") or []
    return found


def is_reserved_for(pod: Obj, claim: Obj) -> bool:
    return any(ref.get("uid") == pod["metadata"]["uid"] for ref in reserved_for(claim))


def can_be_reserved(claim: Obj) -> bool:
    return len(reserved_for(claim)) < RESERVED_FOR_MAX


def reference(pod: Obj) -> Obj:
    """A pod as a consumer in status.reservedFor."""
    meta = pod["metadata"]
    return {"resource": "pods", "name": meta["name"], "uid": meta["uid"]}
