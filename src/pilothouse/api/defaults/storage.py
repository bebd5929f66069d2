"""Defaults of the kinds in storage (pkg/apis/storage/v1/defaults.go)."""

from __future__ import annotations

from pilothouse.api.defaults.table import Defaulter
from pilothouse.api.types import Obj


def storage_class(obj: Obj) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def csi_driver(obj: Obj) -> None:
    spec = obj["spec"]
    spec.setdefault("attachRequired", True)
    spec.setdefault("podInfoOnMount", False)
    spec.setdefault("storageCapacity", False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]
    spec.setdefault("requiresRepublish", False)
    spec.setdefault("seLinuxMount", False)


_VOLUME_SOURCES: dict[str, dict[str, object]] = {
    "hostPath": {"type": ""},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "iscsi": {"iscsiInterface": "default"},
    "azureDisk": {"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def volume_attachment(obj: Obj) -> None:
    """An inline volume gets the defaults of its source, not those of a PersistentVolume."""
    inline = obj["spec"]["source"].get("inlineVolumeSpec")
    if inline is None:
        return
    for source, defaults in _VOLUME_SOURCES.items():
        if source in inline:
            for key, value in defaults.items():
                inline[source].setdefault(key, value)


_PER_KIND: dict[str, Defaulter] = {
    "StorageClass": storage_class,
    "CSIDriver": csi_driver,
    "VolumeAttachment": volume_attachment,
}

DEFAULTS: dict[tuple[str, str, str], Defaulter] = {
    ("storage.k8s.io", version, kind): default
    for version in ("v1", "v1beta1")
    for kind, default in _PER_KIND.items()
}
