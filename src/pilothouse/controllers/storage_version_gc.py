"""Takes API servers that have gone out of StorageVersions (KEP-2339,
k8s.io/kubernetes/pkg/controller/storageversiongc). Alpha: it runs where the API is served. An API server is there while
its identity lease is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pilothouse.api.resources import LEASES, Resource
from pilothouse.api.types import Obj
from pilothouse.client.informer import key_of
from pilothouse.client.reconciler import Controller
from pilothouse.kit.world import parse_timestamp

STORAGE_VERSIONS = Resource(
    "internal.apiserver.k8s.io", "v1alpha1", "storageversions", "StorageVersion", False
)
_IDENTITY = "apiserver.kubernetes.io/identity"
_AGAIN_S = 60.0


class StorageVersionGarbageCollector(Controller):
    name: ClassVar[str] = "storageversion-garbage-collector-controller"
    queue_name: ClassVar[str] = "storage_version_garbage_collector_storageversions"
    workers: ClassVar[int] = 1

    def setup(self) -> None:
        self._versions = self.watch(STORAGE_VERSIONS)
        self._leases = self.watch(
            LEASES,
            keys=self._naming,
            changed=lambda old, new: False,
            labelSelector=f"{_IDENTITY}=kube-apiserver",
        )

    async def reconcile(self, key: str) -> float | None:
        found = self._versions.get(key)
        if found is None:
            return None
        told = (found.get("status") or {}).get("storageVersions") or []
        if not told:
            return None  # its first server is about to say what it stores
        kept = [entry for entry in told if self._is_there(entry["apiServerID"])]
        if not kept:
            await self.client.delete(STORAGE_VERSIONS, key)
        elif len(kept) < len(told):
            encodings = {entry["encodingVersion"] for entry in kept}
            common = encodings.pop() if len(encodings) == 1 else None
            status = {"storageVersions": kept, "commonEncodingVersion": common}
            await self.set_status(STORAGE_VERSIONS, found, status)
        return _AGAIN_S

    def _is_there(self, server: str) -> bool:
        lease = self._leases.get(f"kube-system/{server}")
        spec = (lease or {}).get("spec") or {}
        if not spec.get("renewTime"):
            return False
        ends_s = parse_timestamp(spec["renewTime"]) + float(spec.get("leaseDurationSeconds") or 0)
        return ends_s >= self.world.clock.now()

    def _naming(self, lease: Obj) -> Iterable[str]:
        """The storage versions that an API server told of."""
        name = lease["metadata"]["name"]
        for found in self._versions.list():
            entries = (found.get("status") or {}).get("storageVersions") or ()
            if any(entry["apiServerID"] == name for entry in entries):
                yield key_of(found)
