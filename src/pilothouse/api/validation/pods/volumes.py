"""A pod's volumes: each of exactly one type, each type with its own needs."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

from pilothouse.api import field as f
from pilothouse.api import quantity
from pilothouse.api.types import Obj
from pilothouse.api.validation import certificates, claims, meta, names, trust_bundles
from pilothouse.api.validation.gotext import text
from pilothouse.api.validation.pods import gostructs
from pilothouse.api.validation.pods.env import container_resource, object_field
from pilothouse.api.validation.pods.forms import (
    checked,
    local_file,
    mode,
    need,
    no_backsteps,
    not_padded,
    one_of,
)
from pilothouse.api.validation.pods.options import Options

HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
FILE_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
TOKEN_SECONDS_MIN = 10 * 60
TOKEN_SECONDS_MAX = 1 << 32
DRIVER_NAME_MAX = 63
MORE_THAN_ONE = "may not specify more than 1 volume type"
ISCSI_NAME = re.compile(
    r"iqn\.\d{4}-\d{2}\.([a-z0-9-]+\.)*[a-z0-9-]+(:[^,;*&$|\s]+)?|eui\.[0-9A-Fa-f]{16}|naa\.[0-9A-Fa-f]{16,32}"
)
_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")

Volumes = dict[str, Obj]
"""The good volumes by name."""


def volumes(values: list[Obj], path: str, pod_name: str, options: Options, out: f.Errors) -> Volumes:
    """Check volumes; a container may mount the good ones only."""
    known: Volumes = {}
    for i, volume in enumerate(values):
        name = volume.get("name", "")
        found = len(out)
        _source(volume, f"{path}[{i}]", pod_name, options, out)
        if not name:
            out.append(f.required(f"{path}[{i}].name"))
        else:
            checked(name, f"{path}[{i}].name", names.is_dns1123_label, out)
        if name in known:
            out.append(f.duplicate(f"{path}[{i}].name", name))
        if len(out) == found:
            known[name] = volume
    return known


def _source(volume: Obj, path: str, pod_name: str, options: Options, out: f.Errors) -> None:
    count = 0
    for key in volume if len(volume) <= 2 else _ORDER:
        value = volume.get(key)
        if value is None or key == "name":
            continue
        count += 1
        at = f"{path}.{key}"
        if count > 1:
            out.append(f.forbidden(at, MORE_THAN_ONE))
            continue
        if key == "ephemeral":
            _ephemeral(value, at, pod_name, volume.get("name", ""), out)
        elif key == "image":
            _image(value, at, options, out)
        else:
            SOURCES[key](value, at, out)
    if not count:
        out.append(f.required(path, "must specify a volume type"))


def _empty_dir(source: Obj, path: str, out: f.Errors) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(limit).nano < 0:
        out.append(f.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity"))


def _host_path(source: Obj, path: str, out: f.Errors) -> None:
    if not need(source, "path", path, out):
        return
    no_backsteps(source["path"], f"{path}.path", out)
    one_of(source, "type", path, HOST_PATH_TYPES, out)


def _git_repo(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "repository", path, out)
    local_file(source.get("directory", ""), f"{path}.directory", out)


def _disk(key: str) -> Callable[[Obj, str, f.Errors], None]:
    def check(source: Obj, path: str, out: f.Errors) -> None:
        need(source, key, path, out)
        partition = source.get("partition", 0)
        if not 0 <= partition <= 255:
            out.append(f.invalid(f"{path}.partition", partition, "must be between 0 and 255, inclusive"))

    return check


def _needs(*keys: str) -> Callable[[Obj, str, f.Errors], None]:
    def check(source: Obj, path: str, out: f.Errors) -> None:
        for key in keys:
            need(source, key, path, out)

    return check


def _nfs(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "server", path, out)
    need(source, "path", path, out)
    if not posixpath.isabs(source.get("path", "")):
        out.append(f.invalid(f"{path}.path", source.get("path", ""), "must be an absolute path"))


ISCSI_FORM = "must be valid format"


def _iscsi(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "targetPortal", path, out)
    iscsi(source, path, out, f"{ISCSI_FORM} starting with iqn, eui, or naa")


def iscsi(source: Obj, path: str, out: f.Errors, other_kind: str = ISCSI_FORM) -> None:
    """All but the portal. `other_kind`: what is said of a name of no known kind."""
    if need(source, "iqn", path, out):
        _iscsi_name(source["iqn"], f"{path}.iqn", other_kind, out)
    lun = source.get("lun", 0)
    if not 0 <= lun <= 255:
        out.append(f.invalid(f"{path}.lun", lun, "must be between 0 and 255, inclusive"))
    secret = source.get("secretRef")
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
        out.append(f.required(f"{path}.secretRef"))
    if other_kind == ISCSI_FORM and secret is not None:
        need(secret, "name", f"{path}.secretRef", out)
    if source.get("initiatorName") is not None:
        _iscsi_name(source["initiatorName"], f"{path}.initiatorname", other_kind, out)


def _iscsi_name(name: str, path: str, other_kind: str, out: f.Errors) -> None:
    if not name.startswith(("iqn", "eui", "naa")):
        out.append(f.invalid(path, name, other_kind))
    elif not ISCSI_NAME.fullmatch(name):
        out.append(f.invalid(path, name, ISCSI_FORM))


def _flocker(source: Obj, path: str, out: f.Errors) -> None:
    name, uid = source.get("datasetName", ""), source.get("datasetUUID", "")
    if not name and not uid:
        out.append(f.required(path, "one of datasetName and datasetUUID is required"))
    if name and uid:
        why = "datasetName and datasetUUID can not be specified simultaneously"
        out.append(f.invalid(path, "resource", why))
    if "/" in name:
        out.append(f.invalid(f"{path}.datasetName", name, "must not contain '/'"))


def _fibre_channel(source: Obj, path: str, out: f.Errors) -> None:
    by_name, by_id = source.get("targetWWNs") or (), source.get("wwids") or ()
    if not by_name and not by_id:
        out.append(f.required(f"{path}.targetWWNs", "must specify either targetWWNs or wwids, but not both"))
    if by_name and by_id:
        why = "targetWWNs and wwids can not be specified simultaneously"
        out.append(f.invalid(f"{path}.targetWWNs", by_name, why))
    if not by_name:
        return
    lun = source.get("lun")
    if lun is None:
        out.append(f.required(f"{path}.lun", "lun is required if targetWWNs is specified"))
    elif not 0 <= lun <= 255:
        out.append(f.invalid(f"{path}.lun", lun, "must be between 0 and 255, inclusive"))


def _cinder(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "volumeID", path, out)
    reference = source.get("secretRef")
    if reference is not None and not reference.get("name"):
        out.append(f.required(f"{path}.secretRef.name"))


def _azure_disk(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "diskName", path, out)
    need(source, "diskURI", path, out)
    one_of(source, "cachingMode", path, ("None", "ReadOnly", "ReadWrite"), out)
    one_of(source, "kind", path, ("Dedicated", "Managed", "Shared"), out)
    kind, uri = source.get("kind"), source.get("diskURI", "")
    start, form = _AZURE_MANAGED if kind == "Managed" else _AZURE_BLOB
    if kind is not None and not uri.startswith(start):
        out.append(f.not_supported(f"{path}.diskURI", uri, (form,)))


_AZURE_MANAGED = (
    "/subscriptions/",
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
)
_AZURE_BLOB = ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")


def _quobyte(source: Obj, path: str, out: f.Errors) -> None:
    pairs = "must be a host:port pair or multiple pairs separated by commas"
    registry = source.get("registry", "")
    if not registry:
        out.append(f.required(f"{path}.registry", pairs))
    elif len(source.get("tenant", "").encode()) > _TENANT_MAX:
        why = f"must be a UUID and may not exceed a length of {_TENANT_MAX} characters"
        out.append(f.required(f"{path}.tenant", why))
    else:
        wrong = [pair for pair in registry.split(",") if not _HOST_PORT.fullmatch(pair)]
        out += [f.invalid(f"{path}.registry", registry, pairs) for _ in wrong]
    need(source, "volume", path, out)


_TENANT_MAX = 64
_HOST_PORT = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):[^:\[\]]*")
"""What Go's net.SplitHostPort takes."""


