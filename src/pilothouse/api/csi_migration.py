"""Volumes of the in-tree plugins, and the CSI drivers that took over from them (k8s.io/csi-translation-lib). A node's
kubelet says in an annotation of its CSINode for which plugins it does so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pilothouse.api.types import Obj

MIGRATED_PLUGINS = "storage.alpha.kubernetes.io/migrated-plugins"


class Attachable(NamedTuple):
    """A volume that a driver attaches to nodes. `plugin` is the in-tree plugin that it was written for; the driver then
    counts only on nodes that migrated it."""

    driver: str
    handle: str
    plugin: str = ""


class _InTree(NamedTuple):
    plugin: str
    driver: str
    handle: str


_IN_TREE: Mapping[str, _InTree] = {
    "awsElasticBlockStore": _InTree("kubernetes.io/aws-ebs", "ebs.csi.aws.com", "volumeID"),
    "gcePersistentDisk": _InTree("kubernetes.io/gce-pd", "pd.csi.storage.gke.io", "pdName"),
    "azureDisk": _InTree("kubernetes.io/azure-disk", "disk.csi.azure.com", "diskURI"),
    "azureFile": _InTree("kubernetes.io/azure-file", "file.csi.azure.com", "shareName"),
    "cinder": _InTree("kubernetes.io/cinder", "cinder.csi.openstack.org", "volumeID"),
    "portworxVolume": _InTree("kubernetes.io/portworx-volume", "pxd.portworx.com", "volumeID"),
    "vsphereVolume": _InTree("kubernetes.io/vsphere-volume", "csi.vsphere.vmware.com", "volumePath"),
}
_DRIVERS = {entry.plugin: entry.driver for entry in _IN_TREE.values()}


def attachable(source: Obj) -> Attachable | None:
    """What a volume source (of a persistent volume's spec or a pod's volume) attaches; None for one that is not
    attached by a driver, or has no handle. CSI volumes in a pod itself are not attached either, but have none."""
    csi = source.get("csi")
    if csi:
        handle = csi.get("volumeHandle", "")
        return Attachable(csi.get("driver", ""), handle) if csi.get("driver") and handle else None
    for field, entry in _IN_TREE.items():
        volume = source.get(field)
        if volume:
            handle = volume.get(entry.handle, "")
            return Attachable(entry.driver, handle, entry.plugin) if handle else None
    return None


def provisioned(provisioner: str, claim_key: str) -> Attachable:
    """What a class's provisioner will make for a claim: nobody knows its handle yet."""
    driver = _DRIVERS.get(provisioner)
    if driver is None:
        return Attachable(provisioner, claim_key)
    return Attachable(driver, claim_key, provisioner)


def migrated(csi_node: Obj) -> frozenset[str]:
    """The in-tree plugins whose volumes a node's CSI drivers attach."""
    text = (csi_node["metadata"].get("annotations") or {}).get(MIGRATED_PLUGINS, "")
    return frozenset(text.split(",")) - {""}


def driver_for(plugin: str) -> str | None:
    """The driver that took over from an in-tree plugin; None when none did."""
    return _DRIVERS.get(plugin)
