"""The audiences that a pod asks tokens for: those of its projected volumes, and of the CSI drivers of its volumes
(NodeRestriction's podReferencesAudience, KEP-4412)."""

from __future__ import annotations

from collections.abc import Iterator

from pilothouse.api import volumes
from pilothouse.api.resources import CSI_DRIVERS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from pilothouse.api.types import Obj
from pilothouse.apiserver.registry.lister import Lister


def of_pod(lister: Lister, pod: Obj) -> Iterator[str]:
    """ "" stands for the API server itself."""
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("serviceAccountToken") is not None:
                yield source["serviceAccountToken"].get("audience") or ""
        driver = (volume.get("csi") or {}).get("driver") or _driver_of_claim(lister, pod, volume)
        if driver:
            yield from _of_driver(lister, driver)


def _driver_of_claim(lister: Lister, pod: Obj, volume: Obj) -> str:
    """pod -> claim -> volume -> driver; "" where the chain ends before."""
    name = volumes.claim_name(pod, volume)
    claim = lister.get(PERSISTENT_VOLUME_CLAIMS, name, pod["metadata"]["namespace"]) if name else None
    bound = (claim or {}).get("spec", {}).get("volumeName")
    found = lister.get(PERSISTENT_VOLUMES, bound) if bound else None
    return str(((found or {}).get("spec", {}).get("csi") or {}).get("driver") or "")


def _of_driver(lister: Lister, driver: str) -> Iterator[str]:
    found = lister.get(CSI_DRIVERS, driver) or {}
    for request in (found.get("spec") or {}).get("tokenRequests") or ():
        yield request.get("audience") or ""
