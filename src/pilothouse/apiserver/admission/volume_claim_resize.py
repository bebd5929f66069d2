"""PersistentVolumeClaimResize: a claim may grow when it is bound and its class allows it
(plugin/pkg/admission/storage/persistentvolume/resize)."""

from __future__ import annotations

from typing import ClassVar

from pilothouse.api import quantity
from pilothouse.api.quota.volume_claims import class_of
from pilothouse.api.resources import STORAGE_CLASSES
from pilothouse.api.types import Obj
from pilothouse.apiserver.admission.plugin import Attributes, Environment, Operation, Plugin, Target


class PersistentVolumeClaimResize(Plugin):
    name: ClassVar[str] = "PersistentVolumeClaimResize"
    operations: ClassVar[frozenset[Operation]] = frozenset(("UPDATE",))
    targets: ClassVar[frozenset[Target] | None] = frozenset((("", "persistentvolumeclaims", ""),))

    def __init__(self, env: Environment) -> None:
        self._lister = env.lister

    async def validate(self, a: Attributes) -> None:
        assert a.obj is not None and a.old is not None
        if _size(a.obj) <= _size(a.old):
            return
        if (a.old.get("status") or {}).get("phase") != "Bound":
            raise a.forbidden("Only bound persistent volume claims can be expanded")
        if not self._may_grow(a.obj, a.old):
            raise a.forbidden(
                "only dynamically provisioned pvc can be resized and "
                "the storageclass that provisions the pvc must support resize"
            )

    def _may_grow(self, claim: Obj, old: Obj) -> bool:
        name = class_of(claim)
        if not name or name != class_of(old):
            return False
        storage_class = self._lister.get(STORAGE_CLASSES, name)
        return storage_class is not None and bool(storage_class.get("allowVolumeExpansion"))


def _size(claim: Obj) -> int:
    """In nano-bytes."""
    requests = (claim["spec"].get("resources") or {}).get("requests") or {}
    return quantity.parse(requests.get("storage", "0")).nano
