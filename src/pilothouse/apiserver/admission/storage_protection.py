"""StorageObjectInUseProtection: volumes and claims are kept while something uses them
(plugin/pkg/admission/storage/storageobjectinuseprotection)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin

_FINALIZERS = {
    ("", "PersistentVolume"): "kubernetes.io/pv-protection",
    ("", "PersistentVolumeClaim"): "kubernetes.io/pvc-protection",
    ("storage.k8s.io", "VolumeAttributesClass"): "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name: ClassVar[str] = "StorageObjectInUseProtection"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))

    async def admit(self, a: Attributes) -> None:
        finalizer = _FINALIZERS.get((a.resource.group, a.resource.kind))
        if finalizer is None or a.subresource or a.obj is None:
            return
        present = a.obj["metadata"].get("finalizers") or []
        if finalizer not in present:
            a.obj["metadata"]["finalizers"] = [*present, finalizer]