def flex_volume(source: Obj, path: str, out: f.Errors) -> None:
    need(source, "driver", path, out)
    for key in source.get("options") or ():
        domain = "." + key.partition("/")[0].lower()
        if domain.endswith((".kubernetes.io", ".k8s.io")):
            why = "kubernetes.io and k8s.io namespaces are reserved"
            out.append(f.invalid(f"{path}.options[{key}]", key, why))


def _storage_os(source: Obj, path: str, out: f.Errors) -> None:
    storage_os_names(source, path, out)
    if source.get("secretRef") is not None:
        need(source["secretRef"], "name", f"{path}.secretRef", out)


def storage_os_names(source: Obj, path: str, out: f.Errors) -> None:
    if need(source, "volumeName", path, out):
        checked(source["volumeName"], f"{path}.volumeName", names.is_dns1123_label, out)
    if source.get("volumeNamespace"):
        checked(source["volumeNamespace"], f"{path}.volumeNamespace", names.is_dns1123_label, out)


def key_to_path(item: Obj, path: str, out: f.Errors) -> None:
    need(item, "key", path, out)
    need(item, "path", path, out)
    local_file(item.get("path", ""), f"{path}.path", out)
    mode(item, "mode", path, out)


def _from_keys(name_key: str) -> Callable[[Obj, str, f.Errors], None]:
    """A secret or config map, whole or some of its keys."""

    def check(source: Obj, path: str, out: f.Errors) -> None:
        need(source, name_key, path, out)
        mode(source, "defaultMode", path, out)
        for i, item in enumerate(source.get("items") or ()):
            key_to_path(item, f"{path}.items[{i}]", out)

    return check


