"""Claims and volumes: what belongs to whom, and which volume is good enough for which claim
(k8s.io/component-helpers/storage/volume, https://kubernetes.io/docs/concepts/storage/persistent-volumes/).

    claim.spec.volumeName ──▶ volume        volume.spec.claimRef ──▶ claim
    A binding holds when both point at each other; `bind-completed` on the claim says that it once did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from pilothouse.api import labels, node_selector, quantity
from pilothouse.api.types import Obj

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
PROVISIONER_BETA = "volume.beta.kubernetes.io/storage-provisioner"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
DEFAULT_CLASS_BETA = "storageclass.beta.kubernetes.io/is-default-class"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
SIMULATED_DRIVER = "simulated.pilothouse.dev"
"""The CSI driver of volumes that hold nothing: the simulated nodes attach and resize them."""


def annotations_of(obj: Obj) -> Mapping[str, str]:
    found: Mapping[str, str] = obj["metadata"].get("annotations") or {}
    return found


def with_annotations(obj: Obj, more: Mapping[str, str]) -> Obj:
    """A copy with further annotations."""
    return {**obj, "metadata": {**obj["metadata"], "annotations": {**annotations_of(obj), **more}}}


# -- pods -----------------------------------------------------------------------------------------------------


def claim_name(pod: Obj, volume: Obj) -> str | None:
    """The claim that one of a pod's volumes stands for; a generic ephemeral one has its own."""
    if volume.get("persistentVolumeClaim"):
        return str(volume["persistentVolumeClaim"].get("claimName", ""))
    if volume.get("ephemeral") is not None:
        return ephemeral_claim_name(pod, volume)
    return None


def ephemeral_claim_name(pod: Obj, volume: Obj) -> str:
    return f"{pod['metadata']['name']}-{volume['name']}"


def claim_names(pod: Obj) -> Iterator[tuple[str, bool]]:
    """The names of a pod's claims in the order of its volumes, and whether each is of an ephemeral volume."""
    for volume in pod["spec"].get("volumes") or ():
        name = claim_name(pod, volume)
        if name is not None:
            yield name, not volume.get("persistentVolumeClaim")


def claims_of(pod: Obj) -> list[str]:
    """The keys of the claims a pod mounts, those of its generic ephemeral volumes among them."""
    namespace = pod["metadata"]["namespace"]
    return [f"{namespace}/{name}" for name, _ in claim_names(pod)]


def not_made_for(pod: Obj, claim: Obj) -> str:
    """What is wrong when an ephemeral volume's claim is not its pod's (ephemeral.VolumeIsForPod)."""
    meta, owner = claim["metadata"], pod["metadata"]
    refs: Iterable[Obj] = meta.get("ownerReferences") or ()
    if any(ref.get("controller") and ref.get("uid") == owner.get("uid") for ref in refs):
        return ""
    return (
        f"PVC {meta['namespace']}/{meta['name']} was not created for pod "
        f"{owner['namespace']}/{owner['name']} (pod is not owner)"
    )


# -- claims and volumes ---------------------------------------------------------------------------------------


def class_of(obj: Obj) -> str:
    """The storage class of a claim or volume; the old annotation goes first."""
    return str(annotations_of(obj).get(CLASS_BETA) or obj["spec"].get("storageClassName") or "")


def is_default_class(storage_class: Obj) -> bool:
    found = annotations_of(storage_class)
    return "true" in (found.get(DEFAULT_CLASS), found.get(DEFAULT_CLASS_BETA))


def waits_for_consumer(storage_class: Obj | None) -> bool:
    return (
        storage_class is not None
        and (storage_class.get("volumeBindingMode") or "Immediate") == "WaitForFirstConsumer"
    )


def asked(claim: Obj) -> int:
    """Bytes."""
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return quantity.parse(str(requests.get("storage", "0"))).value


def granted(claim: Obj) -> int:
    """Bytes that a bound claim has been given; 0 before."""
    found = (claim.get("status") or {}).get("capacity") or {}
    return quantity.parse(str(found.get("storage", "0"))).value


def capacity(volume: Obj) -> int:
    """Bytes."""
    return quantity.parse(str((volume["spec"].get("capacity") or {}).get("storage", "0"))).value


def is_fully_bound(claim: Obj) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def claim_ref(volume: Obj) -> Obj | None:
    found: Obj | None = volume["spec"].get("claimRef")
    return found


def claim_key(volume: Obj) -> str:
    """The key of the claim that a volume is for; "" for none."""
    ref = claim_ref(volume)
    return f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""


