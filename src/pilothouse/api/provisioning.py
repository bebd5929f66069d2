"""Volumes made for claims, by whoever makes them (https://kubernetes-csi.github.io/docs/external-provisioner.html)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pilothouse.api import volumes
from pilothouse.api.types import Obj
from pilothouse.api.volumes import PROVISIONED_BY

Segments = Mapping[str, str]
"""A place, by topology labels of nodes."""


def volume_name(claim: Obj) -> str:
    """After the claim, so that a second attempt finds the first one's."""
    return f"pvc-{claim['metadata']['uid']}"


def volume_for(claim: Obj, storage_class: Obj, csi: Obj, size: str, terms: Iterable[Obj]) -> Obj:
    """The volume for a claim, reserved for it. `csi` is its source, `terms` the node selector terms that say where it
    can be used, none for anywhere."""
    meta = claim["metadata"]
    spec: Obj = {
        "capacity": {"storage": size},
        "accessModes": claim["spec"]["accessModes"],
        "volumeMode": volumes.volume_mode(claim),
        "storageClassName": volumes.class_of(claim),
        "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
        "csi": csi,
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
    }
    selectors = list(terms)
    if selectors:
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": selectors}}
    for field, value in (
        ("mountOptions", storage_class.get("mountOptions")),
        ("volumeAttributesClassName", claim["spec"].get("volumeAttributesClassName")),
    ):
        if value:
            spec[field] = value
    annotations = {PROVISIONED_BY: storage_class["provisioner"]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": volume_name(claim), "annotations": annotations},
        "spec": spec,
    }


def term_of(place: Segments) -> Obj:
    """The node selector term that a place is."""
    return {
        "matchExpressions": [
            {"key": key, "operator": "In", "values": [value]} for key, value in sorted(place.items())
        ]
    }


def allowed_terms(storage_class: Obj) -> list[Obj]:
    """The node selector terms of a class's allowedTopologies."""
    return [
        {
            "matchExpressions": [
                {"key": e["key"], "operator": "In", "values": e["values"]}
                for e in term.get("matchLabelExpressions") or ()
            ]
        }
        for term in storage_class.get("allowedTopologies") or ()
    ]