def _downward(source: Obj, path: str, out: f.Errors) -> None:
    mode(source, "defaultMode", path, out)
    for item in source.get("items") or ():
        # Upstream names no index here.
        _downward_file(item, path, out)


def _downward_file(item: Obj, path: str, out: f.Errors) -> None:
    need(item, "path", path, out)
    local_file(item.get("path", ""), f"{path}.path", out)
    field_ref, resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if field_ref is not None:
        object_field(field_ref, f"{path}.fieldRef", FILE_FIELDS, out)
        if resource is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            out.append(f.invalid(path, "resource", why))
    elif resource is not None:
        container_resource(resource, f"{path}.resourceFieldRef", out, need_container=True)
    else:
        out.append(f.required(path, "one of fieldRef and resourceFieldRef is required"))
    mode(item, "mode", path, out)


def driver_name(name: str, path: str, out: f.Errors) -> None:
    """A CSI driver's name (ValidateCSIDriverName)."""
    if not name:
        out.append(f.required(path))
    if len(name) > DRIVER_NAME_MAX:
        out.append(f.too_long(path, "", DRIVER_NAME_MAX))
    if name:
        for message in names.is_dns1123_subdomain(name.lower()):
            out.append(f.invalid(path, name, message))


def _csi(source: Obj, path: str, out: f.Errors) -> None:
    driver_name(source.get("driver", ""), f"{path}.driver", out)
    reference = source.get("nodePublishSecretRef")
    if reference is None:
        return
    if not reference.get("name"):
        out.append(f.required(f"{path}.nodePublishSecretRef.name"))
    else:
        checked(reference["name"], f"{path}.name", names.is_dns1123_subdomain, out)


def _image(source: Obj, path: str, options: Options, out: f.Errors) -> None:
    reference = source.get("reference", "")
    # A template may leave the reference to whoever makes the pod.
    if options.is_pod and not reference:
        out.append(f.required(f"{path}.reference"))
    not_padded(reference, f"{path}.reference", out)
    one_of(source, "pullPolicy", path, PULL_POLICIES, out, required=True)


def _ephemeral(source: Obj, path: str, pod_name: str, volume_name: str, out: f.Errors) -> None:
    template = source.get("volumeClaimTemplate")
    if template is None:
        out.append(f.required(f"{path}.volumeClaimTemplate"))
        return
    claims.template(template, f"{path}.volumeClaimTemplate", out)
    if pod_name:
        for message in names.is_dns1123_subdomain(f"{pod_name}-{volume_name}"):
            why = f'PVC name "{pod_name}-{volume_name}": {message}'
            out.append(f.invalid(f"{path.rpartition('.')[0]}.name", volume_name, why))


# Projected volumes


class _Paths:
    """The files of a projected volume, each of which may come from one source only."""

    def __init__(self, path: str, out: f.Errors) -> None:
        self._path = path
        self._out = out
        self._seen: set[str] = set()

    def claim(self, file: str, owner: str) -> None:
        if not file:
            return
        if file in self._seen:
            self._out.append(f.invalid(self._path, owner, "conflicting duplicate paths"))
        self._seen.add(file)


def _projected(source: Obj, path: str, out: f.Errors) -> None:
    mode(source, "defaultMode", path, out)
    paths = _Paths(path, out)
    for i, projection in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{i}]"
        count = 0
        for key, check in _PROJECTIONS.items():
            value = projection.get(key)
            if value is None:
                continue
            count += 1
            check(value, f"{at}.{key}", path, paths, out)
        if count > 1:
            out.append(f.forbidden(at, "may not specify more than 1 volume type per source"))


def _projected_keys(value: Obj, path: str, _volume: str, paths: _Paths, out: f.Errors) -> None:
    need(value, "name", path, out)
    for i, item in enumerate(value.get("items") or ()):
        key_to_path(item, f"{path}.items[{i}]", out)
        paths.claim(item.get("path", ""), value.get("name", ""))


