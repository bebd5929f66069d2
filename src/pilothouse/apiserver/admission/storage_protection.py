"""StorageObjectInUseProtection: volumes and claims are kept while something uses them
(plugin/pkg/admission/storage/storageobjectinuseprotection)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.apiserver.admission.plugin import Attributes, Operation, Plugin, Target

_FINALIZERS: dict[Target, str] = {
    ("", "persistentvolumes", ""): "kubernetes.io/pv-protection",
    ("", "persistentvolumeclaims", ""): "kubernetes.io/pvc-protection",
    ("storage.k8s.io", "volumeattributesclasses", ""): "kubernetes.io/vac-protection",
}


class StorageObjectInUseProtection(Plugin):
    name: ClassVar[str] = "StorageObjectInUseProtection"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset(_FINALIZERS)

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        finalizer = _FINALIZERS[a.resource.group, a.resource.plural, a.subresource]
        present = a.obj["metadata"].get("finalizers") or []
        if finalizer not in present:
            a.obj["metadata"]["finalizers"] = [*present, finalizer]
