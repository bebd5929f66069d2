"""Validation of persistent volumes (ValidatePersistentVolumeSpec and its neighbours in
pkg/apis/core/validation)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import gotext, names
from pilothouse.api.validation.claims import ACCESS_MODES, VOLUME_MODES
from pilothouse.api.validation.core import dns_label, subdomain
from pilothouse.api.validation.labels import deprecated_label
from pilothouse.api.validation.pods import volumes
from pilothouse.api.validation.pods.diff import diff
from pilothouse.api.validation.pods.forms import need, no_backsteps
from pilothouse.api.validation.pods.scheduling import node_selector
from pilothouse.api.validation.volume_structs import NODE_AFFINITY, PERSISTENT_SOURCE

RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
MOUNT_OPTIONS_ANNOTATION = "volume.beta.kubernetes.io/mount-options"
GA_LABELS = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "beta.kubernetes.io/os": "kubernetes.io/os",
    "beta.kubernetes.io/arch": "kubernetes.io/arch",
    "beta.kubernetes.io/instance-type": "node.kubernetes.io/instance-type",
}


def persistent_volume(obj: Obj, old: Obj | None = None) -> f.Errors:
    spec: Obj = obj["spec"]
    name: str = obj["metadata"].get("name", "")
    out: f.Errors = []
    _access_modes(spec, out)
    _capacity(spec, out)
    policy = spec.get("persistentVolumeReclaimPolicy", "")
    if policy and policy not in RECLAIM_POLICIES:
        out.append(f.not_supported("spec.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES))
    _node_affinity(spec, old, out)
    _sources(spec, name, out)
    path = (spec.get("hostPath") or {}).get("path")
    if path is not None and policy == "Recycle" and posixpath.normpath(path or ".") in ("/", "//"):
        why = "may not be 'recycle' for a hostPath mount of '/'"
        out.append(f.forbidden("spec.persistentVolumeReclaimPolicy", why))
    if spec.get("storageClassName"):
        out += subdomain(spec["storageClassName"], "spec.storageClassName")
    mode = spec.get("volumeMode")
    if mode is not None and mode not in VOLUME_MODES:
        out.append(f.not_supported("spec.volumeMode", mode, VOLUME_MODES))
    _attributes_class(spec, out)
    return out


def _access_modes(spec: Obj, out: f.Errors) -> None:
    modes = spec.get("accessModes") or ()
    if not modes:
        out.append(f.required("spec.accessModes"))
    out += [f.not_supported("spec.accessModes", m, ACCESS_MODES) for m in modes if m not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and any(m in ACCESS_MODES and m != "ReadWriteOncePod" for m in modes):
        why = "may not use ReadWriteOncePod with other access modes"
        out.append(f.forbidden("spec.accessModes", why))


def _capacity(spec: Obj, out: f.Errors) -> None:
    capacity: dict[str, str] = spec.get("capacity") or {}
    if not capacity:
        out.append(f.required("spec.capacity"))
    if list(capacity) != ["storage"]:
        out.append(f.not_supported("spec.capacity", capacity or gotext.NULL, ("storage",)))
    for name, amount in capacity.items():
        parsed = quantity.parse(amount)
        if parsed.value < 0:
            why = "must be a valid resource quantity"
            out.append(f.invalid(f"spec.capacity[{name}]", parsed.value, why))
        if parsed.nano <= 0:
            out.append(f.invalid(f"spec.capacity[{name}]", amount, "must be greater than zero"))


def _node_affinity(spec: Obj, old: Obj | None, out: f.Errors) -> None:
    affinity = spec.get("nodeAffinity")
    if affinity is None:
        return
    required = affinity.get("required")
    if required is None:
        out.append(f.required("spec.nodeAffinity.required", "must specify required node constraints"))
        return
    node_selector(required, "spec.nodeAffinity.required", out, any_value=_had_bad_values(old))


def _had_bad_values(old: Obj | None) -> bool:
    """Values that are no label values may stay where they were."""
    required = ((old or {}).get("spec", {}).get("nodeAffinity") or {}).get("required") or {}
    return any(
        names.is_label_value(value)
        for term in required.get("nodeSelectorTerms") or ()
        for expression in term.get("matchExpressions") or ()
        for value in expression.get("values") or ()
    )


def _attributes_class(spec: Obj, out: f.Errors) -> None:
    name = spec.get("volumeAttributesClassName")
    if name is None:
        return
    path = "spec.volumeAttributesClassName"
    if not name:
        out.append(f.required(path, "an empty string is disallowed"))
    else:
        out += subdomain(name, path)
    if spec.get("csi") is None:
        out.append(f.required("spec.csi", "has to be specified when using volumeAttributesClassName"))


# Sources: as in pods where they are the same, with a namespace for secrets where they are not.

Check = Callable[[Obj, str, f.Errors], None]


def _secret_reference(source: Obj, key: str, path: str, out: f.Errors) -> None:
    """Both parts; upstream checks their forms for CSI only."""
    reference = source.get(key)
    if reference is None:
        return
    for part in ("name", "namespace"):
        need(reference, part, f"{path}.{key}", out)


def _glusterfs(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "endpoints", path, out)
    need(source, "path", path, out)
    namespace = source.get("endpointsNamespace")
    if namespace is None:
        return
    at = f"{path}.endpointsNamespace"
    if not namespace:
        why = "if the endpointnamespace is set, it must be a valid namespace name"
        out.append(f.invalid(at, namespace, why))
    else:
        out += dns_label(namespace, at)


def _iscsi(source: Obj, path: str, out: f.Errors, name: str = "") -> None:
    portal = source.get("targetPortal", "")
    need(source, "targetPortal", path, out)
    if source.get("initiatorName") is not None and len(f"{name}:{portal}".encode()) > _ISCSI_TOTAL_MAX:
        why = (
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if "
            "iscsi.initiatorName is specified."
        )
        out.append(f.invalid(f"{path}.targetportal", portal, why))
    volumes.iscsi(source, path, out)


def _cinder(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "volumeID", path, out)
    _secret_reference(source, "secretRef", path, out)


def _azure_file(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "secretName", path, out)
    need(source, "shareName", path, out)
    if source.get("secretNamespace") == "":
        out.append(f.required(f"{path}.secretNamespace"))


def _local(source: Obj, path: str, out: f.Errors) -> None:
    if need(source, "path", path, out):
        no_backsteps(source["path"], f"{path}.path", out)


def _storage_os(source: Obj, path: str, out: f.Errors) -> None:
    volumes.storage_os_names(source, path, out)
    _secret_reference(source, "secretRef", path, out)


_CSI_SECRETS = (
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
)


def _csi(source: Obj, path: str, out: f.Errors) -> None:
    volumes.driver_name(source.get("driver", ""), f"{path}.driver", out)
    need(source, "volumeHandle", path, out)
    for key in _CSI_SECRETS:
        reference = source.get(key)
        if reference is None:
            continue
        at = f"{path}.{key}"
        if need(reference, "name", at, out):
            out += subdomain(reference["name"], f"{at}.name")
        if need(reference, "namespace", at, out):
            out += dns_label(reference["namespace"], f"{at}.namespace")


_ISCSI_TOTAL_MAX = 64
_OWN: dict[str, Check] = {
    "glusterfs": _glusterfs,
    "iscsi": _iscsi,
    "cinder": _cinder,
    "flexVolume": volumes.flex_volume,
    "azureFile": _azure_file,
    "local": _local,
    "storageos": _storage_os,
    "csi": _csi,
}
_ORDER = (
    "hostPath", "gcePersistentDisk", "awsElasticBlockStore", "glusterfs", "flocker", "nfs", "rbd", "quobyte",
    "cephfs", "iscsi", "cinder", "fc", "flexVolume", "azureFile", "vsphereVolume", "photonPersistentDisk",
    "portworxVolume", "azureDisk", "scaleIO", "local", "storageos", "csi",
)  # fmt: skip
SOURCES: dict[str, Check] = {key: _OWN.get(key) or volumes.SOURCES[key] for key in _ORDER}
"""By field, in upstream's order."""
_OTHER_PATH = {"gcePersistentDisk": "persistentDisk", "cephfs": "cephfs"}