def is_bound_to(volume: Obj, claim: Obj) -> bool:
    """Whether a volume is for this claim; one that was reserved by hand knows no UID."""
    ref, meta = claim_ref(volume), claim["metadata"]
    if not ref or claim_key(volume) != f"{meta['namespace']}/{meta['name']}":
        return False
    return not ref.get("uid") or ref["uid"] == meta["uid"]


def volume_mode(obj: Obj) -> str:
    return str(obj["spec"].get("volumeMode") or "Filesystem")


def allows_modes(volume: Obj, claim: Obj) -> bool:
    modes = volume["spec"].get("accessModes") or ()
    return all(mode in modes for mode in claim["spec"].get("accessModes") or ())


def on_nodes(volume: Obj) -> Obj | None:
    """The node selector that says where a volume can be used; None for anywhere."""
    found: Obj | None = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return found


def reaches(volume: Obj, node: Obj) -> bool:
    """Whether a volume can be used on a node (CheckNodeAffinity)."""
    selector = on_nodes(volume)
    return selector is None or node_selector.selector_matches(selector, node)


def may_hold(volume: Obj, claim: Obj) -> bool:
    """What must hold of a volume even when it is reserved for the claim."""
    if claim_ref(volume) and not is_bound_to(volume, claim):
        return False
    if volume["metadata"].get("deletionTimestamp") or capacity(volume) < asked(claim):
        return False
    attributes = claim["spec"].get("volumeAttributesClassName") or ""
    return (
        volume_mode(volume) == volume_mode(claim)
        and (volume["spec"].get("volumeAttributesClassName") or "") == attributes
    )


def suits(volume: Obj, claim: Obj) -> bool:
    """What must hold besides of one that is free."""
    if (volume.get("status") or {}).get("phase") != "Available" or class_of(volume) != class_of(claim):
        return False
    selector = claim["spec"].get("selector")
    if selector and not labels.from_label_selector(selector).matches(volume["metadata"].get("labels") or {}):
        return False
    return allows_modes(volume, claim)


def match(
    claim: Obj, volumes: Iterable[Obj], node: Obj | None = None, taken: Collection[str] = ()
) -> Obj | None:
    """The volume that is reserved for a claim or else the smallest that will do, on a node if one is given
    (FindMatchingVolume). Of equal ones the first in the order of names, where upstream takes any."""
    found: Obj | None = None
    for volume in volumes:
        if volume["metadata"]["name"] in taken or not may_hold(volume, claim):
            continue
        here = node is None or reaches(volume, node)
        if claim_ref(volume):
            return volume if here else None
        if here and suits(volume, claim) and (found is None or order(volume) < order(found)):
            found = volume
    return found


def order(volume: Obj) -> tuple[int, str]:
    """Smaller volumes go first."""
    return capacity(volume), str(volume["metadata"]["name"])


def bound_to(volume: Obj, claim: Obj) -> Obj:
    """The volume with its end of the binding; the same object when it has it already (GetBindVolumeToClaim)."""
    meta, ref = claim["metadata"], claim_ref(volume)
    by_hand = is_bound_to(volume, claim)
    if by_hand and ref is not None and ref.get("uid") == meta["uid"]:
        return volume
    reference = {
        "kind": "PersistentVolumeClaim",
        "namespace": meta["namespace"],
        "name": meta["name"],
        "uid": meta["uid"],
        "apiVersion": "v1",
        "resourceVersion": meta["resourceVersion"],
    }
    made: Obj = {**volume, "spec": {**volume["spec"], "claimRef": reference}}
    return made if by_hand else with_annotations(made, {BOUND_BY_CONTROLLER: "yes"})


# -- storage classes ------------------------------------------------------------------------------------------


def allows_topology(storage_class: Obj, node: Obj) -> bool:
    """Whether a class's volumes can be made for a node (MatchTopologySelectorTerms): any term will do, all if there are
    none."""
    terms = storage_class.get("allowedTopologies") or ()
    found = node["metadata"].get("labels") or {}
    return not terms or any(_topology_holds(term, found) for term in terms)


def _topology_holds(term: Obj, found: Mapping[str, str]) -> bool:
    expressions = term.get("matchLabelExpressions") or ()
    return bool(expressions) and all(found.get(e["key"]) in (e.get("values") or ()) for e in expressions)


def volume_limit(storage_capacity: Obj) -> int | None:
    """The largest volume that a CSIStorageCapacity has room for, in bytes; None when nobody knows."""
    text = storage_capacity.get("maximumVolumeSize") or storage_capacity.get("capacity")
    return None if text is None else quantity.parse(str(text)).value


def reached_from(storage_capacity: Obj, node: Obj) -> bool:
    topology = storage_capacity.get("nodeTopology")
    if topology is None:
        return False
    return labels.from_label_selector(topology).matches(node["metadata"].get("labels") or {})
