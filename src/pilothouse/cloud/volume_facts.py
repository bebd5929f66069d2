"""What volumes of a cloud are in the API, and the other way round; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pilothouse.api import volumes
from pilothouse.api.provisioning import term_of as term
from pilothouse.api.provisioning import volume_for, volume_name
from pilothouse.api.types import Obj
from pilothouse.cloud.provider import Segments, Volume, VolumeRequest

PROVISIONING = "cloud.pilothouse.dev/provisioning"
"""A claim's finalizer from before the cloud is asked until the volume's object is there: a volume that nobody knows of
would stay for ever."""
PROTECTED = "external-provisioner.volume.kubernetes.io/finalizer"
"""A volume's finalizer: its object goes after what it stands for (KEP-2644)."""
_PREFIX = "csi.storage.k8s.io/"


def request_for(
    claim: Obj, storage_class: Obj, attributes: Mapping[str, str], places: Iterable[Segments]
) -> VolumeRequest:
    meta = claim["metadata"]
    parameters = storage_class.get("parameters") or {}
    return VolumeRequest(
        volume_name(claim),
        volumes.asked(claim),
        access_modes=tuple(claim["spec"]["accessModes"]),
        mode=volumes.volume_mode(claim),
        parameters={key: value for key, value in parameters.items() if not key.startswith(_PREFIX)},
        attributes=attributes,
        places=tuple(places),
        snapshot=_snapshot(claim),
        tags={
            "kubernetes.io/created-for/pvc/name": meta["name"],
            "kubernetes.io/created-for/pvc/namespace": meta["namespace"],
            "kubernetes.io/created-for/pv/name": volume_name(claim),
        },
    )


def _snapshot(claim: Obj) -> str:
    source = claim["spec"].get("dataSource") or {}
    return str(source["name"]) if source.get("kind") == "VolumeSnapshot" else ""


def object_for(claim: Obj, storage_class: Obj, driver: str, volume: Volume) -> Obj:
    """The PersistentVolume of a volume that was made for a claim."""
    csi: Obj = {"driver": driver, "volumeHandle": volume.id}
    if volume.context:
        csi["volumeAttributes"] = dict(volume.context)
    kind = (storage_class.get("parameters") or {}).get(f"{_PREFIX}fstype")
    if volumes.volume_mode(claim) == "Filesystem":
        csi["fsType"] = kind or "ext4"
    terms = [term(place) for place in volume.places]
    made = volume_for(claim, storage_class, csi, size_text(volume.size_bytes), terms)
    made["metadata"]["finalizers"] = [PROTECTED]
    return made


def size_text(size: int) -> str:
    """As people write it: 3Gi where it is whole, bytes otherwise."""
    for unit, power in (("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return str(size)


def places_for(
    keys: tuple[str, ...], storage_class: Obj, selected: Obj | None, nodes: Iterable[Obj], seed: str
) -> list[Segments]:
    """Where a volume may be, the best first: at the node that was chosen for the pod; without one, at all places that
    nodes have and the class allows, in an order of each claim's own, so that claims are spread over zones."""
    if not keys:
        return []
    if selected is not None:
        place = _place(keys, selected)
        return [place] if place else []
    found = {
        tuple(sorted(place.items()))
        for node in nodes
        if (place := _place(keys, node)) and _allowed(storage_class, node)
    }
    ordered = [dict(place) for place in sorted(found)]
    start = sum(seed.encode()) % len(ordered) if ordered else 0
    return [*ordered[start:], *ordered[:start]]


def _place(keys: tuple[str, ...], node: Obj) -> dict[str, str]:
    labels = node["metadata"].get("labels") or {}
    return {key: labels[key] for key in keys} if all(key in labels for key in keys) else {}


def _allowed(storage_class: Obj, node: Obj) -> bool:
    return volumes.allows_topology(storage_class, node)


def attacher_finalizer(driver: str) -> str:
    """As external-attacher names it."""
    return "external-attacher/" + re.sub(r"[^A-Za-z0-9-]", "-", driver)


def handle_of(volume: Obj, driver: str) -> str | None:
    """The cloud's id of a volume of this driver; None for another's."""
    csi = volume["spec"].get("csi") or {}
    return str(csi["volumeHandle"]) if csi.get("driver") == driver else None