def _sources(spec: Obj, name: str, out: f.Errors) -> None:
    count = 0
    for key, check in SOURCES.items():
        source = spec.get(key)
        if source is None:
            continue
        # A flexVolume may stand beside another type.
        if count and key != "flexVolume":
            shown = "cephFS" if key == "cephfs" else key
            out.append(f.forbidden(f"spec.{shown}", volumes.MORE_THAN_ONE))
            continue
        count += 1
        if key == "iscsi":
            _iscsi(source, "spec.iscsi", out, name)
        else:
            check(source, f"spec.{_OTHER_PATH.get(key, key)}", out)
        if key == "local" and spec.get("nodeAffinity") is None:
            out.append(f.required("spec.nodeAffinity", "Local volume requires node affinity"))
    if not count:
        out.append(f.required("spec", "must specify a volume type"))


def persistent_volume_update(obj: Obj, old: Obj) -> f.Errors:
    errors = persistent_volume(obj, old)
    new, before = source_of(obj["spec"]), source_of(old["spec"])
    csi, csi_before = new.get("csi"), before.get("csi")
    if csi and csi_before and csi_before.get("controllerExpandSecretRef") is None:
        new["csi"] = {k: v for k, v in csi.items() if k != "controllerExpandSecretRef"}
    if new != before:
        left, right = (gotext.plain(source, PERSISTENT_SOURCE) for source in (before, new))
        path = "spec.persistentvolumesource"
        errors.append(f.forbidden(path, f"{path} is immutable after creation\n{diff(left, right)}"))
    mode, mode_before = obj["spec"].get("volumeMode"), old["spec"].get("volumeMode")
    if mode != mode_before:
        shown = gotext.NULL if mode is None else mode
        errors.append(f.invalid("volumeMode", shown, "field is immutable"))
    _affinity_update(obj["spec"].get("nodeAffinity"), old["spec"].get("nodeAffinity"), errors)
    name = obj["spec"].get("volumeAttributesClassName")
    if old["spec"].get("volumeAttributesClassName") is not None and name is None:
        why = "update from non-nil value to nil is forbidden"
        errors.append(f.forbidden("spec.volumeAttributesClassName", why))
    return errors


