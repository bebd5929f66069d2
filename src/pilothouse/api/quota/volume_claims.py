"""Persistent volume claims: their number and size, in all and by storage class
(pkg/quota/v1/evaluator/core/persistent_volume_claims.go)."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.api import quantity
from pilothouse.api.amounts import Amounts
from pilothouse.api.quantity import Quantity
from pilothouse.api.quota import scopes
from pilothouse.api.quota.evaluator import ONE, Evaluator, units
from pilothouse.api.types import Obj

_BY_CLASS = ".storageclass.storage.k8s.io/"
_NAMES = ("persistentvolumeclaims", "requests.storage")
_SUFFIXES = tuple(_BY_CLASS + name for name in _NAMES)
_BETA_CLASS = "volume.beta.kubernetes.io/storage-class"


class VolumeClaimEvaluator(Evaluator):
    def __init__(self) -> None:
        super().__init__("", "persistentvolumeclaims")

    def handles(self, operation: str, subresource: str, obj: Obj, old: Obj | None) -> bool:
        """A status can raise the usage (a resize in the works) but is never refused for it."""
        return operation in ("CREATE", "UPDATE") and subresource in ("", "status")

    def matching(self, names: Iterable[str]) -> list[str]:
        known = (self.count_name, *_NAMES)
        return [name for name in names if name in known or name.endswith(_SUFFIXES)]

    def usage(self, obj: Obj, now_s: float) -> Amounts:
        total: Amounts = {"persistentvolumeclaims": ONE, self.count_name: ONE}
        storage, storage_class = _storage(obj), class_of(obj)
        if storage is not None:
            total["requests.storage"] = storage
        if storage_class:
            total[f"{storage_class}{_BY_CLASS}persistentvolumeclaims"] = ONE
            if storage is not None:
                total[f"{storage_class}{_BY_CLASS}requests.storage"] = storage
        return total

    def in_scope(self, selector: Obj, obj: Obj) -> bool:
        """VolumeAttributesClass alone: the class asked for, the one it has, and the one it goes to."""
        if selector["scopeName"] != "VolumeAttributesClass":
            return False
        classes = _attributes_classes(obj)
        if not classes:
            return scopes.matches_values(selector, {})
        return any(scopes.matches_values(selector, {"VolumeAttributesClass": name}) for name in classes)

    def replenishes(self, old: Obj, new: Obj, now_s: float) -> bool:
        if _allocated(old) != _allocated(new):
            return True
        return set(_attributes_classes(old)) != set(_attributes_classes(new))


def class_of(claim: Obj) -> str:
    """The storage class, by the old annotation or the field (volume helpers GetPersistentVolumeClaimClass)."""
    annotations = claim["metadata"].get("annotations") or {}
    if _BETA_CLASS in annotations:
        return str(annotations[_BETA_CLASS])
    return str(claim["spec"].get("storageClassName") or "")


def _storage(claim: Obj) -> Quantity | None:
    """Whole bytes: what is asked for, or what is already allocated when that is more."""
    asked = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    if asked is None:
        return None
    allocated = _allocated(claim)
    most = quantity.parse(asked)
    if allocated is not None and allocated.nano > most.nano:
        most = allocated
    return Quantity(units(most.value).nano, most.family)


def _allocated(claim: Obj) -> Quantity | None:
    text = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
    return None if text is None else quantity.parse(text)


def _attributes_classes(claim: Obj) -> list[str]:
    status = claim.get("status") or {}
    names = (
        claim["spec"].get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return [name for name in names if name]
