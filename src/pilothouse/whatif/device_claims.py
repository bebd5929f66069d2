"""What the resource claim controller would make for a pod: a claim of each template that it names
(https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#resourceclaims-templates)."""

from __future__ import annotations

from pilothouse.api.resources import PODS, Resource
from pilothouse.api.types import Obj
from pilothouse.client.reconciler import controller_ref
from pilothouse.kit.world import World
from pilothouse.whatif.kinds import kinds
from pilothouse.whatif.snapshot import Snapshot

CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
TEMPLATES = Resource("resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate")
POD_CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"


def make(pod: Obj, snapshot: Snapshot, world: World) -> Obj:
    """The pod as the controller leaves it; its claims are put into the snapshot. A template that is not there makes
    none, and the scheduler will say so."""
    statuses = []
    for wanted in pod["spec"].get("resourceClaims") or ():
        template = snapshot.get(
            TEMPLATES, wanted.get("resourceClaimTemplateName", ""), pod["metadata"]["namespace"]
        )
        if template is not None:
            name = _claim(pod, wanted["name"], template, snapshot, world)
            statuses.append({"name": wanted["name"], "resourceClaimName": name})
    if not statuses:
        return pod
    return {**pod, "status": {**(pod.get("status") or {}), "resourceClaimStatuses": statuses}}


def _claim(pod: Obj, wanted: str, template: Obj, snapshot: Snapshot, world: World) -> str:
    meta, spec = pod["metadata"], template["spec"]
    given = spec.get("metadata") or {}
    name = f"{meta['name']}-{wanted}-{world.suffix()}"
    claim: Obj = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "uid": world.uid(),
            "labels": given.get("labels") or {},
            "annotations": {**(given.get("annotations") or {}), POD_CLAIM_NAME: wanted},
            "ownerReferences": [controller_ref(pod, PODS)],
        },
        "spec": spec["spec"],
    }
    snapshot.put(CLAIMS, kinds().complete(claim))
    return name
