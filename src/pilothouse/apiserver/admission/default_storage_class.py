"""DefaultStorageClass: a claim that names no class gets the default one, if there is one
(plugin/pkg/admission/storage/storageclass/setdefault)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api.resources import STORAGE_CLASSES
from pilothouse.apiserver.admission.defaults import default_class
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target

_DEFAULT = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
_CLASS = "volume.beta.kubernetes.io/storage-class"


class DefaultStorageClass(Plugin):
    name: ClassVar[str] = "DefaultStorageClass"
    operations: ClassVar[frozenset[Operation]] = frozenset(("CREATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((("", "persistentvolumeclaims", ""),))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def admit(self, a: Attributes) -> None:
        assert a.obj is not None
        spec = a.obj["spec"]
        # "" is a class too: none at all.
        if _CLASS in (a.obj["metadata"].get("annotations") or {}) or spec.get("storageClassName") is not None:
            return
        found = default_class(self._lister.list(STORAGE_CLASSES), _DEFAULT)
        if found is not None:
            spec["storageClassName"] = found["metadata"]["name"]