def source_of(spec: Obj) -> Obj:
    return {key: spec[key] for key in SOURCES if key in spec}


def _affinity_update(new: Obj | None, old: Obj | None, out: f.Errors) -> None:
    """Set once; then only a beta label may become its GA name."""
    if old is None or new == old or _with_ga_labels(new, old):
        return
    why = "field is immutable, except for updating from beta label to GA"
    out.append(f.invalid("nodeAffinity", gotext.text(new, NODE_AFFINITY), why))


def _with_ga_labels(new: Obj | None, old: Obj) -> bool:
    terms = ((new or {}).get("required") or {}).get("nodeSelectorTerms") or []
    before = (old.get("required") or {}).get("nodeSelectorTerms") or []
    if len(terms) != len(before):
        return False
    for term, term_before in zip(terms, before, strict=True):
        for key in ("matchExpressions", "matchFields"):
            now, was = term.get(key) or [], term_before.get(key) or []
            if len(now) != len(was) or not all(map(_same_requirement, now, was)):
                return False
    return True


def _same_requirement(new: Obj, old: Obj) -> bool:
    key = old.get("key", "")
    return new == old or new == {**old, "key": GA_LABELS.get(key, key)}


_DEAD_SOURCES = {
    "cephfs": "spec.cephfs: deprecated in v1.28, non-functional in v1.31+",
    "photonPersistentDisk": "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
    "scaleIO": "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+",
    "storageos": "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
    "rbd": "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
}


def volume_warnings(obj: Obj) -> list[str]:
    """pkg/api/persistentvolume GetWarningsForPersistentVolume."""
    spec: Obj = obj["spec"]
    annotations = obj["metadata"].get("annotations") or {}
    found = []
    if CLASS_ANNOTATION in annotations:
        found.append(
            f'metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use "storageClassName" '
            "attribute instead"
        )
    if MOUNT_OPTIONS_ANNOTATION in annotations:
        found.append(
            f'metadata.annotations[{MOUNT_OPTIONS_ANNOTATION}]: deprecated since v1.31; use "mountOptions" '
            "attribute instead"
        )
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the "
            "recommended approach is to use dynamic provisioning."
        )
    required = (spec.get("nodeAffinity") or {}).get("required") or {}
    for i, term in enumerate(required.get("nodeSelectorTerms") or ()):
        for j, expression in enumerate(term.get("matchExpressions") or ()):
            key = expression.get("key", "")
            why = deprecated_label(key)
            if why:
                path = f"spec.nodeAffinity.required.nodeSelectorTerms[{i}].matchExpressions[{j}].key"
                found.append(f"{path}: {key} is {why}")
    found += [text for key, text in _DEAD_SOURCES.items() if spec.get(key) is not None][:1]
    amount = (spec.get("capacity") or {}).get("storage", "0")
    if quantity.parse(amount).milli % 1000:
        found.append(
            f'spec.capacity[storage]: fractional byte value "{amount}" is invalid, must be an integer'
        )
    return found