def _projected_fields(value: Obj, path: str, volume: str, paths: _Paths, out: f.Errors) -> None:
    for item in value.get("items") or ():
        _downward_file(item, path, out)
        paths.claim(item.get("path", ""), item.get("path", ""))


def _projected_token(value: Obj, path: str, volume: str, paths: _Paths, out: f.Errors) -> None:
    seconds = value.get("expirationSeconds", 0) or 0
    if seconds < TOKEN_SECONDS_MIN:
        why = "may not specify a duration less than 10 minutes"
        out.append(f.invalid(f"{path}.expirationSeconds", seconds, why))
    if seconds > TOKEN_SECONDS_MAX:
        why = "may not specify a duration larger than 2^32 seconds"
        out.append(f.invalid(f"{path}.expirationSeconds", seconds, why))
    # Upstream names the volume's path here, not the source's.
    if need(value, "path", volume, out):
        local_file(value["path"], f"{volume}.path", out)


def _projected_bundle(value: Obj, path: str, volume: str, paths: _Paths, out: f.Errors) -> None:
    at = f"{path}PEM"  # As upstream has it.
    name, signer, selector = value.get("name"), value.get("signerName"), value.get("labelSelector")
    if name is not None and signer is not None:
        why = "only one of name and signerName may be used"
        out.append(f.invalid(at, text(value, gostructs.TRUST_BUNDLE), why))
    elif name is not None:
        if not name:
            out.append(f.required(f"{at}.name", "must be a valid object name"))
        for message in trust_bundles.name_faults(name):
            why = f"not a valid clustertrustbundlename: {message}"
            out.append(f.invalid(f"{at}.name", name, why))
        if selector is not None:
            why = "labelSelector must be unset if name is specified"
            out.append(f.invalid(f"{at}.labelSelector", selector, why))
    elif signer is not None:
        if not signer:
            out.append(f.required(f"{at}.signerName", "must be a valid signer name"))
        out += certificates.signer_name(signer, f"{at}.signerName")
        if selector is not None:
            out += meta.validate_label_selector(selector, f"{at}.labelSelector")
    else:
        out.append(f.required(at, "either name or signerName must be specified"))
    need(value, "path", at, out)
    local_file(value.get("path", ""), f"{at}.path", out)
    paths.claim(value.get("path", ""), value.get("path", ""))


def _projected_certificate(value: Obj, path: str, volume: str, paths: _Paths, out: f.Errors) -> None:
    need(value, "signerName", path, out)
    one_of(value, "keyType", path, _KEY_TYPES, out, required=True)
    seconds = value.get("maxExpirationSeconds")
    if seconds is not None and seconds < 3600:
        why = "if provided, maxExpirationSeconds must be >= 3600"
        out.append(f.invalid(f"{path}.maxExpirationSeconds", seconds, why))
    given = [key for key in ("credentialBundlePath", "keyPath", "certificateChainPath") if value.get(key)]
    if not given:
        out.append(
            f.required(
                path, "must specify at least one of credentialBundlePath, keyPath, or certificateChainPath"
            )
        )
    for key in given:
        local_file(value[key], f"{path}.{key}", out)
        paths.claim(value[key], value[key])


_PROJECTIONS: dict[str, Callable[[Obj, str, str, _Paths, f.Errors], None]] = {
    "secret": _projected_keys,
    "configMap": _projected_keys,
    "downwardAPI": _projected_fields,
    "serviceAccountToken": _projected_token,
    "clusterTrustBundle": _projected_bundle,
    "podCertificate": _projected_certificate,
}

SOURCES: dict[str, Callable[[Obj, str, f.Errors], None]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "gitRepo": _git_repo,
    "gcePersistentDisk": _disk("pdName"),
    "awsElasticBlockStore": _disk("volumeID"),
    "secret": _from_keys("secretName"),
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _flocker,
    "persistentVolumeClaim": _needs("claimName"),
    "rbd": _needs("monitors", "image"),
    "cinder": _cinder,
    "cephfs": _needs("monitors"),
    "quobyte": _quobyte,
    "downwardAPI": _downward,
    "fc": _fibre_channel,
    "flexVolume": flex_volume,
    "configMap": _from_keys("name"),
    "azureFile": _needs("secretName", "shareName"),
    "vsphereVolume": _needs("volumePath"),
    "photonPersistentDisk": _needs("pdID"),
    "portworxVolume": _needs("volumeID"),
    "azureDisk": _azure_disk,
    "storageos": _storage_os,
    "projected": _projected,
    "scaleIO": _needs("gateway", "system", "volumeName"),
    "csi": _csi,
}
"""By type, in upstream's order."""
_ORDER: Iterable[str] = (*SOURCES, "ephemeral", "image")
